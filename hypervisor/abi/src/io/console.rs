//! `public/io/console.h`: `struct xencons_interface`, two byte rings in a page.

/// Offset and length of the ring towards the domain.
pub const IN_OFFSET: usize = 0;
pub const IN_LEN: usize = 1024;
/// Offset and length of the ring towards the console daemon.
pub const OUT_OFFSET: usize = 1024;
pub const OUT_LEN: usize = 2048;
pub const IN_CONS_OFFSET: usize = 3072;
pub const IN_PROD_OFFSET: usize = 3076;
pub const OUT_CONS_OFFSET: usize = 3080;
pub const OUT_PROD_OFFSET: usize = 3084;
