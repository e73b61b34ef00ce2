//! A decoded instruction, in the form in which it is executed and kept.
//!
//! The decoder is `iced-x86`; here its result becomes smaller, and free of where it was found.

use iced_x86::{
    Code, ConditionCode, CpuidFeature, Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register,
};

/// Where instructions of the coprocessor belong. iPXE uses FXSAVE without having asked for it.
const COPROCESSOR: [CpuidFeature; 5] =
    [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU287XL_ONLY, CpuidFeature::FPU387, CpuidFeature::FXSR];

/// Bytes of the longest instruction.
pub(super) const LEN_MAX: usize = 15;

/// What an instruction acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// Nothing.
    None,
    /// A general register of one byte: AL, CL, DL, BL, AH, CH, DH, BH.
    Reg8(u8),
    /// A general register of two bytes.
    Reg16(u8),
    /// A general register of four bytes.
    Reg32(u8),
    /// A segment register.
    Segment(u8),
    /// A control register.
    Control(u8),
    /// A debug register.
    Debug(u8),
    /// Memory, at [`Step::memory`].
    Memory,
    /// A number, with its sign extended.
    Immediate(u32),
    /// A distance from the start of the instruction.
    Near(u32),
    /// A far address: selector and offset.
    Far(u16, u32),
    /// A register that is not here.
    Unknown,
}

/// Where an operand in memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) segment: u8,
    pub(super) base: Option<u8>,
    pub(super) index: Option<u8>,
    /// What the index is shifted by.
    pub(super) shift: u8,
    pub(super) displacement: u32,
    /// 16 or 32 bits of address.
    pub(super) mask: u32,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Jcc.
    JumpIf(u8),
    /// SETcc.
    SetIf(u8),
    /// CMOVcc.
    MoveIf(u8),
    /// An instruction of the coprocessor, which is not there.
    Coprocessor,
    /// What the mnemonic says.
    Plain(Mnemonic),
}

/// A repeat prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// None.
    Once,
    /// REP or REPE.
    WhileEqual,
    /// REPNE.
    WhileNotEqual,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    /// Operands, the first one is where the result goes.
    pub(super) operands: [Operand; 3],
    pub(super) memory: Memory,
    /// Bytes of the first operand, or of what the instruction works with: 1, 2 or 4.
    pub(super) width: u8,
    /// Bytes of the operand in memory.
    pub(super) memory_width: u8,
    pub(super) len: u8,
    pub(super) repeat: Repeat,
}

impl Step {
    /// Decodes the instruction at the start of `code`. What cannot be decoded is undefined.
    pub(super) fn decode(code: &[u8], is_32: bool) -> Self {
        let mut decoder = Decoder::with_ip(if is_32 { 32 } else { 16 }, code, 0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let memory_width = memory_width(&instruction);
        let mut operands = [Operand::None; 3];
        for (number, operand) in (0..instruction.op_count()).zip(&mut operands) {
            *operand = self::operand(&instruction, number);
        }
        let width = implied_width(&instruction).unwrap_or(match operands {
            [Operand::Reg8(_), ..] => 1,
            [Operand::Reg16(_), ..] => 2,
            [Operand::Reg32(_) | Operand::Control(_) | Operand::Debug(_), ..] => 4,
            [Operand::Memory, ..] => memory_width,
            // OUT: the port comes first.
            [_, Operand::Reg8(_), ..] => 1,
            [_, Operand::Reg16(_), ..] => 2,
            [_, Operand::Reg32(_), ..] => 4,
            _ if is_32 => 4,
            _ => 2,
        });
        let repeat = match () {
            () if instruction.has_repne_prefix() => Repeat::WhileNotEqual,
            () if instruction.has_rep_prefix() => Repeat::WhileEqual,
            () => Repeat::Once,
        };
        Self {
            action: action(&instruction),
            operands,
            memory: memory(&instruction),
            width,
            memory_width,
            len: u8::try_from(instruction.len()).unwrap_or(0),
            repeat,
        }
    }
}

fn action(instruction: &Instruction) -> Action {
    let condition = match instruction.condition_code() {
        ConditionCode::None => None,
        ConditionCode::o => Some(0),
        ConditionCode::no => Some(1),
        ConditionCode::b => Some(2),
        ConditionCode::ae => Some(3),
        ConditionCode::e => Some(4),
        ConditionCode::ne => Some(5),
        ConditionCode::be => Some(6),
        ConditionCode::a => Some(7),
        ConditionCode::s => Some(8),
        ConditionCode::ns => Some(9),
        ConditionCode::p => Some(10),
        ConditionCode::np => Some(11),
        ConditionCode::l => Some(12),
        ConditionCode::ge => Some(13),
        ConditionCode::le => Some(14),
        ConditionCode::g => Some(15),
    };
    let mnemonic = instruction.mnemonic();
    match condition {
        Some(condition) if instruction.is_jcc_short_or_near() => Action::JumpIf(condition),
        Some(_) if matches!(mnemonic, Mnemonic::Loope | Mnemonic::Loopne) => Action::Plain(mnemonic),
        Some(condition) if instruction.op_count() == 1 => Action::SetIf(condition),
        // FCMOVcc is the coprocessor's.
        Some(condition) if instruction.op0_register().is_gpr() => Action::MoveIf(condition),
        _ if instruction.code().cpuid_features().iter().any(|feature| COPROCESSOR.contains(feature)) => {
            Action::Coprocessor
        }
        _ => Action::Plain(mnemonic),
    }
}

/// Bytes of what goes to or comes from the stack or another place that no operand tells of.
fn implied_width(instruction: &Instruction) -> Option<u8> {
    match (instruction.op0_kind(), instruction.memory_size()) {
        (OpKind::NearBranch16 | OpKind::FarBranch16, _) | (OpKind::Memory, MemorySize::SegPtr16) => return Some(2),
        (OpKind::NearBranch32 | OpKind::FarBranch32, _) | (OpKind::Memory, MemorySize::SegPtr32) => return Some(4),
        _ => {}
    }
    match instruction.code() {
        Code::Pushw_ES
        | Code::Pushw_CS
        | Code::Pushw_SS
        | Code::Pushw_DS
        | Code::Pushw_FS
        | Code::Pushw_GS
        | Code::Popw_ES
        | Code::Popw_SS
        | Code::Popw_DS
        | Code::Popw_FS
        | Code::Popw_GS
        | Code::Push_imm16
        | Code::Pushw_imm8
        | Code::Pushaw
        | Code::Popaw
        | Code::Pushfw
        | Code::Popfw
        | Code::Retnw
        | Code::Retnw_imm16
        | Code::Retfw
        | Code::Retfw_imm16
        | Code::Iretw
        | Code::Enterw_imm16_imm8
        | Code::Leavew
        | Code::Lgdt_m1632_16
        | Code::Lidt_m1632_16 => Some(2),
        Code::Pushd_ES
        | Code::Pushd_CS
        | Code::Pushd_SS
        | Code::Pushd_DS
        | Code::Pushd_FS
        | Code::Pushd_GS
        | Code::Popd_ES
        | Code::Popd_SS
        | Code::Popd_DS
        | Code::Popd_FS
        | Code::Popd_GS
        | Code::Pushd_imm32
        | Code::Pushd_imm8
        | Code::Pushad
        | Code::Popad
        | Code::Pushfd
        | Code::Popfd
        | Code::Retnd
        | Code::Retnd_imm16
        | Code::Retfd
        | Code::Retfd_imm16
        | Code::Iretd
        | Code::Enterd_imm16_imm8
        | Code::Leaved
        | Code::Lgdt_m1632
        | Code::Lidt_m1632 => Some(4),
        _ => None,
    }
}

/// Bytes of the operand in memory.
fn memory_width(instruction: &Instruction) -> u8 {
    u8::try_from(instruction.memory_size().size()).unwrap_or(0)
}

fn operand(instruction: &Instruction, number: u32) -> Operand {
    match instruction.op_kind(number) {
        OpKind::Register => register(instruction.op_register(number)),
        OpKind::NearBranch16 => Operand::Near(instruction.near_branch16().into()),
        OpKind::NearBranch32 => Operand::Near(instruction.near_branch32()),
        OpKind::FarBranch16 => Operand::Far(instruction.far_branch_selector(), instruction.far_branch16().into()),
        OpKind::FarBranch32 => Operand::Far(instruction.far_branch_selector(), instruction.far_branch32()),
        OpKind::Immediate8_2nd => Operand::Immediate(instruction.immediate8_2nd().into()),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32 => {
            let [a, b, c, d, ..] = instruction.immediate(number).to_le_bytes();
            Operand::Immediate(u32::from_le_bytes([a, b, c, d]))
        }
        _ => Operand::Memory,
    }
}

fn number(register: Register) -> u8 {
    u8::try_from(register.number()).unwrap_or(0) & 7
}

fn register(register: Register) -> Operand {
    match register {
        _ if register.is_gpr8() => Operand::Reg8(number(register)),
        _ if register.is_gpr16() => Operand::Reg16(number(register)),
        _ if register.is_gpr32() => Operand::Reg32(number(register)),
        _ if register.is_segment_register() => Operand::Segment(number(register)),
        _ if register.is_cr() => Operand::Control(number(register)),
        _ if register.is_dr() => Operand::Debug(number(register)),
        _ => Operand::Unknown,
    }
}

/// Where the operand in memory is; of loops, which counter they have.
fn memory(instruction: &Instruction) -> Memory {
    let general = |register: Register| match register {
        // XLAT adds AL by itself.
        Register::None | Register::AL => None,
        register => Some(number(register)),
    };
    let kinds = [instruction.op0_kind(), instruction.op1_kind()];
    let is_string_16 = kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemoryESDI));
    let is_string = is_string_16 || kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI));
    let is_16 = match instruction.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32 => true,
        _ if is_string => is_string_16,
        _ => match (instruction.memory_base(), instruction.memory_index()) {
            (Register::None, Register::None) => instruction.memory_displ_size() == 2,
            (base, index) => base.is_gpr16() || index.is_gpr16(),
        },
    };
    Memory {
        segment: number(instruction.memory_segment()),
        base: general(instruction.memory_base()),
        index: general(instruction.memory_index()),
        shift: u8::try_from(instruction.memory_index_scale().trailing_zeros()).unwrap_or(0),
        displacement: instruction.memory_displacement32(),
        mask: if is_16 { 0xffff } else { u32::MAX },
    }
}
