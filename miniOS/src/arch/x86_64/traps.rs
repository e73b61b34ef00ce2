//! Faults: there is nothing to resume, so each one ends the domain with a report.
//!
//! Xen pushes a frame onto the current stack, with or without an error code, and jumps to the vector's entry. The entry
//! brings both kinds into one form, moves to a stack of its own and calls [`fault`].
//!
//! A stack overflow runs into the unmapped page below the stack. Then Xen cannot push the frame either, since a PV
//! kernel has one stack and no way to name another for faults: it crashes the domain at once and says so in its own log
//! ("domain_crash_sync called from entry.S: fault at ... create_bounce_frame"). So the domain ends at the right place,
//! but without a line on its console.
// UNSAFETY: entry points that Xen jumps to.
#![expect(unsafe_code)]

use core::arch::naked_asm;
use xen_abi::mmu::FLAT_KERNEL_CS;
use xen_abi::trap::TrapInfo;

/// Bytes of the stack that faults are reported on.
const FAULT_STACK_LEN: usize = 16384;

#[repr(C, align(16))]
struct FaultStack(core::cell::UnsafeCell<[u8; FAULT_STACK_LEN]>);

// SAFETY: only the one vCPU ever uses it, through its stack pointer.
unsafe impl Sync for FaultStack {}

static FAULT_STACK: FaultStack = FaultStack(core::cell::UnsafeCell::new([0; FAULT_STACK_LEN]));

/// What an entry leaves on the interrupted stack.
#[repr(C)]
struct FaultFrame {
    vector: u64,
    error_code: u64,
    rip: u64,
    /// The upper half holds the upcall mask of before.
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Reports a fault and ends the domain.
extern "C" fn fault(frame: *const FaultFrame, frame_pointer: usize) -> ! {
    // SAFETY: the entry passes the address of the frame that Xen and it have just written.
    let frame = unsafe { frame.read() };
    let fault = crate::panic::Fault {
        vector: frame.vector,
        error_code: frame.error_code,
        rip: frame.rip,
        rsp: frame.rsp,
        rflags: frame.rflags,
        frame_pointer,
    };
    crate::panic::faulted(&fault)
}

macro_rules! entries {
    ($($name:ident = $vector:literal, $error:literal;)*) => {
        $(
            #[unsafe(naked)]
            unsafe extern "C" fn $name() {
                naked_asm!(
                    // Xen saved rcx and r11, which SYSRET would clobber; a fault never returns.
                    "pop rcx",
                    "pop r11",
                    $error,
                    concat!("push ", $vector),
                    "jmp {common}",
                    common = sym common,
                )
            }
        )*

        /// The table of faults, ended by an entry of zeros.
        pub(crate) fn trap_table() -> [TrapInfo; ENTRIES + 1] {
            let mut table = [TrapInfo::default(); ENTRIES + 1];
            let entries = [$(($vector, $name as *const () as usize)),*];
            for (slot, (vector, address)) in table.iter_mut().zip(entries) {
                *slot = TrapInfo { vector, flags: 4, cs: FLAT_KERNEL_CS, padding: 0, address: address as u64 };
            }
            table
        }

        const ENTRIES: usize = [$($vector),*].len();
    };
}

entries! {
    divide_error = 0, "push 0";
    debug = 1, "push 0";
    breakpoint = 3, "push 0";
    overflow = 4, "push 0";
    bound_range = 5, "push 0";
    invalid_opcode = 6, "push 0";
    device_not_available = 7, "push 0";
    invalid_tss = 10, "";
    segment_not_present = 11, "";
    stack_fault = 12, "";
    general_protection = 13, "";
    page_fault = 14, "";
    x87_fault = 16, "push 0";
    alignment_check = 17, "";
    machine_check = 18, "push 0";
    simd_fault = 19, "push 0";
}

/// Moves to the stack for faults and reports.
#[unsafe(naked)]
unsafe extern "C" fn common() {
    naked_asm!(
        "cld",
        "mov rdi, rsp",
        "mov rsi, rbp",
        "lea rsp, [rip + {stack} + {len}]",
        "xor ebp, ebp",
        "call {fault}",
        "ud2",
        stack = sym FAULT_STACK,
        len = const FAULT_STACK_LEN,
        fault = sym fault,
    )
}
