//! Programs of a few instructions, and what they leave behind.

use std::collections::VecDeque;

use devmodel::access::Width;

use super::bus::{Bus, Changed};
use super::registers::{
    AF, CF, CS, DS, EAX, EBP, EBX, ECX, EDI, EDX, ES, ESI, ESP, Fault, IF, OF, PE, PF, SF, SS, Segment, Table, ZF,
};
use super::{Cpu, Stopped};

/// Two MiB of memory, and ports that remember.
struct Board {
    memory: Vec<u8>,
    changed: Vec<u32>,
    now: u64,
    until: u64,
    a20_mask: u32,
    /// The vector that is asked for.
    interrupt: Option<u8>,
    management: bool,
    in_management: bool,
    written: Vec<(u16, Width, u32)>,
    to_read: VecDeque<u32>,
}

impl Board {
    fn new() -> Self {
        Self {
            memory: vec![0; 2 << 20],
            changed: Vec::new(),
            now: 0,
            until: u64::MAX,
            a20_mask: u32::MAX,
            interrupt: None,
            management: false,
            in_management: false,
            written: Vec::new(),
            to_read: VecDeque::new(),
        }
    }

    fn put(&mut self, addr: usize, bytes: &[u8]) {
        self.memory[addr..addr + bytes.len()].copy_from_slice(bytes);
    }

    fn dword(&self, addr: usize) -> u32 {
        u32::from_le_bytes(self.memory[addr..addr + 4].try_into().unwrap())
    }
}

impl Bus for Board {
    fn read(&mut self, addr: u32, width: Width) -> u32 {
        let mut value = [0xff; 4];
        for (lane, at) in value.iter_mut().zip(addr as usize..).take(width.bytes()) {
            *lane = self.memory.get(at).copied().unwrap_or(0xff);
        }
        u32::from_le_bytes(value) & u32::try_from(width.all_ones()).unwrap()
    }

    fn write(&mut self, addr: u32, width: Width, value: u32) {
        for (byte, at) in value.to_le_bytes().into_iter().zip(addr as usize..).take(width.bytes()) {
            if let Some(cell) = self.memory.get_mut(at) {
                *cell = byte;
            }
        }
        self.changed.extend([addr / 64, addr.wrapping_add(3) / 64]);
    }

    fn port_read(&mut self, _port: u16, _width: Width) -> u32 {
        self.to_read.pop_front().unwrap_or(u32::MAX)
    }

    fn port_write(&mut self, port: u16, width: Width, value: u32) {
        self.written.push((port, width, value));
    }

    fn fetch(&mut self, addr: u32, code: &mut [u8]) {
        for (byte, at) in code.iter_mut().zip(addr as usize..) {
            *byte = self.memory.get(at).copied().unwrap_or(0xff);
        }
    }

    fn watch(&mut self, _addr: u32, _len: usize) -> bool {
        true
    }

    fn take_changed(&mut self) -> Changed {
        Changed::Blocks(std::mem::take(&mut self.changed))
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn spend(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
    }

    fn until(&self) -> u64 {
        self.until
    }

    fn a20_mask(&self) -> u32 {
        self.a20_mask
    }

    fn interrupt(&self) -> bool {
        self.interrupt.is_some()
    }

    fn acknowledge(&mut self) -> u8 {
        self.interrupt.take().unwrap()
    }

    fn take_system_management(&mut self) -> bool {
        std::mem::take(&mut self.management)
    }

    fn set_system_management(&mut self, is_in: bool) {
        self.in_management = is_in;
    }
}

/// Where programs are, in real mode and in protected mode.
const START: u32 = 0x1000;
/// The stack of both.
const STACK: u32 = 0x8000;

/// A CPU in real mode at a program that ends with HLT, with all segments at 0.
fn real(code: &[u8]) -> (Cpu, Board) {
    let mut board = Board::new();
    board.put(START as usize, code);
    board.put(START as usize + code.len(), &[0xf4]);
    let mut cpu = Cpu::new();
    cpu.segments = [Segment::real(0); 6];
    cpu.eip = START;
    cpu.general[usize::from(ESP)] = STACK;
    // Handlers that halt, each at an address of its own: 0x600 + vector.
    for vector in 0..0x80_u16 {
        board.put(usize::from(vector) * 4, &(0x600 + vector).to_le_bytes());
    }
    board.put(0x600, &[0xf4; 0x80]);
    (cpu, board)
}

/// Descriptors: flat code, flat data, a data segment of one page at 0x10000, code that is not there, code of 16 bits.
const FLAT_CODE: u16 = 0x08;
const FLAT_DATA: u16 = 0x10;
const SMALL_DATA: u16 = 0x18;
const ABSENT_DATA: u16 = 0x20;
const CODE_16: u16 = 0x28;
const DESCRIPTORS: [u64; 6] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x0040_9201_0000_0fff,
    0x0040_1200_0000_0fff,
    0x0000_9b00_0000_ffff,
];

/// The same in protected mode with flat segments of 32 bits; handlers of all vectors as trap gates.
fn protected(code: &[u8]) -> (Cpu, Board) {
    let (mut cpu, mut board) = real(code);
    for (number, descriptor) in DESCRIPTORS.iter().enumerate() {
        board.put(0x4000 + 8 * number, &descriptor.to_le_bytes());
    }
    cpu.gdt = Table { base: 0x4000, limit: 8 * 6 - 1 };
    for vector in 0..0x80_usize {
        let [low, high, ..] = (0x600 + vector).to_le_bytes();
        board.put(0x5000 + 8 * vector, &[low, high, 8, 0, 0, 0x8f, 0, 0]);
    }
    cpu.idt = Table { base: 0x5000, limit: 8 * 0x80 - 1 };
    cpu.control[0] |= PE;
    let flat = |selector, access| Segment { selector, base: 0, limit: u32::MAX, access, big: true };
    cpu.segments = [flat(FLAT_DATA, 0x93); 6];
    cpu.segments[usize::from(CS)] = flat(FLAT_CODE, 0x9b);
    (cpu, board)
}

fn run(cpu: &mut Cpu, board: &mut Board) {
    board.until = board.now + 1_000_000;
    assert_eq!(cpu.run(board), Stopped::Halted);
}

/// The vector of the handler that it halted in.
fn vector(cpu: &Cpu) -> u32 {
    cpu.eip - 0x601
}

/// Runs a program in real mode with values in AX, BX, CX and DX; those afterwards, and the flags of arithmetic.
fn compute(code: &[u8], registers: [u32; 4]) -> ([u32; 4], u32) {
    let (mut cpu, mut board) = real(code);
    for (register, value) in [EAX, EBX, ECX, EDX].into_iter().zip(registers) {
        cpu.general[usize::from(register)] = value;
    }
    run(&mut cpu, &mut board);
    assert_eq!(cpu.eip, START + u32::try_from(code.len()).unwrap() + 1, "a fault: {}", vector(&cpu));
    let values = [EAX, EBX, ECX, EDX].map(|register| cpu.general[usize::from(register)]);
    (values, cpu.flags & super::registers::ARITHMETIC)
}

#[test]
fn sums_and_differences_set_their_flags() {
    // ADD AL, BL; ADC; SUB; SBB; CMP.
    let cases: [(&[u8], u32, u32, u32, u32); 9] = [
        (&[0x00, 0xd8], 0x7f, 1, 0x80, OF | SF | AF),
        (&[0x00, 0xd8], 0xff, 1, 0x00, CF | ZF | AF | PF),
        (&[0x00, 0xd8], 0x80, 0x80, 0x00, CF | OF | ZF | PF),
        (&[0xf9, 0x10, 0xd8], 0xfe, 1, 0x00, CF | ZF | AF | PF),
        (&[0x28, 0xd8], 0x00, 1, 0xff, CF | SF | AF | PF),
        (&[0x28, 0xd8], 0x80, 1, 0x7f, OF | AF),
        (&[0xf9, 0x18, 0xd8], 0x05, 5, 0xff, CF | SF | AF | PF),
        (&[0xf9, 0x18, 0xd8], 0xff, 0xff, 0xff, CF | SF | AF | PF),
        (&[0x38, 0xd8], 0x10, 0x10, 0x10, ZF | PF),
    ];
    for (code, a, b, result, flags) in cases {
        assert_eq!(compute(code, [a, b, 0, 0]), ([result, b, 0, 0], flags), "{code:x?} {a:x} {b:x}");
    }
    // INC keeps the carry; NEG of zero has none.
    assert_eq!(compute(&[0xf9, 0x66, 0x40], [0xffff_ffff, 0, 0, 0]), ([0; 4], CF | ZF | AF | PF));
    assert_eq!(compute(&[0xf7, 0xd8], [0x1_8000, 0, 0, 0]), ([0x1_8000, 0, 0, 0], CF | OF | SF | PF));
    assert_eq!(compute(&[0xf6, 0xd8], [0; 4]), ([0; 4], ZF | PF));
}

#[test]
fn shifts_and_rotations_set_carry_and_overflow() {
    // On AL by CL: SHL, SHR, SAR, ROL, ROR, RCL, RCR.
    let cases: [(u8, u32, u32, u32, u32); 13] = [
        (0xe0, 0xc1, 1, 0x82, CF | SF | PF),
        (0xe0, 0x41, 1, 0x82, OF | SF | PF),
        (0xe0, 0x01, 8, 0x00, CF | OF | ZF | PF),
        (0xe8, 0x81, 1, 0x40, CF | OF),
        (0xf8, 0x81, 1, 0xc0, CF | SF | PF),
        (0xf8, 0x80, 31, 0xff, CF | SF | PF),
        (0xc0, 0x81, 1, 0x03, CF | OF),
        (0xc0, 0x81, 8, 0x81, CF),
        (0xc8, 0x81, 1, 0xc0, CF),
        (0xc8, 0x01, 9, 0x80, CF | OF),
        (0xd0, 0x80, 1, 0x00, CF | OF),
        (0xd0, 0x80, 2, 0x01, 0),
        (0xd8, 0x01, 1, 0x00, CF),
    ];
    for (operation, value, count, result, flags) in cases {
        let (registers, seen) = compute(&[0xd2, operation], [value, 0, count, 0]);
        assert_eq!((registers[0], seen), (result, flags), "{operation:x} of {value:x} by {count}");
    }
    // A count of zero, or of 32, changes nothing: the carry stays.
    assert_eq!(compute(&[0xf9, 0xd2, 0xe0], [0x80, 0, 32, 0]), ([0x80, 0, 32, 0], CF));
    // SHLD EAX, EBX, 4 and SHRD AX, BX, CL.
    let (registers, _) = compute(&[0x66, 0x0f, 0xa4, 0xd8, 4], [0x1234_5678, 0xabcd_ef01, 0, 0]);
    assert_eq!(registers[0], 0x2345_678a);
    let (registers, flags) = compute(&[0x0f, 0xad, 0xd8], [0x1238, 0xabcd, 4, 0]);
    assert_eq!((registers[0], flags & CF), (0xd123, CF));
}

#[test]
fn products_have_two_halves_and_quotients_have_to_fit() {
    assert_eq!(compute(&[0xf6, 0xe3], [0xff, 0xff, 0, 0]).0[0], 0xfe01);
    assert_eq!(compute(&[0x66, 0xf7, 0xe3], [0xffff_ffff, 2, 0, 0]).0, [0xffff_fffe, 2, 0, 1]);
    // IMUL of -2 and 3; the high half says nothing.
    let (registers, flags) = compute(&[0xf7, 0xeb], [0xfffe, 3, 0, 0]);
    assert_eq!((registers[0], registers[3], flags & (CF | OF)), (0xfffa, 0xffff, 0));
    let (registers, flags) = compute(&[0x69, 0xc3, 0x00, 0x40], [0, 4, 0, 0]);
    assert_eq!((registers[0], flags & (CF | OF)), (0, CF | OF));
    assert_eq!(compute(&[0xf7, 0xf3], [7, 2, 0, 0]).0, [3, 2, 0, 1]);
    // IDIV of -7 by 2.
    assert_eq!(compute(&[0xf7, 0xfb], [0xfff9, 2, 0, 0xffff]).0, [0xfffd, 2, 0, 0xffff]);
    for (code, registers) in [
        ([0xf7, 0xf3], [7, 0, 0, 0]),
        ([0xf7, 0xf3], [0, 1, 0, 1]),
        // IDIV of -32768 by -1, twice as wide.
        ([0xf7, 0xfb], [0x8000, 0xffff, 0, 0xffff]),
        ([0xf6, 0xfb], [0x8000, 1, 0, 0]),
    ] {
        let (mut cpu, mut board) = real(&code);
        for (register, value) in [EAX, EBX, ECX, EDX].into_iter().zip(registers) {
            cpu.general[usize::from(register)] = value;
        }
        run(&mut cpu, &mut board);
        assert_eq!(vector(&cpu), 0, "{registers:x?}");
        assert_eq!(board.dword(STACK as usize - 6) & 0xffff, START, "the fault is at the instruction");
        assert_eq!(cpu.general[usize::from(EAX)], registers[0]);
    }
}

#[test]
fn decimal_numbers_are_adjusted() {
    assert_eq!(compute(&[0x04, 0x27, 0x27], [0x35, 0, 0, 0]).0[0], 0x62, "DAA");
    let (registers, flags) = compute(&[0x04, 0x01, 0x27], [0x99, 0, 0, 0]);
    assert_eq!((registers[0], flags & CF), (0, CF));
    assert_eq!(compute(&[0x2c, 0x47, 0x2f], [0x35, 0, 0, 0]).0[0], 0x88, "DAS");
    assert_eq!(compute(&[0x04, 0x09, 0x37], [0x0008, 0, 0, 0]).0[0], 0x0107, "AAA");
    assert_eq!(compute(&[0xd4, 0x0a], [63, 0, 0, 0]).0[0], 0x0603, "AAM");
    assert_eq!(compute(&[0xd5, 0x0a], [0x0603, 0, 0, 0]).0[0], 63, "AAD");
}

#[test]
fn bits_are_found_tested_and_changed() {
    // BSF and BSR.
    assert_eq!(compute(&[0x66, 0x0f, 0xbc, 0xc3], [0, 0x0090_0000, 0, 0]).0[0], 20);
    assert_eq!(compute(&[0x66, 0x0f, 0xbd, 0xc3], [0, 0x0090_0000, 0, 0]).0[0], 23);
    assert_eq!(compute(&[0x0f, 0xbc, 0xc3], [7, 0, 0, 0]), ([7, 0, 0, 0], ZF));
    // BTS [0x2000], EAX with a number beyond the double word, and one before it.
    for (number, byte, bit) in [(35_u32, 0x2004, 8), (0xffff_ffff, 0x1fff, 0x80)] {
        let (mut cpu, mut board) = real(&[0x66, 0x0f, 0xab, 0x06, 0x00, 0x20]);
        cpu.general[usize::from(EAX)] = number;
        run(&mut cpu, &mut board);
        assert_eq!(board.memory[byte], bit);
    }
    assert_eq!(compute(&[0x66, 0x0f, 0xc8], [0x1234_5678, 0, 0, 0]).0[0], 0x7856_3412, "BSWAP");
}

#[test]
fn strings_obey_their_prefixes() {
    // REP MOVSB with ES override of the source, upwards.
    let (mut cpu, mut board) = real(&[0xf3, 0x26, 0xa4]);
    board.put(0x2_0010, b"hello");
    cpu.segments[usize::from(ES)] = Segment::real(0x2000);
    (cpu.general[usize::from(ESI)], cpu.general[usize::from(EDI)]) = (0x10, 0x100);
    cpu.general[usize::from(ECX)] = 0xabcd_0005;
    run(&mut cpu, &mut board);
    assert_eq!(&board.memory[0x2_0100..0x2_0106], b"hello\0");
    assert_eq!(cpu.general[usize::from(ECX)], 0xabcd_0000, "CX counts, not ECX");
    // STOSW downwards, with 32-bit addresses.
    let (mut cpu, mut board) = real(&[0xfd, 0xf3, 0x67, 0xab]);
    (cpu.general[usize::from(EAX)], cpu.general[usize::from(ECX)]) = (0x4241, 2);
    cpu.general[usize::from(EDI)] = 0x3002;
    run(&mut cpu, &mut board);
    assert_eq!(&board.memory[0x3000..0x3004], b"ABAB");
    assert_eq!(cpu.general[usize::from(EDI)], 0x2ffe);
    // REPNE SCASB finds, REPE CMPSB stops where it differs.
    let (mut cpu, mut board) = real(&[0xf2, 0xae]);
    board.put(0x3000, b"abc");
    (cpu.general[usize::from(EAX)], cpu.general[usize::from(ECX)]) = (u32::from(b'b'), 10);
    cpu.general[usize::from(EDI)] = 0x3000;
    run(&mut cpu, &mut board);
    assert_eq!((cpu.general[usize::from(EDI)], cpu.general[usize::from(ECX)], cpu.flags & ZF), (0x3002, 8, ZF));
    let (mut cpu, mut board) = real(&[0xf3, 0xa6]);
    board.put(0x3000, b"abX");
    board.put(0x3100, b"abY");
    (cpu.general[usize::from(ESI)], cpu.general[usize::from(EDI)]) = (0x3000, 0x3100);
    cpu.general[usize::from(ECX)] = 5;
    run(&mut cpu, &mut board);
    assert_eq!((cpu.general[usize::from(ECX)], cpu.flags & (ZF | CF)), (2, CF));
}

#[test]
fn string_input_and_output_use_ports() {
    let (mut cpu, mut board) = real(&[0xf3, 0x6d]);
    board.to_read = [0x1111, 0x2222].into();
    (cpu.general[usize::from(ECX)], cpu.general[usize::from(EDX)]) = (2, 0x1f0);
    cpu.general[usize::from(EDI)] = 0x3000;
    run(&mut cpu, &mut board);
    assert_eq!(board.dword(0x3000), 0x2222_1111);
    let (mut cpu, mut board) = real(&[0x66, 0x6f]);
    board.put(0x3000, &[1, 2, 3, 4]);
    (cpu.general[usize::from(ESI)], cpu.general[usize::from(EDX)]) = (0x3000, 0x80);
    run(&mut cpu, &mut board);
    assert_eq!(board.written, [(0x80, Width::Dword, 0x0403_0201)]);
}

/// What was done of a repeated instruction before its fault stays done.
#[test]
fn a_string_stops_where_its_segment_ends() {
    let (mut cpu, mut board) = protected(&[0xf3, 0xaa]);
    cpu.load_segment(&mut board, ES, SMALL_DATA).unwrap();
    (cpu.general[usize::from(EAX)], cpu.general[usize::from(ECX)]) = (0x55, 5);
    cpu.general[usize::from(EDI)] = 0xffe;
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 13);
    assert_eq!((cpu.general[usize::from(EDI)], cpu.general[usize::from(ECX)]), (0x1000, 3));
    assert_eq!(&board.memory[0x1_0ffe..0x1_1001], &[0x55, 0x55, 0]);
}

#[test]
fn calls_and_returns_keep_the_stack() {
    // CALL +1; HLT; MOV BX, SP; RET 4.
    let (mut cpu, mut board) = real(&[0xe8, 1, 0, 0xf4, 0x89, 0xe3, 0xc2, 4, 0]);
    run(&mut cpu, &mut board);
    assert_eq!(cpu.eip, START + 4);
    assert_eq!((cpu.general[usize::from(EBX)], cpu.general[usize::from(ESP)]), (STACK - 2, STACK + 4));
    // CALL 0x0100:0x0200, where RETF is.
    let (mut cpu, mut board) = real(&[0x9a, 0x00, 0x02, 0x00, 0x01]);
    board.put(0x1200, &[0x8c, 0xc8, 0xcb]);
    run(&mut cpu, &mut board);
    assert_eq!((cpu.eip, cpu.segments[usize::from(CS)].selector), (START + 6, 0));
    assert_eq!((cpu.general[usize::from(EAX)], cpu.general[usize::from(ESP)]), (0x100, STACK));
    // The same by a far pointer in memory, in protected mode, to code of 16 bits and back.
    let (mut cpu, mut board) = protected(&[0xff, 0x1d, 0x00, 0x30, 0, 0]);
    board.put(0x3000, &[0x00, 0x22, 0, 0, 0x28, 0]);
    board.put(0x2200, &[0xb8, 0x34, 0x12, 0x66, 0xcb]);
    run(&mut cpu, &mut board);
    assert_eq!((cpu.eip, cpu.segments[usize::from(CS)].selector), (START + 7, FLAT_CODE));
    assert_eq!(cpu.general[usize::from(EAX)], 0x1234);
}

#[test]
fn loops_count_and_enter_and_leave_make_frames() {
    // MOV CX, 3; INC AX; LOOP -3.
    assert_eq!(compute(&[0xb9, 3, 0, 0x40, 0xe2, 0xfd], [0; 4]).0[..3], [3, 0, 0]);
    // JCXZ over an INC.
    assert_eq!(compute(&[0xe3, 1, 0x40], [0, 0, 0x1_0000, 0]).0[0], 0);
    // ENTER 8, 0; MOV BX, SP; LEAVE.
    let (mut cpu, mut board) = real(&[0xc8, 8, 0, 0, 0x89, 0xe3, 0xc9]);
    cpu.general[usize::from(EBP)] = 0x1234;
    run(&mut cpu, &mut board);
    assert_eq!(cpu.general[usize::from(EBX)], STACK - 10);
    assert_eq!((cpu.general[usize::from(EBP)], cpu.general[usize::from(ESP)]), (0x1234, STACK));
}

#[test]
fn interrupts_come_back_in_real_mode() {
    // INT 0x21; the handler: MOV AX, 5; IRET.
    let (mut cpu, mut board) = real(&[0xfb, 0xcd, 0x21]);
    board.put(0x621, &[0xb8, 5, 0, 0xcf]);
    run(&mut cpu, &mut board);
    assert_eq!((cpu.eip, cpu.general[usize::from(EAX)]), (START + 4, 5));
    assert_ne!(cpu.flags & IF, 0, "the flags are back");
    // STI; NOP; HLT with somebody asking: behind the instruction that follows STI.
    let (mut cpu, mut board) = real(&[0xfb, 0x90, 0x90]);
    board.interrupt = Some(0x30);
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 0x30);
    assert_eq!(board.dword(STACK as usize - 6) & 0xffff, START + 2);
}

#[test]
fn gates_lead_to_handlers_in_protected_mode() {
    // INT 0x21 by a trap gate; IRETD.
    let (mut cpu, mut board) = protected(&[0xcd, 0x21]);
    board.put(0x621, &[0xb8, 5, 0, 0, 0, 0xcf]);
    run(&mut cpu, &mut board);
    assert_eq!((cpu.eip, cpu.general[usize::from(EAX)], cpu.general[usize::from(ESP)]), (START + 3, 5, STACK));
    // One that is not there.
    let (mut cpu, mut board) = protected(&[0xcd, 0x22]);
    board.put(0x5000 + 8 * 0x22 + 5, &[0x0f]);
    run(&mut cpu, &mut board);
    assert_eq!((vector(&cpu), board.dword(STACK as usize - 16)), (11, 0x22 << 3 | 2));
    assert_eq!(board.dword(STACK as usize - 12), START);
}

/// What boot loaders do: LGDT, CR0.PE, a far jump, segments, and "big real mode" behind that.
#[test]
fn a_program_gets_to_protected_mode_and_back_with_large_limits() {
    let code = [
        0x0f, 0x01, 0x16, 0x00, 0x30, // LGDT [0x3000]
        0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // CR0.PE = 1
        0xbb, 0x10, 0x00, 0x8e, 0xdb, // DS = flat
        0x24, 0xfe, 0x0f, 0x22, 0xc0, // CR0.PE = 0
        0x31, 0xdb, 0x8e, 0xdb, // DS = 0
        0x67, 0xc6, 0x05, 0x34, 0x12, 0x18, 0x00, 0x77, // MOV BYTE [0x181234], 0x77
    ];
    let (mut cpu, mut board) = real(&code);
    board.put(0x3000, &[0x2f, 0, 0x00, 0x40, 0, 0]);
    for (number, descriptor) in DESCRIPTORS.iter().enumerate() {
        board.put(0x4000 + 8 * number, &descriptor.to_le_bytes());
    }
    run(&mut cpu, &mut board);
    assert_eq!(board.memory[0x18_1234], 0x77);
    let data = &cpu.segments[usize::from(DS)];
    assert_eq!((data.selector, data.base, data.limit), (0, 0, u32::MAX));
    // Without that, the limit is 64 KiB.
    let (mut cpu, mut board) = real(&code[code.len() - 8..]);
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 13);
}

#[test]
fn descriptors_that_do_not_fit_are_faults() {
    // MOV DS, AX; MOV SS, AX.
    for (code, selector, expected, error) in [
        ([0x8e, 0xd8], ABSENT_DATA, 11, ABSENT_DATA),
        ([0x8e, 0xd8], 0x30, 13, 0x30),
        ([0x8e, 0xd8], 0x0c, 13, 0x0c),
        ([0x8e, 0xd0], 0, 13, 0),
        ([0x8e, 0xd0], FLAT_CODE, 13, FLAT_CODE),
        ([0x8e, 0xd0], ABSENT_DATA | 3, 13, ABSENT_DATA),
    ] {
        let (mut cpu, mut board) = protected(&code);
        cpu.general[usize::from(EAX)] = selector.into();
        run(&mut cpu, &mut board);
        assert_eq!((vector(&cpu), board.dword(STACK as usize - 16)), (expected, error.into()), "{selector:x}");
    }
    // A null selector may be loaded, and not used.
    let (mut cpu, mut board) = protected(&[0x8e, 0xd8, 0xa0, 0, 0, 0, 0]);
    run(&mut cpu, &mut board);
    assert_eq!((vector(&cpu), board.dword(STACK as usize - 12)), (13, START + 2));
    // A jump to data.
    let (mut cpu, mut board) = protected(&[0xea, 0, 0, 0, 0, 0x10, 0]);
    run(&mut cpu, &mut board);
    assert_eq!((vector(&cpu), board.dword(STACK as usize - 16)), (13, FLAT_DATA.into()));
    // The limit counts for the last byte, and is that of the stack for what has EBP in its address.
    let (mut cpu, mut board) = protected(&[0x8b, 0x45, 0x00]);
    cpu.load_segment(&mut board, SS, SMALL_DATA).unwrap();
    cpu.general[usize::from(EBP)] = 0xffd;
    cpu.general[usize::from(ESP)] = 0x800;
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 12);
    let (mut cpu, mut board) = protected(&[0xea, 0, 0x22, 0, 0, 0x28, 0]);
    board.put(0x2200, &[0xf4]);
    run(&mut cpu, &mut board);
    assert_eq!(cpu.segments[usize::from(CS)].selector, CODE_16);
}

#[test]
fn a_fault_without_a_handler_is_a_double_fault_and_then_the_end() {
    // UD2 has no gate; the handler of #GP that follows has.
    let (mut cpu, mut board) = protected(&[0x0f, 0x0b]);
    board.put(0x5000 + 8 * 6, &[0; 8]);
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 13);
    // #GP without a gate makes a double fault.
    let (mut cpu, mut board) = protected(&[0xcd, 0x7f]);
    board.put(0x5000 + 8 * 0x7f, &[0; 8]);
    board.put(0x5000 + 8 * 13, &[0; 8]);
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 8);
    board.put(0x5000 + 8 * 8, &[0; 8]);
    cpu.eip = START;
    cpu.halted = false;
    assert_eq!(cpu.run(&mut board), Stopped::ShutDown);
}

#[test]
fn what_the_cpu_does_not_have_is_refused() {
    // SYSCALL, an SSE instruction, RSM outside of system management mode.
    for code in [&[0x0f, 0x05][..], &[0x0f, 0x58, 0xc1], &[0x0f, 0xaa]] {
        let (mut cpu, mut board) = real(code);
        run(&mut cpu, &mut board);
        assert_eq!(vector(&cpu), 6, "{code:x?}");
    }
    // Paging: MOV CR0, EAX with PG.
    let (mut cpu, mut board) = protected(&[0x0f, 0x22, 0xc0]);
    cpu.general[usize::from(EAX)] = 0x8000_0001;
    run(&mut cpu, &mut board);
    assert_eq!(vector(&cpu), 13);
    // FNSTSW AX: there is no coprocessor, and nothing happens.
    assert_eq!(compute(&[0xdf, 0xe0], [0x5a5a, 0, 0, 0]).0[0], 0x5a5a);
}

#[test]
fn code_that_changes_is_executed_as_it_is() {
    // INC AX; MOV BYTE [0x1000], 0x4b (DEC BX); CMP BX, 0; JNE +2; JMP back.
    let code = [0x40, 0xc6, 0x06, 0x00, 0x10, 0x4b, 0x83, 0xfb, 0x00, 0x75, 0xf5];
    assert_eq!(compute(&code, [0, 3, 0, 0]).0[..2], [1, 0]);
}

#[test]
fn address_line_20_may_be_held_down() {
    // MOV AL, [0x0010] in segment 0xffff.
    for (mask, expected) in [(u32::MAX, 0x22), (!(1 << 20), 0x11)] {
        let (mut cpu, mut board) = real(&[0xa0, 0x10, 0x00]);
        cpu.segments[usize::from(DS)] = Segment::real(0xffff);
        board.put(0x10_0000, &[0x22]);
        board.a20_mask = mask;
        let vector_0 = board.memory[0];
        board.memory[0] = 0x11;
        run(&mut cpu, &mut board);
        board.memory[0] = vector_0;
        assert_eq!(cpu.general[usize::from(EAX)], expected);
    }
}

#[test]
fn system_management_sees_the_state_and_moves_its_base() {
    let (mut cpu, mut board) = protected(&[0xf4, 0x90]);
    cpu.general[usize::from(EBX)] = 0xb0b0;
    run(&mut cpu, &mut board);
    // At 0x38000: MOV EAX, [0x3ffdc - 0x30000] (EBX); MOV DWORD CS:[0xfef8], 0x70000; RSM.
    let handler = [
        0x2e, 0x66, 0xa1, 0xdc, 0xff, 0x66, 0xa3, 0x00, 0x30, 0x2e, 0x66, 0xc7, 0x06, 0xf8, 0xfe, 0, 0, 7, 0, 0x0f,
        0xaa,
    ];
    board.put(0x3_8000, &handler);
    // The handler lets the CPU go on behind HLT.
    board.management = true;
    let before = (cpu.general, cpu.segments, cpu.flags, cpu.control[0]);
    run(&mut cpu, &mut board);
    assert_eq!(board.dword(0x3000), 0xb0b0);
    assert_eq!(board.dword(0x3_fefc), 0x2_0000);
    assert_eq!((cpu.general, cpu.segments, cpu.flags, cpu.control[0]), before);
    assert_eq!((cpu.smm_base, cpu.eip, board.in_management), (0x7_0000, START + 1, false));
}

#[test]
fn ports_are_read_and_written_in_their_width() {
    // OUT 0x80, AL; OUT DX, AX; OUT DX, EAX; IN AL, DX.
    let (mut cpu, mut board) = real(&[0xe6, 0x80, 0xef, 0x66, 0xef, 0xec]);
    (cpu.general[usize::from(EAX)], cpu.general[usize::from(EDX)]) = (0x1234_5678, 0xcf8);
    board.to_read = [0xab].into();
    run(&mut cpu, &mut board);
    let expected = [(0x80, Width::Byte, 0x78), (0xcf8, Width::Word, 0x5678), (0xcf8, Width::Dword, 0x1234_5678)];
    assert_eq!(board.written, expected);
    assert_eq!(cpu.general[usize::from(EAX)], 0x1234_56ab);
}

#[test]
fn time_passes_by_instructions() {
    let (mut cpu, mut board) = real(&[0x90, 0x90, 0x90]);
    run(&mut cpu, &mut board);
    assert_eq!(board.now, 4 * super::STEP_TIME);
    // JMP to itself: until its time is over.
    let (mut cpu, mut board) = real(&[0xeb, 0xfe]);
    board.until = 1000;
    assert_eq!(cpu.run(&mut board), Stopped::Due);
    assert_eq!(board.now, 1000);
    // A repeated string instruction stops in time, too.
    let (mut cpu, mut board) = real(&[0xf3, 0xaa]);
    (cpu.general[usize::from(ECX)], board.until) = (1000, 50 * super::STEP_TIME);
    cpu.general[usize::from(EDI)] = 0x4000;
    assert_eq!(cpu.run(&mut board), Stopped::Due);
    assert_eq!((cpu.general[usize::from(ECX)], cpu.eip), (950, START));
}

/// Whatever the bytes are, something is done with them, in each mode.
#[test]
fn any_bytes_are_a_program() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400 {
        let (mut cpu, mut board) = if round % 2 == 0 { real(&[]) } else { protected(&[]) };
        for byte in &mut board.memory[..0x1_0000] {
            *byte = next().to_le_bytes()[3];
        }
        for register in &mut cpu.general {
            *register = u32::from_le_bytes(next().to_le_bytes()[..4].try_into().unwrap());
        }
        cpu.in_smm = round % 8 == 0;
        board.until = 40_000;
        board.interrupt = (round % 3 == 0).then_some(8);
        let _ = cpu.run(&mut board);
        assert!(board.now < 200_000);
    }
}

#[test]
fn the_faults_have_their_vectors() {
    assert_eq!(Fault::not_present(0x23), Fault { vector: 11, code: Some(0x20) });
    assert_eq!(Fault::DOUBLE.vector, 8);
}
