//! Descriptors of segments that a domain has in a table of its own.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 2, section 4.7; which of them a domain may have is Xen's
//! `check_descriptor`.
//! Not modelled: call gates, local tables.

/// Pages of a domain's table; what follows is the hypervisor's (`FIRST_RESERVED_GDT_PAGE`).
pub const PAGES_MAX: usize = 14;
/// Descriptors of it.
pub const ENTRIES_MAX: u64 = PAGES_MAX as u64 * 512;

/// It is there; its privilege level; it is code or data; it was used.
const PRESENT: u64 = 1 << 47;
const PRIVILEGE: u64 = 3 << 45;
const CODE_OR_DATA: u64 = 1 << 44;
const ACCESSED: u64 = 1 << 40;

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
    fn segments_are_of_ring_3_and_gates_are_refused() {
        assert_eq!(sanitized(0), Some(0));
        assert_eq!(sanitized(0x00af_9a00_0000_ffff), Some(0x00af_fb00_0000_ffff));
        assert_eq!(sanitized(0x0000_8900_0000_0067), None, "a task");
        assert_eq!(sanitized(0x0000_ec00_0008_0000), None, "a call gate");
        assert_eq!(sanitized(0x0000_0900_0000_0067), Some(0x0000_0900_0000_0067));
    }
}
