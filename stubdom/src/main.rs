//! The device model of a Xen HVM guest, as a domain of its own.
//!
//! [`ioemu::start`] follows the toolstack's contract (protocol.md) up to `running`; [`ioemu::run`] is the loop after it.
#![no_std]
#![no_main]

extern crate alloc;

mod ioemu;

minios::image!(ioemu::main);
