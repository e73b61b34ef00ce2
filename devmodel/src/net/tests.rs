//! Frames as they are on a wire.
