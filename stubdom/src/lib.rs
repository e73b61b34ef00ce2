//! The parts of the images that are pure. They are tested on the host; the programs are the rest.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
pub mod keymap;
pub mod keys;
pub mod picture;
pub mod qmp;
pub mod vnc;
pub mod xl;
