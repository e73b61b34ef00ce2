//! Whole-system suites on a real Xen, and the framework that they are written with.
#![forbid(unsafe_code)]

pub mod clients;
pub mod domain;
pub mod guest_image;
pub mod guest_screen;
pub mod novnc_page;
pub mod runner;
pub mod suite;
pub mod suites;
pub mod testbed;
pub mod vnc;
