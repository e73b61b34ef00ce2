//! `public/io/libxenvchan.h`: `struct vchan_interface`, the first page of a vchan.
//!
//! "left" is what the client writes and the server reads, "right" the other way round.

pub const LEFT_CONS_OFFSET: usize = 0;
pub const LEFT_PROD_OFFSET: usize = 4;
pub const RIGHT_CONS_OFFSET: usize = 8;
pub const RIGHT_PROD_OFFSET: usize = 12;
/// Binary logarithm of a ring's bytes, 16 bits. It tells where the ring is, too.
pub const LEFT_ORDER_OFFSET: usize = 16;
pub const RIGHT_ORDER_OFFSET: usize = 18;
/// One byte each: 0, 1, and for the client 2.
pub const CLI_LIVE_OFFSET: usize = 20;
pub const SRV_LIVE_OFFSET: usize = 21;
/// One byte each: when the client must notify the server, and the server the client.
pub const CLI_NOTIFY_OFFSET: usize = 22;
pub const SRV_NOTIFY_OFFSET: usize = 23;
/// Grants of the pages of rings that do not fit into this page.
pub const GRANTS_OFFSET: usize = 24;

/// It has left.
pub const LIVE_EXITED: u8 = 0;
/// It is connected.
pub const LIVE_CONNECTED: u8 = 1;
/// It has not connected yet; only of a client.
pub const LIVE_NOT_YET: u8 = 2;

/// Notify when data is written.
pub const VCHAN_NOTIFY_WRITE: u8 = 1;
/// Notify when data is read.
pub const VCHAN_NOTIFY_READ: u8 = 2;

/// A ring of this order is in the interface's page. Not both rings can have it.
pub const SMALL_RING_ORDER: u16 = 10;
pub const SMALL_RING_LEN: usize = 1 << SMALL_RING_ORDER;
pub const SMALL_RING_OFFSET: usize = 1024;
/// A ring of this order is in the interface's page. Not both rings can have it.
pub const LARGE_RING_ORDER: u16 = 11;
pub const LARGE_RING_LEN: usize = 1 << LARGE_RING_ORDER;
pub const LARGE_RING_OFFSET: usize = 2048;
