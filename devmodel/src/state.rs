//! The saved state of a machine: what its devices consist of, as bytes, to be taken over by another machine of the same
//! configuration.
//!
//! A device derives `Serialize` and `Deserialize`. What belongs to its configuration, or is drawn or computed anew, is
//! skipped, and kept when the device adopts (`Adopt`) what was saved: so nobody gets a disk, a network or a size that the
//! configuration does not give, whatever a saved state says.
//!
//! Not modelled: states of other versions. A state that this version has not written is refused.

use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a saved state cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// These bytes are no saved state, or one of another version.
    Format,
    /// It is the state of a machine that has other devices.
    OtherMachine,
}

impl core::fmt::Display for StateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Format => "this is not a saved state of this version",
            Self::OtherMachine => "the saved state is that of a machine with other devices",
        })
    }
}

/// Takes over what was saved, and keeps what is configured.
pub(crate) trait Adopt: Sized {
    /// Becomes what was saved.
    fn adopt(&mut self, saved: Self) -> Result<(), StateError>;
}

/// Both are there, or neither.
impl<T: Adopt> Adopt for Option<T> {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        match (self, saved) {
            (Some(device), Some(saved)) => device.adopt(saved),
            (None, None) => Ok(()),
            _ => Err(StateError::OtherMachine),
        }
    }
}

impl<T: Adopt> Adopt for Box<T> {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        (**self).adopt(*saved)
    }
}

impl<T: Adopt, const N: usize> Adopt for [T; N] {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.iter_mut().zip(saved).try_for_each(|(device, saved)| device.adopt(saved))
    }
}

/// The bytes that something becomes.
pub(crate) fn to_bytes(device: &impl Serialize) -> Vec<u8> {
    // Into a vector of bytes, everything fits.
    postcard::to_allocvec(device).unwrap_or_default()
}

/// What these bytes were, all of them.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    match postcard::take_from_bytes(bytes) {
        Ok((device, [])) => Ok(device),
        _ => Err(StateError::Format),
    }
}
