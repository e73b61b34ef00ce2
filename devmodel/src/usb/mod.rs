//! USB: the UHCI controller of the PIIX3, what people hold in their hands, and disks.
//!
//! The controller reads a schedule of transfer descriptors out of guest memory, a list for each frame of a millisecond, and
//! asks the device that a descriptor is for. Devices answer at once, if only that they have nothing to say yet, so a transfer
//! never is under way.
//!
//! | module | what lives there |
//! |---|---|
//! | `uhci` | the controller's registers, and when a frame is walked |
//! | `schedule` | one frame: queue heads, transfer descriptors, what is written back |
//! | `device` | the control endpoint that all devices have |
//! | `hid` | tablet, mouse and keyboard: descriptors, reports, queues of events |
//! | `hub` | the hub that is there for more than two devices |
//! | `storage` | a disk: the Bulk-Only Transport, and the SCSI commands in it |
//! | `keys` | from key codes of Linux to those of USB |
//!
//! Source: Universal Host Controller Interface Design Guide 1.1; USB 1.1, chapters 8 and 9; Device Class Definition for HID
//! 1.11, and its Usage Tables 1.12; what disks go by is in their module.
//! Not modelled: isochronous transfers, remote wake-up, legacy keyboard emulation, low speed, the idle rate (reports
//! are made of changes only), and data toggles, which a device here never has reason to doubt.
//! Invariant: a walk looks at no more than 256 entries, wherever they point.

mod device;
mod hid;
mod hub;
mod keys;
mod schedule;
mod storage;
#[cfg(test)]
mod tests;
mod uhci;

pub use device::{Attachment, Nothing};
pub use hid::Kind as UsbDevice;
pub use storage::Storage;
pub use uhci::{DEVICES, PORTS, Uhci};
