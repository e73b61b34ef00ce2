//! The transmitter: what is on the ring, and what is sent.
