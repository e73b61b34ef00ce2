//! The ways out.

// UNSAFETY: Xen's hypercall page.
#![expect(unsafe_code)]

use crate::{cpu, line, memory, port, time};
use core::sync::atomic::{AtomicBool, Ordering};
use guests::acpi;

/// How a guest can reset its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The reset control register of the chip set, port 0xcf9.
    ControlRegister,
    /// The pulse on the keyboard controller's output port, command 0xfe.
    KeyboardController,
    /// Shutdown of the processor after a triple fault.
    TripleFault,
}

/// Switches off by ACPI: PM1a_CNT gets SLP_TYP of `\_S5` and SLP_EN.
pub(crate) fn off() -> ! {
    static TRIED: AtomicBool = AtomicBool::new(false);
    // A fault on the way leads here again.
    if TRIED.swap(true, Ordering::Relaxed) {
        cpu::stop();
    }
    let Some(found) = acpi::find_power_off(&memory::read8) else {
        line!("FAIL power-off: no usable ACPI tables");
        cpu::stop();
    };
    if let Some((command, value)) = found.enable
        && port::in16(found.control) & 1 == 0
    {
        port::out8(command, value);
        let deadline = time::Deadline::milliseconds(3000);
        while port::in16(found.control) & 1 == 0 && !deadline.passed() {}
    }
    port::out16(found.control, 1 << 13 | u16::from(found.sleep_type) << 10);
    time::delay_milliseconds(3000);
    line!("FAIL power-off: still on");
    cpu::stop()
}

/// Resets the machine.
pub(crate) fn reset(how: Reset) -> ! {
    cpu::disable_interrupts();
    match how {
        Reset::ControlRegister => {
            // SYS_RST, then RST_CPU.
            port::out8(0xcf9, 0x02);
            port::out8(0xcf9, 0x06);
        }
        Reset::KeyboardController => {
            let deadline = time::Deadline::milliseconds(1000);
            while port::in8(0x64) & 2 != 0 && !deadline.passed() {}
            port::out8(0x64, 0xfe);
        }
        Reset::TripleFault => cpu::triple_fault(),
    }
    time::delay_milliseconds(3000);
    line!("FAIL reset: {how:?} has no effect");
    cpu::stop()
}

/// The page that Xen fills with its hypercalls, 32 bytes of code for each.
#[repr(align(4096))]
struct HypercallPage {
    _code: [u8; 4096],
}
static mut HYPERCALL_PAGE: HypercallPage = HypercallPage { _code: [0; 4096] };

/// Tells Xen that the guest has crashed: SCHEDOP_shutdown with SHUTDOWN_crash. `None`: there is no Xen.
pub(crate) fn crash_by_xen() -> Option<core::convert::Infallible> {
    const SCHED_OP: usize = 29;
    const SHUTDOWN: u64 = 2;
    const REASON_CRASH: u32 = 3;
    let register = cpu::cpuid(time::xen_leaves()? + 2, 0).ebx;
    let page = &raw mut HYPERCALL_PAGE;
    // SAFETY: public/arch-x86/cpuid.h, leaf 3: the write makes Xen fill this page, which is for nothing else.
    unsafe { cpu::write_msr(register, page.addr() as u64) };
    let entry = page.addr() + 32 * SCHED_OP;
    let reason = REASON_CRASH;
    // SAFETY: public/sched.h: the argument is the reason. The call does not come back.
    unsafe {
        core::arch::asm!("call {}", in(reg) entry, in("rdi") SHUTDOWN, in("rsi") &raw const reason, out("rax") _, out("rcx") _, out("r11") _);
    }
    None
}
