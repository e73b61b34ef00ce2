//! Intel 82371SB (PIIX3): the south bridge at 00:01, with its ISA bridge and its IDE controller.
//!
//! Interrupt controllers, timers and the real-time clock of the chip are the hypervisor's.

pub mod ide;
pub mod isa;
