//! What compiled code calls by name.
// UNSAFETY: memory functions, and names that the compiler knows.
#![expect(unsafe_code)]

use crate::run;
use crate::serial::say;
use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(
    r#"
    .text
    .globl memcpy, memmove, memset, memcmp, bcmp
    memmove:
      mov rax, rdi
      sub rax, rsi
      cmp rax, rdx
      jb 1f
    memcpy:
      mov rax, rdi
      mov rcx, rdx
      shr rcx, 3
      and edx, 7
      rep movsq
      mov ecx, edx
      rep movsb
      ret
    1:
      mov rax, rdi
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
    1:
      cmp rcx, rdx
      je 2f
      movzx eax, byte ptr [rdi + rcx]
      movzx r8d, byte ptr [rsi + rcx]
      inc rcx
      sub eax, r8d
      je 1b
      ret
    2:
      xor eax, eax
      ret
    "#
);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("{info}");
    run::reset()
}

/// Named by `core`, which is built for unwinding; nothing is ever unwound.
// SAFETY: the name is the ABI's, and nothing else defines it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Named by `alloc`, which is built for unwinding; nothing is ever unwound.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    run::reset()
}
