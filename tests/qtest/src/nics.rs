//! Networks: nobody, a [station](crate::user_net) of their own, or a stream socket on which each frame follows its length, 32 bits big-endian.
//!
//! Source: QEMU `net/stream.c`, `net/net.c` (`net_fill_rstate`).
//! Not modelled: checksums and segments for others; a network can do nothing of that, so no card asks for it.

use std::collections::VecDeque;

use devmodel::host::{FRAME_MAX, NicId};

use crate::character::Peer;
use crate::user_net::UserNetwork;

/// Frames that wait for a card, at most; what comes then is lost.
const WAITING_MAX: usize = 256;

/// One network.
#[derive(Debug, Default)]
pub(crate) struct Nic {
    /// Who is at its other end.
    pub(crate) peer: Peer,
    /// The frame that is being put together.
    pub(crate) begun: Vec<u8>,
    /// Frames for the card.
    pub(crate) received: VecDeque<Vec<u8>>,
    /// What came of a frame that is not complete.
    stream: Vec<u8>,
    /// The card has to be told.
    news: bool,
    /// The station on it, if it has one of its own.
    station: Option<UserNetwork>,
}

impl Nic {
    /// With a station of its own, if it has one.
    pub(crate) fn with(station: Option<UserNetwork>) -> Self {
        Self { station, ..Self::default() }
    }

    /// Appends to the frame that is being put together.
    pub(crate) fn append(&mut self, data: &[u8]) {
        let room = FRAME_MAX.saturating_sub(self.begun.len());
        self.begun.extend(&data[..data.len().min(room)]);
    }

    /// Sends it.
    pub(crate) fn send(&mut self) {
        let frame = std::mem::take(&mut self.begun);
        if frame.len() >= 14
            && let Ok(len) = u32::try_from(frame.len())
        {
            self.peer.write(&[&len.to_be_bytes()[..], &frame].concat());
        }
        if let Some(answer) = self.station.as_mut().and_then(|station| station.answer(&frame)) {
            self.arrived(answer);
        }
    }

    /// A frame for the card.
    fn arrived(&mut self, frame: Vec<u8>) {
        if self.received.len() < WAITING_MAX {
            self.received.push_back(frame);
            self.news = true;
        }
    }

    /// The peer came or went.
    pub(crate) fn changed(&mut self) {
        self.stream.clear();
    }

    /// The peer sent something.
    pub(crate) fn receive(&mut self, data: &[u8]) {
        self.stream.extend(data);
        while let Some((len, rest)) = self.stream.split_first_chunk::<4>() {
            let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            if len > FRAME_MAX {
                // It does not speak the protocol, or there is no way to find the next frame.
                self.stream.clear();
                self.peer.disconnect();
                return;
            }
            let Some(frame) = rest.get(..len) else { return };
            let frame = frame.to_vec();
            self.stream.drain(..4 + len);
            if len <= 65_535 {
                self.arrived(frame);
            }
        }
    }
}

/// The networks of which a card has to be told.
pub(crate) fn take_news(nics: &mut [Nic]) -> Vec<NicId> {
    let news = (0..).zip(nics).map(|(number, nic)| std::mem::take(&mut nic.news).then_some(NicId(number)));
    news.flatten().collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn frames_are_cut_out_of_the_stream() {
        let mut nics = [Nic::default()];
        nics[0].receive(&[0, 0, 0, 2, 7]);
        assert_eq!(take_news(&mut nics), []);
        nics[0].receive(&[8, 0, 0, 0, 1, 9, 0]);
        assert_eq!(take_news(&mut nics), [NicId(0)]);
        assert_eq!(nics[0].received, [vec![7, 8], vec![9]]);
    }

    #[test]
    fn a_frame_that_is_too_long_ends_the_stream() {
        let mut nic = Nic::default();
        nic.receive(&[0xff; 8]);
        assert!(nic.stream.is_empty() && nic.received.is_empty());
    }
}
