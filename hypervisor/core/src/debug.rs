//! Debug registers of a vCPU.
//!
//! The processor has what [`DebugRegisters::machine`] gives while the vCPU runs: its addresses, none of which is the
//! hypervisor's, and those breakpoints that the processor itself finds. Breakpoints at ports are found where ports are emulated.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 2, section 13.1; which values a domain may have is Xen's
//! `set_debugreg` and `do_debug`.

use crate::errno::Errno;
use crate::walk::is_domains;

/// Breakpoints.
const COUNT: usize = 4;
/// DR6: bits that are always one, and those that it can have. `BS`: an instruction was stepped over.
const STATUS_ONES: u64 = 0xffff_0ff0;
const STATUS_BITS: u64 = 0xffff_efff;
/// An instruction was stepped over (`BS`).
pub const SINGLE_STEP: u64 = 1 << 14;
/// DR7: the bit that is always one, those that it can have, and `GD`, by which the hypervisor would be asked first.
const CONTROL_ONE: u64 = 1 << 10;
const CONTROL_BITS: u64 = 0xffff_27ff;
const GENERAL_DETECT: u64 = 1 << 13;
/// The local and the global enable bits of all breakpoints; those of one of them.
const ENABLED: u64 = 0xff;
const OF_ONE: u64 = 3;
/// What a breakpoint is for: accesses to ports.
const AT_PORTS: u64 = 2;

/// DR0 to DR3, DR6 and DR7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugRegisters {
    addresses: [u64; COUNT],
    status: u64,
    /// Without the enable bits of breakpoints at ports.
    control: u64,
    /// These bits.
    at_ports: u64,
}

impl Default for DebugRegisters {
    fn default() -> Self {
        Self { addresses: [0; COUNT], status: STATUS_ONES, control: CONTROL_ONE, at_ports: 0 }
    }
}

impl DebugRegisters {
    /// What a register reads as. With `extensions`, which is CR4.DE, 4 and 5 are none; otherwise they are 6 and 7.
    ///
    /// `ENODEV`: there is no such register.
    pub fn get(&self, number: u64, extensions: bool) -> Result<u64, Errno> {
        match number {
            0..=3 => {
                usize::try_from(number).ok().and_then(|number| self.addresses.get(number)).copied().ok_or(Errno::ENODEV)
            }
            4 | 5 if extensions => Err(Errno::ENODEV),
            4 | 6 => Ok(self.status),
            5 | 7 => Ok(self.control | self.at_ports),
            _ => Err(Errno::ENODEV),
        }
    }

    /// Sets a register.
    ///
    /// `ENODEV`: there is none. `EINVAL`: it cannot have this value. `EPERM`: it could, but not a domain's.
    pub fn set(&mut self, number: u64, value: u64, extensions: bool) -> Result<(), Errno> {
        match number {
            0..=3 => {
                if !is_domains(value) {
                    return Err(Errno::EPERM);
                }
                let number = usize::try_from(number).map_err(|_| Errno::ENODEV)?;
                *self.addresses.get_mut(number).ok_or(Errno::ENODEV)? = value;
                Ok(())
            }
            4 | 5 if extensions => Err(Errno::ENODEV),
            4 | 6 => {
                self.status = lower_half(value)? & STATUS_BITS | STATUS_ONES;
                Ok(())
            }
            5 | 7 => self.set_control(lower_half(value)? & CONTROL_BITS | CONTROL_ONE, extensions),
            _ => Err(Errno::ENODEV),
        }
    }

    fn set_control(&mut self, value: u64, extensions: bool) -> Result<(), Errno> {
        if value & GENERAL_DETECT != 0 {
            return Err(Errno::EPERM);
        }
        let mut at_ports = 0;
        if value & ENABLED != 0 {
            for number in (0..COUNT).filter(|number| kind(value, *number) == AT_PORTS) {
                if !extensions {
                    return Err(Errno::EPERM);
                }
                at_ports |= value & enable_bits(number);
            }
        }
        (self.control, self.at_ports) = (value & !at_ports, at_ports);
        Ok(())
    }

    /// What the processor is to have: DR0 to DR3, and DR7.
    #[must_use]
    pub const fn machine(&self) -> ([u64; COUNT], u64) {
        (self.addresses, self.control)
    }

    /// The processor has raised a debug exception, with this in DR6, which was cleared before.
    pub const fn happened(&mut self, status: u64) {
        self.status |= status & STATUS_BITS & !STATUS_ONES;
        // Bits that are one unless something has happened.
        self.status &= status | !STATUS_ONES;
    }

    /// The hypervisor has done for the vCPU what would have raised one, with these bits.
    pub const fn emulated(&mut self, bits: u64) {
        self.status |= bits & STATUS_BITS;
    }

    /// The breakpoints, as bits, that an access to so many bytes of ports hits.
    #[must_use]
    pub fn hit_by_port(&self, port: u16, width: u64) -> u64 {
        let (start, end) = (u64::from(port), u64::from(port).saturating_add(width));
        let mut hit = 0;
        for (number, address) in self.addresses.iter().enumerate() {
            let length = length(self.control, number);
            let first = address & !length.saturating_sub(1);
            if self.at_ports & enable_bits(number) != 0 && first < end && first.saturating_add(length) > start {
                hit |= 1_u64.wrapping_shl(u32::try_from(number).unwrap_or(0));
            }
        }
        hit
    }
}

/// The upper half has to be zero.
fn lower_half(value: u64) -> Result<u64, Errno> {
    if value >> 32 == 0 { Ok(value) } else { Err(Errno::EINVAL) }
}

fn shifted(value: u64, by: usize) -> u64 {
    value.wrapping_shr(u32::try_from(by).unwrap_or(0))
}

fn enable_bits(number: usize) -> u64 {
    OF_ONE.wrapping_shl(u32::try_from(number.saturating_mul(2)).unwrap_or(0))
}

/// What a breakpoint is for.
fn kind(control: u64, number: usize) -> u64 {
    shifted(control, number.saturating_mul(4).saturating_add(16)) & 3
}

/// How many bytes it is for.
fn length(control: u64, number: usize) -> u64 {
    match shifted(control, number.saturating_mul(4).saturating_add(18)) & 3 {
        0 => 1,
        1 => 2,
        2 => 8,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_that_a_processor_can_have() {
        let mut registers = DebugRegisters::default();
        assert_eq!([6, 7].map(|number| registers.get(number, false)), [Ok(0xffff_0ff0), Ok(0x400)]);
        registers.set(6, 0, false).unwrap();
        assert_eq!(registers.get(4, false), Ok(0xffff_0ff0));
        registers.set(6, 0xffff_ffff, false).unwrap();
        assert_eq!(registers.get(6, true), Ok(0xffff_efff));
        registers.set(7, 0xffff_d855, true).unwrap();
        assert_eq!(registers.get(5, false), Ok(0xffff_0455), "bits 11, 12, 14 and 15 are zero");
        for number in [6, 7] {
            assert_eq!(registers.set(number, 1 << 32, false), Err(Errno::EINVAL));
        }
        assert_eq!(registers.set(7, 1 << 13, true), Err(Errno::EPERM), "general detect");
        for number in [4, 5, 8, u64::MAX] {
            assert_eq!(registers.set(number, 0, true), Err(Errno::ENODEV));
            assert_eq!(registers.get(number, true), Err(Errno::ENODEV));
        }
    }

    #[test]
    fn no_breakpoint_is_the_hypervisors() {
        let mut registers = DebugRegisters::default();
        for address in [0, 0x7fff_ffff_ffff, 0xffff_8800_0000_0000, u64::MAX] {
            assert_eq!(registers.set(3, address, false), Ok(()), "{address:#x}");
        }
        for address in
            [1 << 47, 0xffff_7fff_ffff_ffff, 0xffff_8000_0000_0000, 0xffff_82d0_4000_0000, 0xffff_87ff_ffff_ffff]
        {
            assert_eq!(registers.set(3, address, false), Err(Errno::EPERM), "{address:#x}");
            assert_eq!(registers.get(3, false), Ok(u64::MAX));
        }
    }

    #[test]
    fn breakpoints_at_ports_are_not_the_processors() {
        let mut registers = DebugRegisters::default();
        // DR0: two bytes of ports from 0x81 on, that is, from 0x80; DR1: what is written.
        let control = 0x0016_0000 | 1 << 1 | 1 << 2;
        assert_eq!(registers.set(7, control, false), Err(Errno::EPERM), "not without CR4.DE");
        assert_eq!(registers.get(7, false), Ok(0x400), "and nothing has changed");
        registers.set(7, control, true).unwrap();
        registers.set(0, 0x81, true).unwrap();
        assert_eq!(registers.get(7, true), Ok(control | 0x400));
        assert_eq!(registers.machine().1, 0x0016_0404);
        let hit = [(0x80, 1), (0x81, 1), (0x7d, 4), (0x7f, 1), (0x7e, 2), (0x82, 4), (0xffff, 4)];
        assert_eq!(hit.map(|(port, width)| registers.hit_by_port(port, width)), [1, 1, 1, 0, 0, 0, 0]);
        registers.set(7, 0x0016_0000, true).unwrap();
        assert_eq!((registers.get(7, true), registers.hit_by_port(0x80, 1)), (Ok(0x0016_0400), 0));
    }

    #[test]
    fn what_has_happened_stays_until_it_is_cleared() {
        let mut registers = DebugRegisters::default();
        registers.happened(0xffff_0ff1);
        registers.happened(0xfffe_4ff0);
        assert_eq!(registers.get(6, false), Ok(0xfffe_4ff1));
        registers.emulated(SINGLE_STEP | 8);
        assert_eq!(registers.get(6, false), Ok(0xfffe_4ff9));
    }
}
