//! Tests through the bytes that clients see.

mod client;
mod domains;
mod hostile;
mod model;
mod permissions;
mod quotas;
mod random;
mod ring;
mod transactions;
mod tree;
mod watches;
