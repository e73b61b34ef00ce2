//! What ATA drives understand and say, whatever the controller they are behind.
//!
//! | module | what lives there |
//! |---|---|
//! | `command` | the commands of ATA, by their opcodes |
//! | `geometry` | cylinders, heads and sectors |
//! | `identify` | what drives say about themselves |
//! | `packet` | the packet commands of CD drives |
//! | `operation` | what the host is doing for a drive |
//! | `trim` | ranges to discard |

pub(crate) mod command;
pub(crate) mod geometry;
pub(crate) mod identify;
pub(crate) mod operation;
pub(crate) mod packet;
pub(crate) mod trim;
