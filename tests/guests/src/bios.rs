//! Calls of the BIOS, in real mode.

// UNSAFETY: the registers are shared with the code in real mode.
#![expect(unsafe_code)]

pub(crate) use crate::boot::BiosRegisters;
use crate::{boot, cpu, interrupts, memory};

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

/// A vector that is free for users.
const USER_VECTOR: u8 = 0x60;

/// Reads a byte at the start of a segment `count` times in real mode, and gives the ticks of the time stamp counter.
pub(crate) fn time_reads(segment: u16, count: u16) -> u32 {
    let code = (&raw const boot::real_mode_reads).addr();
    // Segment and offset of an entry of real mode's table; the code's segment is 0.
    memory::write32(u64::from(USER_VECTOR) * 4, u32::try_from(code).unwrap_or(0));
    call(USER_VECTOR, BiosRegisters { ecx: count.into(), ds: segment, ..BiosRegisters::default() }).eax
}
