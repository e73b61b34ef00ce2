//! Tests of the VGA.
