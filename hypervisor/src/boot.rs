//! From the boot loader to Rust: a multiboot header, long mode, and the first page tables.
//!
//! | addresses | what |
//! |---|---|
//! | [`IMAGE`] on | the first GiB of the machine, with the image in it |
//! | [`DIRECT`] on | the first 4 GiB of the machine |
//!
//! Both lie in entries of the top table that are the hypervisor's in every domain (256 to 271, `public/arch-x86/xen-x86_64.h`).
//!
//! Source: Multiboot Specification 0.6.96; AMD64 Architecture Programmer's Manual, volume 2, section 14.6.
// UNSAFETY: the first instructions of the machine, and the memory that they leave.
#![expect(unsafe_code)]

use core::arch::global_asm;
use core::ptr;

/// Where the image runs.
pub(crate) const IMAGE: u64 = 0xffff_82d0_4000_0000;
/// Where all memory is mapped.
pub(crate) const DIRECT: u64 = 0xffff_8300_0000_0000;
/// Bytes of it.
pub(crate) const DIRECT_LEN: u64 = 4 << 30;

global_asm!(
    r#"
    .section .boot.header, "a", @progbits
    .balign 4
    multiboot_header:
      .long 0x1badb002, 0x00010003, -(0x1badb002 + 0x00010003)
      .long multiboot_header, __load_start, __load_end, __image_end, boot_start

    .section .boot, "awx", @progbits
    .code32
    .globl boot_start
    boot_start:
      cli
      cld
      mov esp, offset boot_stack_top
      mov [boot_information], ebx
      mov [boot_magic], eax
      // The top table: at address 0 for the next steps, the image, and all memory.
      mov edi, offset boot_top
      mov eax, offset boot_direct
      or eax, 3
      mov [edi], eax
      mov [edi + 262 * 8], eax
      mov eax, offset boot_image
      or eax, 3
      mov [edi + 261 * 8], eax
      // One GiB for the image.
      mov eax, offset boot_pages
      or eax, 3
      mov [boot_image + 321 * 8], eax
      // Four GiB of memory, in pages of 2 MiB.
      mov edi, offset boot_direct
      mov ecx, 4
    1:
      mov [edi], eax
      add eax, 4096
      add edi, 8
      loop 1b
      mov edi, offset boot_pages
      mov eax, 0x83
      mov ecx, 2048
    2:
      mov [edi], eax
      add eax, 0x200000
      add edi, 8
      loop 2b
      // Debug extensions, PAE, global pages, SSE; the tables; long mode with no-execute and system calls; paging with write protection.
      mov eax, 0x6a8
      mov cr4, eax
      mov eax, offset boot_top
      mov cr3, eax
      mov ecx, 0xc0000080
      rdmsr
      or eax, 0x901
      wrmsr
      mov eax, 0x80050033
      mov cr0, eax
      lgdt [boot_gdt_pointer]
      .byte 0xea
      .long boot_start64
      .word 8
    .code64
    boot_start64:
      mov eax, 16
      mov ds, eax
      mov es, eax
      mov ss, eax
      xor eax, eax
      mov fs, eax
      mov gs, eax
      lea rsp, [rip + boot_stack_top]
      movabs rax, {image}
      add rsp, rax
      mov edi, [rip + boot_information]
      mov esi, [rip + boot_magic]
      xor ebp, ebp
      movabs rax, offset {main}
      call rax
      ud2

    .balign 8
    boot_gdt:
      .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
    boot_gdt_pointer:
      .word 23
      .long boot_gdt
    .balign 4
    boot_information: .long 0
    boot_magic: .long 0
    .balign 4096
    .globl boot_top, boot_direct, boot_image
    boot_top: .skip 4096
    boot_direct: .skip 4096
    boot_image: .skip 4096
    boot_pages: .skip 4 * 4096
    boot_stack: .skip 65536
    boot_stack_top:
    .text
    "#,
    image = const IMAGE,
    main = sym crate::main,
);

/// The value in eax that a multiboot loader leaves.
pub(crate) const MAGIC: u32 = 0x2bad_b002;

unsafe extern "C" {
    static boot_top: u8;
    static boot_direct: u8;
    static boot_image: u8;
    static __image_end: u8;
}

/// Entries of the top table for the image and for all memory, from their own table on. The processor's bits may be set later.
pub(crate) fn own_entries() -> [u64; 2] {
    [(&raw const boot_image).addr() as u64 | 3, (&raw const boot_direct).addr() as u64 | 3]
}

/// The address of the hypervisor's own top table.
pub(crate) fn own_top() -> u64 {
    (&raw const boot_top).addr() as u64
}

/// Where the image ends in physical memory.
pub(crate) fn image_end() -> u64 {
    (&raw const __image_end).addr() as u64
}

/// Bytes of physical memory that nobody changes.
///
/// # Safety
/// They are what the boot loader has left, below [`DIRECT_LEN`], and given to nobody.
pub(crate) unsafe fn bytes(address: u64, length: usize) -> &'static [u8] {
    let Ok(start) = usize::try_from(DIRECT.wrapping_add(address)) else { return &[] };
    // SAFETY: the caller vouches for them, and all memory is mapped.
    unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(start), length) }
}
