//! The parts of the device model's image that are pure. They are tested on the host; `main.rs` is the rest.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
pub mod keys;
pub mod qmp;
pub mod vnc;
