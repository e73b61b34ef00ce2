//! A frame on its way out: checksums and segments, by the network where it can, and else here.
//!
//! A frame that has to be cut and cannot be by the network is cut while it is put together. When there is no room for a
//! segment in between, the rest of the frame is lost, as on a wire that is busy for too long; TCP repeats it.
//!
//! Source: Realtek RTL8139C+ data sheet 1.6, 9.1 (transmit descriptors).
//! Not modelled: large send of anything but TCP; such a frame is lost where the network cuts no frames.

use crate::host::{GuestAddr, Host, NicId, Offload, Unmapped};
use crate::net::frame::Sending;
use crate::net::headers::{Headers, Transport, Version};
use crate::net::segment::{ChecksumField, Plan, Segmenter, blank_checksum, leave_to_network, write_checksum};
use crate::net::{TAG, TAG_AT};
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

/// More headers than any frame has that is cut: Ethernet, the longest of IPv4, and the longest of TCP.
const HEADERS_MAX: usize = 14 + TAG + 60 + 60;
/// The shortest ones: Ethernet, IPv4 and TCP without options.
const HEADERS_MIN: usize = 54;
/// What stands before a tag, IEEE 802.1Q.
const VLAN_TYPE: [u8; 2] = [0x81, 0x00];

/// What a card does to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finish {
    /// It writes the checksum of the IPv4 header.
    pub(super) ip_checksum: bool,
    /// It writes the checksum of TCP or UDP.
    pub(super) checksum: bool,
    /// It cuts it into segments of so many bytes of data.
    pub(super) segment: Option<u16>,
    /// It inserts this VLAN tag.
    pub(super) tag: Option<u16>,
}

/// The frame that is being put together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outgoing {
    #[serde(skip)]
    nic: NicId,
    finish: Finish,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "it is changed in place, and nothing is allocated for a frame")]
enum Stage {
    /// It is begun at the host, and goes there.
    Plain,
    /// It is to be cut here, and these are its headers so far.
    Headers(heapless::Vec<u8, HEADERS_MAX>),
    /// It is cut here.
    Cut(Segmenter),
    /// There was no room in the middle, or it cannot be cut.
    Lost,
}

impl Adopt for Outgoing {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        *self = Self { nic: self.nic, ..saved };
        // What the network was given of a frame is not there any more, so the frame is lost.
        if !matches!(self.stage, Stage::Headers(_)) {
            self.stage = Stage::Lost;
        }
        Ok(())
    }
}

impl Outgoing {
    pub(super) const fn new(nic: NicId) -> Self {
        let finish = Finish { ip_checksum: false, checksum: false, segment: None, tag: None };
        Self { nic, finish, stage: Stage::Lost }
    }

    /// Begins a frame. `false`: there is no room now.
    pub(super) fn begin(&mut self, host: &mut dyn Host, finish: Finish) -> bool {
        let features = host.nic_features(self.nic);
        // Which IP it is shows later; a network that can cut one only is cut for.
        let by_network = features.segment_v4 && features.segment_v6;
        self.stage =
            if finish.segment.is_some() && !by_network { Stage::Headers(heapless::Vec::new()) } else { Stage::Plain };
        self.finish = finish;
        host.nic_begin(self.nic)
    }

    /// Appends guest memory.
    pub(super) fn append(&mut self, host: &mut dyn Host, addr: GuestAddr, len: usize) -> Result<(), Unmapped> {
        let mut done = 0_usize;
        while done < len {
            let at = addr.0.checked_add(u64::try_from(done).unwrap_or(u64::MAX)).ok_or(Unmapped)?;
            let taken = self.append_piece(host, GuestAddr(at), len.saturating_sub(done))?;
            if taken == 0 {
                self.stage = Stage::Lost;
                return Ok(());
            }
            done = done.saturating_add(taken);
        }
        Ok(())
    }

    /// Appends as much as fits the stage. Zero: nothing can follow.
    fn append_piece(&mut self, host: &mut dyn Host, addr: GuestAddr, len: usize) -> Result<usize, Unmapped> {
        let nic = self.nic;
        match &mut self.stage {
            Stage::Plain => {
                // A tag stands between the addresses and the type.
                let room = match self.finish.tag {
                    Some(_) => TAG_AT.saturating_sub(host.nic_len(nic)).max(1),
                    None => usize::MAX,
                };
                let len = len.min(room);
                host.nic_append_from_guest(nic, addr, len)?;
                if let Some(tag) = self.finish.tag.filter(|_| host.nic_len(nic) == TAG_AT) {
                    self.finish.tag = None;
                    host.nic_append(nic, &VLAN_TYPE);
                    host.nic_append(nic, &tag.to_be_bytes());
                }
                Ok(len)
            }
            Stage::Headers(headers) => {
                let mut bytes = [0; HEADERS_MIN];
                // Up to the shortest headers at once, to the tag if there is one, and then byte by byte: few follow.
                let to = if self.finish.tag.is_some() { TAG_AT } else { HEADERS_MIN };
                let len = len.min(to.saturating_sub(headers.len()).max(1));
                let bytes = bytes.get_mut(..len).unwrap_or_default();
                host.read(addr, bytes)?;
                let mut is_taken = headers.extend_from_slice(bytes).is_ok();
                if let Some(tag) = self.finish.tag.filter(|_| headers.len() == TAG_AT) {
                    self.finish.tag = None;
                    is_taken &= headers.extend_from_slice(&VLAN_TYPE).is_ok();
                    is_taken &= headers.extend_from_slice(&tag.to_be_bytes()).is_ok();
                }
                if let Some(segmenter) = segmenter(headers, self.finish.segment.unwrap_or(1)) {
                    self.stage = Stage::Cut(segmenter);
                }
                Ok(if is_taken { len } else { 0 })
            }
            Stage::Cut(segmenter) => segmenter.push(host, nic, addr, len),
            Stage::Lost => Ok(0),
        }
    }

    /// Sends the frame.
    pub(super) fn send(&mut self, host: &mut dyn Host) {
        match core::mem::replace(&mut self.stage, Stage::Lost) {
            Stage::Plain => self.send_plain(host),
            // Headers without data are not cut, and without an end they are no frame.
            Stage::Headers(_) | Stage::Lost => {}
            // Without room the last segment is lost.
            Stage::Cut(mut segmenter) => {
                let _ = segmenter.finish(host, self.nic);
            }
        }
    }

    fn send_plain(&self, host: &mut dyn Host) {
        let (nic, finish) = (self.nic, self.finish);
        let Some(headers) = Headers::parse(&Sending { host: &*host, nic }) else {
            return host.nic_send(nic, Offload::default());
        };
        if finish.segment.is_some() && headers.transport == Some(Transport::Tcp) {
            leave_to_network(host, nic, &headers);
            return host.nic_send(nic, Offload { blank_checksum: true, segment: finish.segment });
        }
        if finish.ip_checksum && headers.version == Version::V4 {
            let at = headers.ip.saturating_add(10);
            host.nic_write(nic, at, &[0; 2]);
            write_checksum(host, nic, ChecksumField { start: headers.ip, end: Some(headers.payload), at });
        }
        let offload = if finish.checksum { offloaded(host, nic, &headers) } else { Offload::default() };
        host.nic_send(nic, offload);
    }
}

/// Begins to cut, if the headers are all there.
fn segmenter(bytes: &[u8], segment: u16) -> Option<Segmenter> {
    let headers = Headers::parse(bytes).filter(|headers| headers.transport == Some(Transport::Tcp))?;
    if headers.payload.checked_add(headers.transport_header(bytes))? > bytes.len() {
        return None;
    }
    let plan = Plan::plain(&headers, segment)?;
    let mut bytes = heapless::Vec::<u8, HEADERS_MAX>::from_slice(bytes).ok()?;
    let sum = headers.pseudo_header(&bytes[..], 0).value();
    let fields = [plan.ip_checksum.map(|field| (field.at, 0)), plan.transport_checksum.map(|field| (field.at, sum))];
    for (at, value) in fields.into_iter().flatten() {
        for (to, from) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
            *to = from;
        }
    }
    Some(Segmenter::new(plan, &bytes))
}

/// The checksum of TCP or UDP: leaves the rest of it to the network if it does that, and else writes it.
fn offloaded(host: &mut dyn Host, nic: NicId, headers: &Headers) -> Offload {
    let Some(at) = headers.checksum_at() else { return Offload::default() };
    let features = host.nic_features(nic);
    let len = host.nic_len(nic);
    if headers.end != len {
        // Padding follows, or what the header says is nonsense.
        let end = headers.end.min(len);
        let sum = headers.pseudo_header(&Sending { host: &*host, nic }, end.saturating_sub(headers.payload)).value();
        host.nic_write(nic, at, &sum.to_be_bytes());
        write_checksum(host, nic, ChecksumField { start: headers.payload, end: Some(end), at });
        return Offload::default();
    }
    blank_checksum(host, nic, headers);
    let by_network = match headers.version {
        Version::V4 => features.checksum_v4,
        Version::V6 => features.checksum_v6,
    };
    if !by_network {
        write_checksum(host, nic, ChecksumField { start: headers.payload, end: None, at });
    }
    Offload { blank_checksum: by_network, segment: None }
}
