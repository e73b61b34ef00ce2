//! Ways into the hypervisor, and the one back into a domain.
//!
//! Whatever the reason, the registers go onto the one stack in the order of [`Registers`], floating point is put aside, and
//! [`enter`](crate::run::enter) decides what becomes of it: when it returns, the stack has the registers of whoever runs next.
//! While the hypervisor runs interrupts are off, except where it sleeps.
// UNSAFETY: entry points that the processor jumps to.
#![expect(unsafe_code)]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use hypervisor_core::vcpu::Registers;

/// [`Registers::entry`] of a system call: no vector.
pub(crate) const SYSTEM_CALL: u64 = 0x100;
/// The same of one by 32-bit code, which processors of AMD's have.
pub(crate) const SYSTEM_CALL_32: u64 = 0x101;
/// The vector of the timer, and of interrupts that vanish.
pub(crate) const TIMER: u8 = 0xf0;
pub(crate) const SPURIOUS: u8 = 0xff;
/// The vector of the console, which has received something.
pub(crate) const CONSOLE: u8 = 0xf1;

/// Bytes of the stack.
const STACK: usize = 65536;
/// Bytes of that for debug exceptions.
const DEBUG_STACK_LEN: usize = 8192;
/// Where the code segment is among [`Registers`], from the start of them.
const CS: usize = core::mem::offset_of!(Registers, cs);

/// What the processor saves of floating point: FXSAVE, 512 bytes.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub(crate) struct FloatingPoint([u8; 512]);

impl FloatingPoint {
    /// As it is at the start of a domain: all exceptions masked, x87 in double extended precision.
    pub(crate) const fn new() -> Self {
        let mut bytes = [0; 512];
        (bytes[0], bytes[1]) = (0x7f, 0x03);
        (bytes[24], bytes[25]) = (0x80, 0x1f);
        Self(bytes)
    }
}

#[repr(C, align(16))]
pub(crate) struct Place<T>(UnsafeCell<T>);

// SAFETY: there is one processor; the entry code and `crate::run` use them in turn.
unsafe impl<T> Sync for Place<T> {}

impl<T> Place<T> {
    /// Where it is.
    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// Where a debug exception leaves its frame: it may come at the first instruction of a system call, on the stack of a domain.
static DEBUG_STACK: Place<[u8; DEBUG_STACK_LEN]> = Place(UnsafeCell::new([0; DEBUG_STACK_LEN]));
static ENTRY_STACK: Place<[u8; STACK]> = Place(UnsafeCell::new([0; STACK]));
/// Of whoever's registers are on the stack.
pub(crate) static FLOATING_POINT: Place<FloatingPoint> = Place(UnsafeCell::new(FloatingPoint::new()));

/// Where the stack begins, growing down.
pub(crate) fn stack_top() -> u64 {
    ENTRY_STACK.get() as u64 + STACK as u64
}

/// Where that for debug exceptions begins.
pub(crate) fn debug_stack_top() -> u64 {
    DEBUG_STACK.get() as u64 + DEBUG_STACK_LEN as u64
}

global_asm!(
    r#"
    .text
    .balign 16
    .globl entry_system_call
    entry_system_call:
      mov [rip + entry_scratch], rsp
      lea rsp, [rip + {stack} + {stack_len}]
      push 0xe02b
      push [rip + entry_scratch]
      push r11
      push 0xe033
      push rcx
      push 0
      push {system_call}
      jmp entry_common

    .balign 16
    .globl entry_system_call_32
    entry_system_call_32:
      mov [rip + entry_scratch], rsp
      lea rsp, [rip + {stack} + {stack_len}]
      push 0xe02b
      push [rip + entry_scratch]
      push r11
      push 0xe023
      push rcx
      push 0
      push {system_call_32}
      jmp entry_common

    // From a domain, it goes on where all others do; otherwise where it is.
    .balign 16
    entry_debug:
      test byte ptr [rsp + 8], 3
      jz 1f
      lea rsp, [rip + {stack} + {stack_len}]
      push [rip + {debug_stack} + {debug_stack_len} - 8]
      push [rip + {debug_stack} + {debug_stack_len} - 16]
      push [rip + {debug_stack} + {debug_stack_len} - 24]
      push [rip + {debug_stack} + {debug_stack_len} - 32]
      push [rip + {debug_stack} + {debug_stack_len} - 40]
    1:
      push 0
      push 1
      jmp entry_common

    .macro ENTRY vector, has_error
    .balign 16
    entry_\vector:
      .if \has_error == 0
      push 0
      .endif
      push \vector
      jmp entry_common
    .endm
    .altmacro
    .macro EXCEPTION number
      .if (\number == 8) || (\number == 10) || (\number == 11) || (\number == 12) || (\number == 13) || (\number == 14) || (\number == 17)
      ENTRY \number, 1
      .else
      ENTRY \number, 0
      .endif
    .endm
    .set number, 0
    .rept 20
      EXCEPTION %number
      .set number, number + 1
    .endr
    .noaltmacro
    ENTRY 240, 0
    ENTRY 241, 0
    ENTRY 255, 0

    .balign 16
    entry_common:
      cld
      push rdi
      push rsi
      push rdx
      push rcx
      push rax
      push r8
      push r9
      push r10
      push r11
      push rbx
      push rbp
      push r12
      push r13
      push r14
      push r15
      mov rdi, rsp
      test byte ptr [rsp + {cs}], 3
      jz 1f
      fxsave64 [rip + {floating_point}]
      call {enter}
    .globl entry_resume
    entry_resume:
      fxrstor64 [rip + {floating_point}]
      jmp 2f
      // From the hypervisor itself: it sleeps, or is broken. Floating point is its own.
    1:
      mov rbp, rsp
      sub rsp, 512
      and rsp, -16
      fxsave64 [rsp]
      call {interrupted}
      fxrstor64 [rsp]
      mov rsp, rbp
    2:
      pop r15
      pop r14
      pop r13
      pop r12
      pop rbp
      pop rbx
      pop r11
      pop r10
      pop r9
      pop r8
      pop rax
      pop rcx
      pop rdx
      pop rsi
      pop rdi
      add rsp, 16
      iretq

    // The first way into a domain: rdi is where its registers are.
    .globl entry_begin
    entry_begin:
      mov rsp, rdi
      jmp entry_resume

    .section .rodata
    .balign 8
    .globl entry_table
    entry_table:
    .altmacro
    .macro ADDRESS number
      .if \number == 1
      .quad entry_debug
      .else
      .quad entry_\number
      .endif
    .endm
    .set number, 0
    .rept 20
      ADDRESS %number
      .set number, number + 1
    .endr
    .noaltmacro
      .quad entry_240, entry_241, entry_255

    .section .bss
    .balign 8
    entry_scratch: .skip 8
    .text
    "#,
    stack = sym ENTRY_STACK,
    stack_len = const STACK,
    debug_stack = sym DEBUG_STACK,
    debug_stack_len = const DEBUG_STACK_LEN,
    system_call = const SYSTEM_CALL,
    system_call_32 = const SYSTEM_CALL_32,
    cs = const CS,
    floating_point = sym FLOATING_POINT,
    enter = sym crate::run::enter,
    interrupted = sym crate::run::interrupted,
);

unsafe extern "C" {
    fn entry_system_call();
    fn entry_system_call_32();
    fn entry_begin(registers: *const Registers) -> !;
    static entry_table: [u64; 23];
}

/// Where system calls go.
pub(crate) fn system_call() -> u64 {
    entry_system_call as *const () as u64
}

/// Where those of 32-bit code go.
pub(crate) fn system_call_32() -> u64 {
    entry_system_call_32 as *const () as u64
}

/// Where exceptions and interrupts go.
pub(crate) fn vectors() -> impl Iterator<Item = (u8, u64)> {
    // SAFETY: the table is constant.
    let table = unsafe { entry_table };
    (0..20).chain([TIMER, CONSOLE, SPURIOUS]).zip(table)
}

/// Where the registers of whoever runs are, at the top of the stack.
pub(crate) fn first_registers() -> *mut Registers {
    (ENTRY_STACK.get() as *mut u8).wrapping_add(STACK - size_of::<Registers>()).cast()
}

/// Begins: goes where those registers say.
pub(crate) fn begin() -> ! {
    // SAFETY: `crate::run` has put registers of a domain there.
    unsafe { entry_begin(first_registers()) }
}
