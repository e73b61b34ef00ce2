//! `public/io/xenbus.h`: states of the two ends of a device, as decimal numbers in xenstore.

pub const XENBUS_STATE_UNKNOWN: u32 = 0;
pub const XENBUS_STATE_INITIALISING: u32 = 1;
pub const XENBUS_STATE_INIT_WAIT: u32 = 2;
pub const XENBUS_STATE_INITIALISED: u32 = 3;
pub const XENBUS_STATE_CONNECTED: u32 = 4;
pub const XENBUS_STATE_CLOSING: u32 = 5;
pub const XENBUS_STATE_CLOSED: u32 = 6;
pub const XENBUS_STATE_RECONFIGURING: u32 = 7;
pub const XENBUS_STATE_RECONFIGURED: u32 = 8;
