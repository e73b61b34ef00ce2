//! Calls of the BIOS, in real mode.

// UNSAFETY: the registers are shared with the code in real mode.
#![expect(unsafe_code)]

pub(crate) use crate::boot::BiosRegisters;
use crate::{boot, cpu, interrupts};

/// Calls a function of the BIOS and gives the registers after it.
///
/// The BIOS writes where the registers tell it to: callers name memory for transfers, or none.
pub(crate) fn call(vector: u8, registers: BiosRegisters) -> BiosRegisters {
    let mut result = registers;
    cpu::disable_interrupts();
    interrupts::with_bios_vectors(|| {
        let shared = &raw mut boot::bios_registers;
        // SAFETY: interrupts are off and only the first vCPU calls the BIOS: nobody else has the registers.
        unsafe { shared.write_volatile(registers) };
        // SAFETY: long mode, interrupts off, the PICs as the BIOS set them up.
        unsafe { boot::bios_call(vector) };
        // SAFETY: as before.
        result = unsafe { shared.read_volatile() };
    });
    cpu::enable_interrupts();
    result
}

/// Sets a video mode: INT 10h function 00h.
pub(crate) fn set_video_mode(mode: u8) {
    call(0x10, BiosRegisters { eax: u32::from(mode), ..BiosRegisters::default() });
}
