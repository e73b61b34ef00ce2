//! A frame as something to read from.
//!
//! Bytes that are not there read as zero, as [`NicHost`] says.

use crate::host::{NicHost, NicId};

/// Something that holds a frame, from its destination address on, without a frame check sequence.
#[expect(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait Frame {
    /// Its length in bytes.
    fn len(&self) -> usize;
    /// Copies from it. What lies beyond its end reads as zero.
    fn read(&self, offset: usize, data: &mut [u8]);

    /// One byte.
    fn byte(&self, offset: usize) -> u8 {
        let mut data = [0];
        self.read(offset, &mut data);
        data[0]
    }

    /// Two bytes, in the order of networks.
    fn word(&self, offset: usize) -> u16 {
        let mut data = [0; 2];
        self.read(offset, &mut data);
        u16::from_be_bytes(data)
    }
}

impl Frame for [u8] {
    fn len(&self) -> usize {
        self.len()
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        data.fill(0);
        for (to, from) in data.iter_mut().zip(self.iter().skip(offset)) {
            *to = *from;
        }
    }
}

/// The frame that a network is putting together.
#[derive(Debug)]
pub struct Sending<'a, H: ?Sized> {
    /// Who has it.
    pub host: &'a H,
    /// Which network.
    pub nic: NicId,
}

impl<H: NicHost + ?Sized> Frame for Sending<'_, H> {
    fn len(&self) -> usize {
        self.host.nic_len(self.nic)
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        self.host.nic_read(self.nic, offset, data);
    }
}

/// The oldest frame that a network received.
#[derive(Debug)]
pub struct Receiving<'a, H: ?Sized> {
    /// Who has it.
    pub host: &'a H,
    /// Which network.
    pub nic: NicId,
    /// Its length, as [`NicHost::nic_received`] said.
    pub len: usize,
}

impl<H: NicHost + ?Sized> Frame for Receiving<'_, H> {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        self.host.nic_received_read(self.nic, offset, data);
    }
}
