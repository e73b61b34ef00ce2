//! The controller through its registers; numbers are those of the manual.
