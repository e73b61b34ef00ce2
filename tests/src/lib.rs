//! Whole-system suites on a real Xen, and the framework that they are written with.
#![forbid(unsafe_code)]

pub mod testbed;
