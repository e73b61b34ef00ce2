//! Checks of a linked freestanding image that the compiler does not make.
//!
//! Xen pushes a frame at a kernel's stack pointer, so a function that keeps data below it (in the red zone) loses them.
//! Our own crates are compiled without a red zone, but Rust's own libraries come compiled: whether the functions that were
//! linked in use it has to be looked at. A `syscall` in a paravirtualised guest is a hypercall, and nothing applies dynamic
//! relocations or sets up thread-local storage.
//!
//! Not checked: accesses below the stack pointer through another register than the stack and frame pointers.

use std::fmt;

use anyhow::{Context, Result};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::elf;
use object::read::elf::{ElfFile64, ProgramHeader, SectionHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind};

/// What is wrong with an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A function keeps data below its stack pointer.
    RedZone { function: String, instruction: String },
    /// An instruction that enters a kernel.
    KernelEntry { near: String, instruction: String },
    /// A segment or section that needs somebody to set it up.
    NeedsLoader { part: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RedZone { function, instruction } => write!(f, "{function} uses the red zone: {instruction}"),
            Self::KernelEntry { near, instruction } => write!(f, "{near} enters a kernel: {instruction}"),
            Self::NeedsLoader { part } => write!(f, "{part}: nothing sets that up in a freestanding image"),
        }
    }
}

/// What runs the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A kernel below Xen, all of it 64-bit code.
    ParavirtualKernel,
    /// A kernel on a bare machine, which has 16-bit code too.
    BareMachine,
}

/// Looks through an image that has its symbols.
pub(crate) fn check(file: &[u8], kind: Kind) -> Result<Vec<Problem>> {
    let elf = ElfFile64::<Endianness>::parse(file).context("not a 64-bit ELF file")?;
    let mut problems = loader_needs(&elf);
    let functions = functions(&elf)?;
    for Function { name, address, code, .. } in functions.iter().filter(|function| function.is_sized) {
        if let Some(instruction) = red_zone_use(code, *address) {
            problems.push(Problem::RedZone { function: name.clone(), instruction });
        }
    }
    if kind == Kind::ParavirtualKernel {
        for Function { name, address, code, .. } in &functions {
            if let Some(instruction) = kernel_entry(code, *address) {
                problems.push(Problem::KernelEntry { near: name.clone(), instruction });
            }
        }
    }
    Ok(problems)
}

fn loader_needs(elf: &ElfFile64<'_>) -> Vec<Problem> {
    let endian = elf.endian();
    let segments = elf.elf_program_headers().iter().filter_map(|segment| match segment.p_type(endian) {
        elf::PT_TLS => Some("a segment of thread-local storage"),
        elf::PT_DYNAMIC => Some("a segment for dynamic linking"),
        elf::PT_INTERP => Some("the name of a dynamic linker"),
        _ => None,
    });
    let mut problems: Vec<_> = segments.map(|part| Problem::NeedsLoader { part: part.to_owned() }).collect();
    for section in elf.sections() {
        let header = section.elf_section_header();
        let is_relocation = matches!(header.sh_type(endian), elf::SHT_REL | elf::SHT_RELA | elf::SHT_RELR);
        let is_loaded = header.sh_flags(endian).contains(elf::SHF_ALLOC);
        if is_relocation && is_loaded && section.size() > 0 {
            problems.push(Problem::NeedsLoader {
                part: format!("dynamic relocations in {}", section.name().unwrap_or("?")),
            });
        }
    }
    problems
}

/// A stretch of code from one symbol to the next.
struct Function<'a> {
    name: String,
    address: u64,
    code: &'a [u8],
    /// Whether it is a function for the compiler; a mere label of assembly code has neither type nor size.
    is_sized: bool,
}

/// Xen fills this page with its own code.
const HYPERCALL_PAGE: &str = "hypercall_page";

fn functions<'a>(elf: &ElfFile64<'a>) -> Result<Vec<Function<'a>>> {
    let mut functions = Vec::new();
    for section in elf.sections() {
        if !section.elf_section_header().sh_flags(elf.endian()).contains(elf::SHF_EXECINSTR) {
            continue;
        }
        let data = section.data()?;
        let start = section.address();
        let mut symbols: Vec<_> =
            elf.symbols().filter(|symbol| symbol.section_index() == Some(section.index())).collect();
        // At one address the symbol with a size comes first.
        symbols.sort_by_key(|symbol| (symbol.address(), std::cmp::Reverse(symbol.size())));
        symbols.dedup_by_key(|symbol| symbol.address());
        for (index, symbol) in symbols.iter().enumerate() {
            let name = symbol.name().unwrap_or("?").to_owned();
            let end = symbols.get(index + 1).map_or(start + section.size(), object::ObjectSymbol::address);
            let is_sized = symbol.kind() == SymbolKind::Text && symbol.size() > 0;
            let end = if is_sized { end.min(symbol.address() + symbol.size()) } else { end };
            let range = usize::try_from(symbol.address() - start)?..usize::try_from(end - start)?;
            if name != HYPERCALL_PAGE {
                let code = data.get(range).context("a symbol lies outside of its section")?;
                functions.push(Function { name, address: symbol.address(), code, is_sized });
            }
        }
    }
    Ok(functions)
}

fn decode(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter()
}

/// Finds an access below the stack pointer.
///
/// Through the stack pointer it has a negative displacement; with an index that may be an array above it, unless the function
/// reserves nothing. In a function with a frame pointer it lies further below that than everything that the function pushes
/// and reserves.
fn red_zone_use(code: &[u8], address: u64) -> Option<String> {
    let mut has_frame_pointer = false;
    let mut reserved: u64 = 0;
    let mut indexed = None;
    let mut lowest: Option<(u64, Instruction)> = None;
    for instruction in decode(code, address) {
        match instruction.code() {
            Code::Mov_rm64_r64 | Code::Mov_r64_rm64
                if instruction.op0_register() == Register::RBP && instruction.op1_register() == Register::RSP =>
            {
                has_frame_pointer = true;
                reserved = 0;
            }
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if instruction.op0_register() == Register::RSP => {
                reserved = reserved.saturating_add(instruction.immediate(1));
            }
            _ if instruction.mnemonic() == Mnemonic::Push => reserved = reserved.saturating_add(8),
            _ => {}
        }
        let below = 0u64.wrapping_sub(instruction.memory_displacement64());
        if !is_access(&instruction) || !(1..=1 << 31).contains(&below) {
            continue;
        }
        match (instruction.memory_base(), instruction.memory_index()) {
            (Register::RSP, Register::None) => return Some(describe(&instruction)),
            (Register::RSP, _) => indexed = indexed.or(Some(instruction)),
            (Register::RBP, Register::None) if lowest.is_none_or(|(so_far, _)| below > so_far) => {
                lowest = Some((below, instruction));
            }
            _ => {}
        }
    }
    let in_frame =
        lowest.filter(|(below, _)| has_frame_pointer && *below > reserved).map(|(_, instruction)| instruction);
    let in_array = indexed.filter(|_| !has_frame_pointer && reserved == 0);
    in_frame.or(in_array).map(|instruction| describe(&instruction))
}

/// Whether an instruction reads or writes memory; to take the address of something is no access to it.
fn is_access(instruction: &Instruction) -> bool {
    !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop)
        && (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
}

fn kernel_entry(code: &[u8], address: u64) -> Option<String> {
    let is_entry = |instruction: &Instruction| match instruction.mnemonic() {
        Mnemonic::Syscall | Mnemonic::Sysenter => true,
        Mnemonic::Int => instruction.immediate8() == 0x80,
        _ => false,
    };
    decode(code, address).find(is_entry).map(|instruction| describe(&instruction))
}

fn describe(instruction: &Instruction) -> String {
    format!("{:?} at {:#x}", instruction.code(), instruction.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_below_the_stack_pointer_uses_the_red_zone() {
        // mov [rsp-8], rdi; ret
        assert!(red_zone_use(&[0x48, 0x89, 0x7c, 0x24, 0xf8, 0xc3], 0).is_some());
        // mov [rsp+8], rdi; ret
        assert!(red_zone_use(&[0x48, 0x89, 0x7c, 0x24, 0x08, 0xc3], 0).is_none());
        // lea rax, [rsp-8]; ret
        assert!(red_zone_use(&[0x48, 0x8d, 0x44, 0x24, 0xf8, 0xc3], 0).is_none());
    }

    #[test]
    fn an_array_below_the_stack_pointer_has_nothing_reserved_for_it() {
        // mov [rsp+rcx-2], al; ret
        assert!(red_zone_use(&[0x88, 0x44, 0x0c, 0xfe, 0xc3], 0).is_some());
        // push rax; mov [rsp+rcx-2], al, where rcx counts from 2
        assert!(red_zone_use(&[0x50, 0x88, 0x44, 0x0c, 0xfe], 0).is_none());
    }

    #[test]
    fn a_frame_is_what_was_pushed_and_reserved_below_the_frame_pointer() {
        // push rbp; mov rbp, rsp; mov [rbp-8], rdi; pop rbp; ret
        assert!(red_zone_use(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0x7d, 0xf8, 0x5d, 0xc3], 0).is_some());
        // push rbp; mov rbp, rsp; push rbx; mov [rbp-8], rdi
        assert!(red_zone_use(&[0x55, 0x48, 0x89, 0xe5, 0x53, 0x48, 0x89, 0x7d, 0xf8], 0).is_none());
        // push rbp; mov rbp, rsp; sub rsp, 16; mov [rbp-16], rdi
        assert!(red_zone_use(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0x7d, 0xf0], 0).is_none());
        // mov [rbp-8], rdi, where rbp is any pointer
        assert!(red_zone_use(&[0x48, 0x89, 0x7d, 0xf8], 0).is_none());
    }

    #[test]
    fn entries_of_kernels_are_found_among_other_instructions() {
        assert!(kernel_entry(&[0x90, 0x0f, 0x05], 0).is_some());
        assert!(kernel_entry(&[0x0f, 0x34], 0).is_some());
        assert!(kernel_entry(&[0xcd, 0x80], 0).is_some());
        assert!(kernel_entry(&[0xcd, 0x03, 0xc3], 0).is_none());
        // mov eax, 0x050f: the bytes of an immediate are no instruction.
        assert!(kernel_entry(&[0xb8, 0x0f, 0x05, 0, 0], 0).is_none());
    }

    #[test]
    fn a_program_for_linux_needs_a_loader_and_uses_the_red_zone() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let problems = check(&program, Kind::ParavirtualKernel).unwrap();
        let needs = |what: &str| {
            problems.iter().any(|problem| matches!(problem, Problem::NeedsLoader { part } if part.contains(what)))
        };
        assert!(needs("thread-local storage"));
        assert!(needs("dynamic linking"));
        assert!(needs("dynamic relocations"));
        assert!(problems.iter().any(|problem| matches!(problem, Problem::RedZone { .. })));
    }
}
