//! What makes a program an image that Xen starts: [`image!`](crate::image).
// UNSAFETY: the macro's text holds the entry symbol of images; the library itself uses none of it.

/// Makes the program that expands it a bootable image, with `$main`, a `fn()`, as what it does.
///
/// It defines the entry symbol, Xen's notes, the stack with an unmapped page below it, the hypercall page, the memory
/// functions that compiled code calls, the panic handler and the heap. `main`'s return powers the domain off. Only the
/// binary may expand it, once, and it must be linked with `miniOS/link.ld`.
#[macro_export]
macro_rules! image {
    ($main:path) => {
        ::core::arch::global_asm!(
            r#"
            .macro XEN_NOTE_TEXT kind, text
              .balign 4
              .long 4, 2f - 1f, \kind
              .asciz "Xen"
            1: .asciz "\text"
            2: .balign 4
            .endm
            .macro XEN_NOTE_NUMBER kind, number
              .balign 4
              .long 4, 8, \kind
              .asciz "Xen"
              .quad \number
            .endm
            .section .note.xen, "a", @note
            XEN_NOTE_TEXT {guest_os}, "minios"
            XEN_NOTE_TEXT {xen_version}, "xen-3.0"
            XEN_NOTE_TEXT {loader}, "generic"
            XEN_NOTE_TEXT {pae_mode}, "yes"
            XEN_NOTE_TEXT {features}, "!writable_page_tables|pae_pgdir_above_4gb"
            XEN_NOTE_NUMBER {virt_base}, __virt_base
            XEN_NOTE_NUMBER {entry}, _start
            XEN_NOTE_NUMBER {hypercall_page}, __hypercall_page
            XEN_NOTE_NUMBER {suspend_cancel}, 1

            .section .stack, "aw", @nobits
            .balign 4096
            .globl __stack_guard, __stack_bottom, __stack_top
            __stack_guard: .skip 4096
            __stack_bottom: .skip 131072
            __stack_top:

            .section .text.start, "ax", @progbits
            .globl _start
            _start:
              cld
              lea rsp, [rip + __stack_top]
              mov rdi, rsi
              xor ebp, ebp
              call {begin}
              ud2

            .section .text.memory, "ax", @progbits
            .globl memcpy, memmove, memset, memcmp, bcmp, strlen
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
              add rsi, rdx
              add rdi, rdx
              mov rcx, rdx
              and ecx, 7
              dec rsi
              dec rdi
              std
              rep movsb
              mov rcx, rdx
              shr rcx, 3
              sub rsi, 7
              sub rdi, 7
              rep movsq
              cld
              ret
            memset:
              mov r8, rdi
              movzx eax, sil
              mov rcx, 0x0101010101010101
              imul rax, rcx
              mov rcx, rdx
              shr rcx, 3
              and edx, 7
              rep stosq
              mov ecx, edx
              rep stosb
              mov rax, r8
              ret
            memcmp:
            bcmp:
              xor ecx, ecx
            3:
              lea r8, [rcx + 8]
              cmp r8, rdx
              ja 1f
              mov rax, [rdi + rcx]
              cmp rax, [rsi + rcx]
              jne 1f
              mov rcx, r8
              jmp 3b
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
            strlen:
              xor eax, eax
            1:
              cmp byte ptr [rdi + rax], 0
              je 2f
              inc rax
              jmp 1b
            2:
              ret
            "#,
            begin = sym minios_begin,
            guest_os = const $crate::xen_abi::elfnote::XEN_ELFNOTE_GUEST_OS,
            xen_version = const $crate::xen_abi::elfnote::XEN_ELFNOTE_XEN_VERSION,
            loader = const $crate::xen_abi::elfnote::XEN_ELFNOTE_LOADER,
            pae_mode = const $crate::xen_abi::elfnote::XEN_ELFNOTE_PAE_MODE,
            features = const $crate::xen_abi::elfnote::XEN_ELFNOTE_FEATURES,
            virt_base = const $crate::xen_abi::elfnote::XEN_ELFNOTE_VIRT_BASE,
            entry = const $crate::xen_abi::elfnote::XEN_ELFNOTE_ENTRY,
            hypercall_page = const $crate::xen_abi::elfnote::XEN_ELFNOTE_HYPERCALL_PAGE,
            suspend_cancel = const $crate::xen_abi::elfnote::XEN_ELFNOTE_SUSPEND_CANCEL,
        );

        /// Where the entry symbol goes with the address of Xen's start information.
        extern "C" fn minios_begin(start_info: usize) -> ! {
            unsafe extern "C" {
                static __virt_base: u8;
                static __text_start: u8;
                static __text_end: u8;
                static __hypercall_page: u8;
                static __stack_guard: u8;
                static __stack_top: u8;
            }
            let layout = $crate::boot::ImageLayout {
                virt_base: (&raw const __virt_base).addr(),
                text: (&raw const __text_start).addr()..(&raw const __text_end).addr(),
                hypercall_page: (&raw const __hypercall_page).addr(),
                stack_guard: (&raw const __stack_guard).addr(),
                stack_top: (&raw const __stack_top).addr(),
            };
            // SAFETY: this runs once, first of all, on the address that Xen passed, with the symbols of this image.
            unsafe { $crate::boot::start(start_info, layout, $main) }
        }

        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::panic::panicked(info)
        }

        #[global_allocator]
        static HEAP: $crate::heap::Heap = $crate::heap::Heap;

        /// Named by `core`, which is built for unwinding; nothing is ever unwound.
        // SAFETY: the name is the ABI's, and nothing else defines it.
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}

        /// Named by `alloc`, which is built for unwinding; nothing is ever unwound.
        // SAFETY: as above.
        #[unsafe(no_mangle)]
        extern "C" fn _Unwind_Resume() -> ! {
            ::core::panic!("there is nothing to unwind")
        }
    };
}
