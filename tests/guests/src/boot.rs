//! From the boot sector to long mode, the way back to the BIOS, the other vCPUs, and the entries of interrupts.
//!
//! | address | what is there |
//! |---|---|
//! | 0x1000–0x6fff | page tables: the first 4 GiB at their physical addresses, 2 MiB pages |
//! | below 0x7c00 | stack of real mode |
//! | 0x7c00 | boot sector; the command line follows at 0x7e00 |
//! | 0x8000 | where the other vCPUs start; then all of the image |
//! | 0x100000 | bss and stacks |
//!
//! Interrupts run on a stack of their own, so nothing that a function keeps below its stack pointer is lost.
//! The handlers of the PIC's lines only count and acknowledge.

// UNSAFETY: machine code, and symbols that it shares with Rust.
#![expect(unsafe_code)]

use crate::interrupts::IRQ_COUNTS;
use core::arch::global_asm;
use core::sync::atomic::AtomicU32;

/// Number of vCPUs that have reached long mode. Not in the bss: it counts before that is cleared for the last time.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
pub(crate) static CPU_COUNT: AtomicU32 = AtomicU32::new(0);

/// Registers for a call of the BIOS, in and out. Offsets are known to the code below.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct BiosRegisters {
    /// EAX, offset 0.
    pub eax: u32,
    /// EBX, offset 4.
    pub ebx: u32,
    /// ECX, offset 8.
    pub ecx: u32,
    /// EDX, offset 12.
    pub edx: u32,
    /// ESI, offset 16.
    pub esi: u32,
    /// EDI, offset 20.
    pub edi: u32,
    /// ES, offset 24.
    pub es: u16,
    /// DS, offset 26.
    pub ds: u16,
    /// FLAGS after the call, offset 28.
    pub flags: u16,
    /// Nothing.
    pub unused: u16,
}

unsafe extern "C" {
    /// Where an image's command line was loaded.
    #[link_name = "command_line"]
    static COMMAND_LINE: [u8; 512];
    /// First byte after all memory that the linker gave to the program.
    pub(crate) static __memory_end: u8;
    /// Sixteen bytes of code for each of 256 vectors.
    pub(crate) static vector_stubs: [[u8; 16]; 256];
    /// The registers of the call to the BIOS.
    pub(crate) static mut bios_registers: BiosRegisters;
    /// What an interrupt in real mode can lead to: reads the byte at DS:SI so often as CX says, and gives the ticks that all
    /// of it took in EAX. The code lies in the first 64 KiB.
    pub(crate) static real_mode_reads: u8;
    /// Calls the BIOS function of this vector with `bios_registers`. Interrupts are off before and after.
    pub(crate) fn bios_call(vector: u8);
}

/// The command line, as the boot sector loaded it.
pub(crate) fn command_line() -> &'static [u8; 512] {
    // SAFETY: loaded before any Rust code ran; nothing writes to it.
    unsafe { &COMMAND_LINE }
}

// The mode switches follow the Intel SDM, volume 3A, 9.8.5 (to IA-32e mode) and 9.9 (between real and protected mode).
global_asm!(
    r#"
.section .boot, "awx", @progbits
.code16
.globl boot_sector
boot_sector:
    # The first byte on COM1 is sent before anything else is done, for the measurement of the time up to here.
    mov bx, dx
    mov dx, 0x3f8
    mov al, 'B'
    out dx, al
    .byte 0xea
    .word 1f, 0
1:  xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    cld
    mov dl, bl
    mov di, offset __load_sectors
2:  mov ax, 64
    cmp di, ax
    jae 3f
    mov ax, di
3:  mov word ptr [disk_packet + 2], ax
    mov cx, 4
4:  mov si, offset disk_packet
    mov ah, 0x42
    push cx
    push di
    push dx
    int 0x13
    pop dx
    pop di
    pop cx
    jnc 5f
    xor ah, ah
    int 0x13
    loop 4b
    # The disk cannot be read: say so, and stop.
    mov dx, 0x3f8
    mov al, '!'
    out dx, al
6:  hlt
    jmp 6b
5:  mov ax, word ptr [disk_packet + 2]
    add word ptr [disk_packet + 8], ax
    sub di, ax
    shl ax, 5
    add word ptr [disk_packet + 6], ax
    test di, di
    jnz 2b
    jmp second_stage
.balign 4
# INT 13h function 42h: size, number of sectors, offset, segment, first sector.
disk_packet:
    .word 16, 0, 0, 0x7e0
    .quad 1
.org 510
    .byte 0x55, 0xaa

.section .real, "awx", @progbits
# The other vCPUs start here, at 0x8000.
other_cpu:
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea
    .word other_cpu_protected, 0x08

second_stage:
    # Address line 20.
    in al, 0x92
    test al, 2
    jnz 1f
    or al, 2
    and al, 0xfe
    out 0x92, al
1:  cli
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea
    .word first_cpu_protected, 0x08

.code32
first_cpu_protected:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    xor eax, eax
    mov edi, offset __bss_start
    mov ecx, offset __bss_end
    sub ecx, edi
    shr ecx, 2
    rep stosd
    mov edi, 0x1000
    mov ecx, 0x1800
    rep stosd
    mov dword ptr [0x1000], 0x2003
    mov dword ptr [0x2000], 0x3003
    mov dword ptr [0x2008], 0x4003
    mov dword ptr [0x2010], 0x5003
    mov dword ptr [0x2018], 0x6003
    mov edi, 0x3000
    mov eax, 0x83
    mov ecx, 2048
1:  mov dword ptr [edi], eax
    add eax, 0x200000
    add edi, 8
    dec ecx
    jnz 1b
other_cpu_protected:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esi, offset long_mode
enter_long_mode:
    # PAE, OSFXSR, OSXMMEXCPT.
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov eax, 0x1000
    mov cr3, eax
    # EFER.LME.
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    # PG, NE, MP, PE; not EM, not TS; caches on.
    mov eax, cr0
    and eax, 0x9ffffff3
    or eax, 0x80000023
    mov cr0, eax
    .byte 0xea
    .long 1f
    .word 0x18
.code64
1:  mov esi, esi
    jmp rsi

long_mode:
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov eax, 1
    lock xadd dword ptr [{cpu_count}], eax
    cmp eax, 128
    jae 2f
    mov edi, eax
    inc eax
    shl eax, 14
    lea rsp, [rax + stacks]
    xor ebp, ebp
    test edi, edi
    jz 1f
    call {other_cpu_main}
2:  cli
    hlt
    jmp 2b
1:  lea rsp, [first_stack_end]
    # The task state segment, whose only use is the stack of interrupts.
    lea rax, [task_state]
    mov word ptr [task_descriptor + 2], ax
    shr eax, 16
    mov byte ptr [task_descriptor + 4], al
    mov byte ptr [task_descriptor + 7], ah
    lea rax, [interrupt_stack_end]
    mov qword ptr [task_state + 36], rax
    mov ax, 0x30
    ltr ax
    call {first_cpu_main}
    jmp 2b

# bios_call(vector: edi)
.globl bios_call
bios_call:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov byte ptr [bios_instruction + 1], dil
    mov qword ptr [saved_rsp], rsp
    sidt [saved_idt]
    push 0x08
    lea rax, [leave_long_mode]
    push rax
    retfq
.code32
leave_long_mode:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov ecx, 0xc0000080
    rdmsr
    and eax, 0xfffffeff
    wrmsr
    .byte 0xea
    .long 1f
    .word 0x20
.code16
1:  mov ax, 0x28
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea
    .word 1f, 0
1:  xor ax, ax
    mov ds, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov sp, 0x7c00
    lidt [real_idt]
    mov ax, word ptr [bios_registers + 24]
    mov es, ax
    mov eax, dword ptr [bios_registers]
    mov ebx, dword ptr [bios_registers + 4]
    mov ecx, dword ptr [bios_registers + 8]
    mov edx, dword ptr [bios_registers + 12]
    mov esi, dword ptr [bios_registers + 16]
    mov edi, dword ptr [bios_registers + 20]
    mov ds, word ptr [bios_registers + 26]
    sti
bios_instruction:
    int 0x13
    cli
    cld
    # MOV, PUSH and POP leave the flags alone.
    pushf
    push ds
    push 0
    pop ds
    mov dword ptr [bios_registers], eax
    mov dword ptr [bios_registers + 4], ebx
    mov dword ptr [bios_registers + 8], ecx
    mov dword ptr [bios_registers + 12], edx
    mov dword ptr [bios_registers + 16], esi
    mov dword ptr [bios_registers + 20], edi
    pop ax
    mov word ptr [bios_registers + 26], ax
    mov ax, es
    mov word ptr [bios_registers + 24], ax
    pop word ptr [bios_registers + 28]
    xor ax, ax
    mov ds, ax
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea
    .word 1f, 0x08
.code32
1:  mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esi, offset bios_return
    jmp enter_long_mode
.code64
bios_return:
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, qword ptr [saved_rsp]
    lidt [saved_idt]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

.code16
.globl real_mode_reads
real_mode_reads:
    rdtsc
    mov ebx, eax
1:  mov al, byte ptr [si]
    dec cx
    jnz 1b
    rdtsc
    sub eax, ebx
    iret
.code64

.balign 16
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    # 0x08 code, 32 bits
    .quad 0x00cf92000000ffff    # 0x10 data
    .quad 0x00af9a000000ffff    # 0x18 code, 64 bits
    .quad 0x00009a000000ffff    # 0x20 code, 16 bits
    .quad 0x000092000000ffff    # 0x28 data, 16 bits
task_descriptor:
    .quad 0x0000890000000067, 0 # 0x30 task state segment
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt
.balign 4
real_idt:
    .word 0x3ff
    .long 0
.balign 8
saved_rsp:
    .quad 0
saved_idt:
    .quad 0, 0
.globl bios_registers
bios_registers:
    .skip 32

.section .text.vectors, "ax", @progbits
.balign 16
.globl vector_stubs
vector_stubs:
# Vectors of the processor's exceptions: number, frame, faulting address.
.set vector, 0
.rept 32
    .balign 16
    mov edi, vector
    jmp exception
    .set vector, vector + 1
.endr
# Vectors of the interrupt controllers' lines.
.set line, 0
.rept 16
    .balign 16
    push rax
    mov eax, line
    jmp interrupt
    .set line, line + 1
.endr
# No other vector is used.
.rept 208
    .balign 16
    iretq
.endr
    .balign 16
exception:
    mov rsi, rsp
    mov rdx, cr2
    and rsp, -16
    call {exception}
interrupt:
    lock inc qword ptr [{counts} + rax * 8]
    cmp eax, 8
    mov al, 0x20
    jb 1f
    out 0xa0, al
1:  out 0x20, al
    pop rax
    iretq

.section .bss.task_state, "aw", @nobits
.balign 16
task_state:
    .skip 104

.section .stack, "aw", @nobits
.balign 4096
# Stack number n ends at stacks + (n + 1) * 16 KiB; the first vCPU has a larger one.
stacks:
    .skip 128 * 16384
    .skip 65536
first_stack_end:
    .skip 16384
interrupt_stack_end:

.section .text.memory_functions, "ax", @progbits
.globl memcpy, memmove, memset, memcmp, bcmp, strlen
memcpy:
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret
memmove:
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jae memcpy
    mov rcx, rdx
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret
memset:
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret
memcmp:
bcmp:
    xor ecx, ecx
1:  cmp rcx, rdx
    je 2f
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    je 1b
    ret
2:  xor eax, eax
    ret
strlen:
    xor eax, eax
1:  cmp byte ptr [rdi + rax], 0
    je 2f
    inc rax
    jmp 1b
2:  ret
"#,
    cpu_count = sym CPU_COUNT,
    counts = sym IRQ_COUNTS,
    exception = sym crate::interrupts::exception,
    first_cpu_main = sym crate::first_cpu_main,
    other_cpu_main = sym crate::smp::other_cpu_main,
);

/// Precompiled parts of `core` name the unwinder's personality, though nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above. Nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("unwinding")
}
