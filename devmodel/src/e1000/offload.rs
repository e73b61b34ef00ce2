//! The end of a frame: checksums, tags, and who cuts what is too long.
//!
//! The network is asked to finish a checksum or to cut a packet only where it would do exactly what the controller does:
//! the headers are plain, the context points at them, and the checksum field holds the sum of the pseudo header.
//! Everything else is done here, byte by byte as the descriptors say.
//!
//! Source: SDM 3.3.5 to 3.3.7 (checksums and contexts), 3.5 (segmentation), 9.2 (tags).
//! Not modelled: that segments cut here have their checksums finished by a network that could.

use super::descriptor::{Context, Piece};
use super::regs::VET;
use super::transmit::{Outgoing, Progress, Stage, TCTL_PSP};
use super::{E1000, statistics};
use crate::host::{FRAME_MAX, Host, NicFeatures, NicId, Offload};
use crate::net::frame::{Frame, Sending};
use crate::net::headers::{Headers, Transport, Version};
use crate::net::segment::{ChecksumField, HEADERS_MAX, Plan, Segmenter, leave_to_network, write_checksum};
use crate::net::{LONGEST_PACKET, SHORTEST, TAG, TAG_AT};

impl E1000 {
    /// The headers of a packet that is to be cut are here: decides who cuts it. `false`: the network has no room.
    pub(super) fn headers_complete(&mut self, host: &mut dyn Host, frame: &mut Outgoing) -> bool {
        let context = frame.context;
        let Stage::Headers(bytes, got) = &frame.stage else { return true };
        let header = bytes.get(..*got).unwrap_or_default();
        let features = host.nic_features(self.nic);
        if frame.txsm && host_can_cut(header, &context, features, frame.ixsm, frame.tag.is_some()) {
            if !host.nic_begin(self.nic) {
                return false;
            }
            host.nic_append(self.nic, header);
            frame.stage = Stage::Whole;
            return true;
        }
        let plan = Plan {
            version: if context.ipv4 { Version::V4 } else { Version::V6 },
            ip: context.ipcss.into(),
            transport: if context.tcp { Transport::Tcp } else { Transport::Udp },
            transport_at: context.tucss.into(),
            segment: context.mss,
            ip_checksum: frame.ixsm.then(|| context.ip_checksum()),
            transport_checksum: frame.txsm.then(|| context.transport_checksum()),
        };
        let (addresses, rest) = header.split_at_checked(TAG_AT).unwrap_or((header, &[]));
        frame.stage = Stage::Cut(match frame.tag {
            Some(tag) => {
                let mut tagged = [0; HEADERS_MAX];
                let tag = self.tag_bytes(tag);
                let bytes = addresses.iter().chain(&tag).chain(rest);
                let len = tagged.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count();
                Segmenter::new(plan.tagged(), tagged.get(..len).unwrap_or_default())
            }
            None => Segmenter::new(plan, header),
        });
        true
    }

    /// The frame is complete: sends it.
    pub(super) fn finish(&mut self, host: &mut dyn Host, frame: &mut Outgoing, piece: &Piece) -> Progress {
        let address = destination(host, self.nic);
        match &mut frame.stage {
            // Headers that are not complete are no frame.
            Stage::Headers(..) => {}
            Stage::Plain => self.finish_plain(host, frame, piece),
            Stage::Whole => self.finish_whole(host, frame),
            Stage::Cut(segmenter) => {
                let Some(sent) = segmenter.finish(host, self.nic) else { return Progress::NoRoom };
                self.statistics.sent(address, sent.frames, sent.bytes);
                if sent.frames > 1 {
                    self.statistics.count(statistics::TSCTC);
                }
            }
        }
        Progress::Done
    }

    fn finish_plain(&mut self, host: &mut dyn Host, frame: &Outgoing, piece: &Piece) {
        let transport = piece.legacy.or_else(|| frame.txsm.then(|| frame.context.transport_checksum()));
        let mut offload = Offload::default();
        if let Some(field) = transport {
            if !self.loops_back() && host_can_finish(host, self.nic, field, frame.tag.is_some()) {
                offload.blank_checksum = true;
            } else {
                write_checksum(host, self.nic, field);
            }
        }
        if frame.ixsm {
            write_checksum(host, self.nic, frame.context.ip_checksum());
        }
        self.insert_tag(host, frame.tag);
        let missing = SHORTEST.saturating_sub(host.nic_len(self.nic));
        if self.transmitter.control & TCTL_PSP != 0 {
            host.nic_append(self.nic, [0; SHORTEST].get(..missing).unwrap_or_default());
        }
        self.count_sent(host, 1, host.nic_len(self.nic));
        if self.loops_back() {
            self.receive_own(host);
        } else {
            host.nic_send(self.nic, offload);
        }
    }

    /// Sends a packet that the network cuts. Its headers were looked at when they were complete.
    fn finish_whole(&mut self, host: &mut dyn Host, frame: &Outgoing) {
        let context = frame.context;
        let Some(headers) = Headers::parse(&Sending { host: &*host, nic: self.nic }) else { return };
        let payload = host.nic_len(self.nic).saturating_sub(usize::from(context.hdrlen));
        let segment = usize::from(context.mss);
        leave_to_network(host, self.nic, &headers);
        let mut offload = Offload { blank_checksum: true, segment: Some(context.mss) };
        let mut frames = payload.div_ceil(segment.max(1));
        if payload <= segment {
            // It is short enough: a plain frame.
            frames = 1;
            offload.segment = None;
            let field = context.transport_checksum();
            if !host_can_finish(host, self.nic, field, frame.tag.is_some()) {
                write_checksum(host, self.nic, field);
                offload.blank_checksum = false;
            }
        } else {
            self.statistics.count(statistics::TSCTC);
        }
        self.insert_tag(host, frame.tag);
        let headers = host.nic_len(self.nic).saturating_sub(payload);
        self.count_sent(host, frames, headers.saturating_mul(frames).saturating_add(payload));
        host.nic_send(self.nic, offload);
    }

    fn count_sent(&mut self, host: &dyn Host, frames: usize, bytes: usize) {
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        self.statistics.sent(destination(host, self.nic), number(frames), number(bytes));
    }

    /// The tag as it is on the wire.
    fn tag_bytes(&self, tag: u16) -> [u8; TAG] {
        let kind = u16::try_from(self.storage.read(VET)).unwrap_or(0).to_be_bytes();
        let tag = tag.to_be_bytes();
        [kind[0], kind[1], tag[0], tag[1]]
    }

    /// Puts a tag into the frame, and moves what lies behind it.
    fn insert_tag(&self, host: &mut dyn Host, tag: Option<u16>) {
        let len = host.nic_len(self.nic);
        let Some(tag) = tag.filter(|_| len >= TAG_AT) else { return };
        host.nic_append(self.nic, &[0; TAG]);
        let mut piece = [0; 512];
        let mut end = len;
        while end > TAG_AT {
            let start = end.saturating_sub(piece.len()).max(TAG_AT);
            let Some(piece) = piece.get_mut(..end.saturating_sub(start)) else { return };
            host.nic_read(self.nic, start, piece);
            host.nic_write(self.nic, start.saturating_add(TAG), piece);
            end = start;
        }
        host.nic_write(self.nic, TAG_AT, &self.tag_bytes(tag));
    }
}

fn destination(host: &dyn Host, nic: NicId) -> [u8; 6] {
    let mut address = [0; 6];
    host.nic_read(nic, 0, &mut address);
    address
}

/// Whether the network would cut a packet with these headers as the context says.
fn host_can_cut(header: &[u8], context: &Context, features: NicFeatures, ixsm: bool, tagged: bool) -> bool {
    let Some(headers) = Headers::parse(header) else { return false };
    let (payload, header_len) = (usize::try_from(context.paylen).unwrap_or(usize::MAX), usize::from(context.hdrlen));
    let field = context.transport_checksum();
    let feature = match headers.version {
        Version::V4 => features.segment_v4,
        Version::V6 => features.segment_v6,
    };
    let ip_checksum = ChecksumField { start: headers.ip, end: Some(headers.payload), at: headers.ip.wrapping_add(10) };
    let plain = headers.transport == Some(Transport::Tcp)
        && !(headers.tagged && tagged)
        && headers.payload.wrapping_add(headers.transport_header(header)) == header_len;
    let meant = context.tcp
        && context.ipv4 == (headers.version == Version::V4)
        && (!context.ipv4 || ixsm && context.ip_checksum() == ip_checksum)
        && usize::from(context.ipcss) == headers.ip
        && field.start == headers.payload
        && Some(field.at) == headers.checksum_at()
        && field.end.is_none();
    let packet = header_len.saturating_add(payload).saturating_sub(headers.ip);
    feature
        && plain
        && meant
        && packet <= LONGEST_PACKET
        && packet.saturating_add(headers.ip).saturating_add(TAG) <= FRAME_MAX
        && header.word(field.at) == headers.pseudo_header(header, 0).value()
}

/// Whether the network would finish this checksum as we would.
fn host_can_finish(host: &dyn Host, nic: NicId, field: ChecksumField, tagged: bool) -> bool {
    let frame = Sending { host, nic };
    let features = host.nic_features(nic);
    let len = frame.len();
    Headers::parse(&frame).is_some_and(|headers| {
        let feature = match headers.version {
            Version::V4 => features.checksum_v4,
            Version::V6 => features.checksum_v6,
        };
        feature
            && !(headers.tagged && tagged)
            && headers.checksum_at() == Some(field.at)
            && headers.payload == field.start
            && headers.end == len
            && field.end.unwrap_or(len) == len
            && frame.word(field.at) == headers.pseudo_header(&frame, len.saturating_sub(headers.payload)).value()
    })
}
