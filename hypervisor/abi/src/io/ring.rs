//! `public/io/ring.h`: the header of a shared ring.

/// Offsets of the indices in the first page of a ring.
pub const REQ_PROD_OFFSET: usize = 0;
/// Request index at which the back end wants to be notified.
pub const REQ_EVENT_OFFSET: usize = 4;
pub const RSP_PROD_OFFSET: usize = 8;
/// Response index at which the front end wants to be notified.
pub const RSP_EVENT_OFFSET: usize = 12;
/// Offset of the first slot.
pub const RING_OFFSET: usize = 64;

/// Slots of a ring of `bytes` bytes: the largest power of two that fits.
#[must_use]
pub const fn ring_size(bytes: usize, slot_len: usize) -> u32 {
    let fitting = (bytes - RING_OFFSET) / slot_len;
    1 << fitting.ilog2()
}
