//! What a test guest and the suite that runs it agree on, and the parts of the guest that are pure.
//!
//! | module | what lives there |
//! |---|---|
//! | [`layout`] | where things are on a guest's disk and in its memory |
//! | [`command_line`] | the words that choose what a guest does |
//! | [`pattern`] | contents of disks and of screens, computed alike on both sides |
//! | [`random`] | repeatable random numbers |
//! | [`acpi`] | finding the way to switch off in the firmware's tables |
//! | [`identify`] | the answer to IDENTIFY DEVICE |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod command_line;
pub mod identify;
pub mod layout;
pub mod pattern;
pub mod random;
