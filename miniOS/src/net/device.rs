//! A network interface as smoltcp wants to have one.

use alloc::vec::Vec;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::checksum;
use crate::front::Platform;
use crate::front::net::{Checksum, Net, Offload};

/// Bytes of an Ethernet frame without its checksum.
const FRAME: usize = 1514;
/// The shortest one.
const SHORTEST: usize = 60;

/// Frames and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames that came.
    pub frames_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Frames that were sent.
    pub frames_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
}

/// A station at an interface.
pub(super) struct Station<P: Platform> {
    net: Net<P>,
    /// The interface has no other user.
    alone: bool,
    /// The frame that came last, which is looked at next.
    received: Option<Vec<u8>>,
    /// Room for a frame that is sent.
    outgoing: Vec<u8>,
    traffic: Traffic,
}

impl<P: Platform> Station<P> {
    pub(super) fn new(net: Net<P>, address: [u8; 6], alone: bool) -> Self {
        net.add_station(address);
        Self { net, alone, received: None, outgoing: Vec::with_capacity(FRAME), traffic: Traffic::default() }
    }

    /// Looks for what came. Beside another user of the interface, that one does.
    pub(super) fn look(&self) {
        if self.alone {
            self.net.poll();
            while self.net.received().is_some() {
                self.net.received_done();
            }
        }
    }

    pub(super) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(super) fn has_link(&self) -> bool {
        self.net.session().is_connected()
    }

    pub(super) fn has_room(&self) -> bool {
        self.net.has_room()
    }

    /// Whether there are frames that nobody has looked at.
    pub(super) fn has_frames(&mut self) -> bool {
        self.next_frame();
        self.received.is_some()
    }

    fn outgoing(&mut self) -> Outgoing<'_, P> {
        Outgoing { net: &self.net, frame: &mut self.outgoing, traffic: &mut self.traffic }
    }

    fn next_frame(&mut self) {
        if self.received.is_none() {
            self.received = self.net.take_for_station().map(|(mut frame, checksum)| {
                if checksum == Checksum::Blank {
                    checksum::fill(&mut frame);
                }
                self.traffic.frames_in += 1;
                self.traffic.bytes_in += frame.len() as u64;
                frame
            });
        }
    }
}

impl<P: Platform + 'static> Device for Station<P> {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a, P>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_, P>)> {
        self.next_frame();
        if self.received.is_none() || !self.net.has_room() {
            return None;
        }
        let frame = self.received.take()?;
        Some((Incoming(frame), self.outgoing()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, P>> {
        self.net.has_room().then(|| self.outgoing())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A frame that came.
pub(super) struct Incoming(Vec<u8>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

/// Leave to send a frame.
pub(super) struct Outgoing<'a, P: Platform> {
    net: &'a Net<P>,
    frame: &'a mut Vec<u8>,
    traffic: &'a mut Traffic,
}

impl<P: Platform> TxToken for Outgoing<'_, P> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        self.frame.clear();
        self.frame.resize(len.max(SHORTEST), 0);
        let (frame, _) = self.frame.split_at_mut(len);
        let result = fill(frame);
        self.traffic.frames_out += 1;
        self.traffic.bytes_out += self.frame.len() as u64;
        // There was room when leave was given.
        self.net.send_whole(self.frame, Offload { blank_checksum: false, segment: None });
        result
    }
}
