//! Descriptors of segments that a domain has in a table of its own.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 2, section 4.7; which of them a domain may have is Xen's
//! `check_descriptor`.
//! Not modelled: call gates.

/// Pages of a domain's table; what follows is the hypervisor's (`FIRST_RESERVED_GDT_PAGE`).
pub const PAGES_MAX: usize = 14;
/// Descriptors of it.
pub const ENTRIES_MAX: u64 = PAGES_MAX as u64 * 512;

/// The first of the hypervisor's selectors for domains, which need no table of their own: 32-bit code, data, 64-bit code
/// (`FLAT_RING3_CS32` and so on of `public/arch-x86/xen-x86_64.h`).
pub const FIRST_FLAT: u16 = xen_abi::mmu::FLAT_USER_CS32;
/// Their descriptors.
pub const FLAT: [u64; 3] = [0x00cf_fb00_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff];

/// It is there; its privilege level; it is code or data; it was used.
const PRESENT: u64 = 1 << 47;
const PRIVILEGE: u64 = 3 << 45;
const CODE_OR_DATA: u64 = 1 << 44;
const ACCESSED: u64 = 1 << 40;
/// Data that may be written, or code that may be read; code.
const WRITABLE_OR_READABLE: u64 = 1 << 41;
const CODE: u64 = 1 << 43;
/// Code of 64 bits, and of 32; the limit is in pages.
const LONG: u64 = 1 << 53;
const BIG: u64 = 1 << 54;
const IN_PAGES: u64 = 1 << 55;

/// Whether it is there.
#[must_use]
pub const fn is_present(descriptor: u64) -> bool {
    descriptor & PRESENT != 0
}

/// Whether it is code, not both of 64 and of 32 bits.
#[must_use]
pub const fn is_code(descriptor: u64) -> bool {
    descriptor & (CODE_OR_DATA | CODE) == CODE_OR_DATA | CODE && descriptor & (LONG | BIG) != LONG | BIG
}

/// Whether it is code of 64 bits.
#[must_use]
pub const fn is_long(descriptor: u64) -> bool {
    is_code(descriptor) && descriptor & LONG != 0
}

/// Whether it is data that may be written, as a stack is.
#[must_use]
pub const fn is_writable(descriptor: u64) -> bool {
    descriptor & (CODE_OR_DATA | CODE | WRITABLE_OR_READABLE) == CODE_OR_DATA | WRITABLE_OR_READABLE
}

/// Whether it may be read.
#[must_use]
pub const fn is_readable(descriptor: u64) -> bool {
    descriptor & CODE_OR_DATA != 0 && descriptor & (CODE | WRITABLE_OR_READABLE) != CODE
}

/// Where it begins.
#[must_use]
pub const fn base(descriptor: u64) -> u64 {
    descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000
}

/// The last byte of it.
#[must_use]
pub const fn limit(descriptor: u64) -> u64 {
    let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
    if descriptor & IN_PAGES == 0 { limit } else { limit << 12 | 0xfff }
}

/// A descriptor as the processor may have it: of ring 3, and used already, so that the processor does not write to it. `None`:
/// a domain may not have it.
#[must_use]
pub const fn sanitized(descriptor: u64) -> Option<u64> {
    if descriptor & PRESENT == 0 {
        // Loading it faults, whatever it is.
        Some(descriptor)
    } else if descriptor & CODE_OR_DATA == 0 {
        None
    } else {
        Some(descriptor | PRIVILEGE | ACCESSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_say_what_they_are() {
        let [code32, data, code64] = FLAT;
        let kinds = |descriptor| [is_code, is_long, is_writable, is_readable].map(|is| is(descriptor));
        assert_eq!(kinds(code32), [true, false, false, true]);
        assert_eq!(kinds(data), [false, false, true, true]);
        assert_eq!(kinds(code64), [true, true, false, true]);
        assert_eq!(kinds(0x00ef_fb00_0000_ffff), [false, false, false, true], "of 64 and of 32 bits");
        assert_eq!(kinds(0x00cf_f900_0000_ffff), [true, false, false, false], "code that is only executed");
        assert_eq!(kinds(0x0000_8900_0000_0067), [false; 4], "a task");
        assert_eq!([code32, 0x0001_fb00_0000_1234].map(limit), [0xffff_ffff, 0x1_1234]);
        assert_eq!([data, 0x12cf_f334_5678_ffff].map(base), [0, 0x1234_5678]);
        assert!(is_present(data) && !is_present(0x00cf_7300_0000_ffff));
        assert!(FLAT.iter().all(|flat| sanitized(*flat) == Some(*flat)));
    }

    #[test]
    fn segments_are_of_ring_3_and_gates_are_refused() {
        assert_eq!(sanitized(0), Some(0));
        assert_eq!(sanitized(0x00af_9a00_0000_ffff), Some(0x00af_fb00_0000_ffff));
        assert_eq!(sanitized(0x0000_8900_0000_0067), None, "a task");
        assert_eq!(sanitized(0x0000_ec00_0008_0000), None, "a call gate");
        assert_eq!(sanitized(0x0000_0900_0000_0067), Some(0x0000_0900_0000_0067));
    }
}
