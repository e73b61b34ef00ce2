//! The machine's network cards on network frontends.
//!
//! A frame goes from the guest's memory into the very pages that the backend reads, and the other way round.

use alloc::vec::Vec;
use devmodel::host::{GuestAddr, NicFeatures, NicHost, NicId, Offload, Received, ReceivedChecksum, Unmapped};
use minios::front::XenDomain as Domain;
use minios::front::net::{self, Checksum, Net};

use super::host::World;

/// Bytes of an interface's pages and rings, with the options that it has by default.
pub(super) const NIC_BYTES: usize = 520 << 10;

/// `0x8100` and what follows: a VLAN tag.
const VLAN: [u8; 2] = [0x81, 0];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Where an Ethernet frame says who has sent it.
const SOURCE_AT: usize = 6;
/// Where it says what is in it, and where it does when there is a tag.
const TYPE_AT: [usize; 2] = [12, 16];

/// The networks, numbered as in the machine's configuration.
pub(super) struct Nics {
    nics: Vec<Net<Domain>>,
}

impl Nics {
    /// Networks on connected frontends; the index is the [`NicId`].
    pub(super) fn new(nics: Vec<Net<Domain>>) -> Self {
        Self { nics }
    }

    fn get(&self, nic: NicId) -> Option<&Net<Domain>> {
        self.nics.get(usize::from(nic.0))
    }

    /// The networks that have something to say, each once.
    pub(super) fn news(&self) -> impl Iterator<Item = NicId> + use<> {
        let mut news = 0_u32;
        for (index, nic) in self.nics.iter().enumerate() {
            news |= u32::from(nic.poll()) << index;
        }
        (0..32).filter(move |index| news >> index & 1 != 0).map(NicId)
    }
}

/// Whether the frame that was begun carries IPv6.
fn is_v6(nic: &Net<Domain>) -> bool {
    let [plain, tagged] = TYPE_AT.map(|at| {
        let mut kind = [0; 2];
        nic.read(at, &mut kind);
        kind
    });
    if plain == VLAN { tagged == IPV6 } else { plain == IPV6 }
}

impl NicHost for World {
    fn nic_features(&self, nic: NicId) -> NicFeatures {
        let features = self.nics.get(nic).map(Net::features).unwrap_or_default();
        NicFeatures {
            checksum_v4: features.checksum_v4,
            checksum_v6: features.checksum_v6,
            segment_v4: features.segment_v4,
            segment_v6: features.segment_v6,
        }
    }

    fn nic_link(&self, nic: NicId) -> bool {
        self.nics.get(nic).is_some_and(Net::is_up)
    }

    fn nic_begin(&mut self, nic: NicId) -> bool {
        self.nics.get(nic).is_none_or(Net::begin)
    }

    fn nic_append_from_guest(&mut self, nic: NicId, addr: GuestAddr, len: usize) -> Result<(), Unmapped> {
        let memory = &mut self.memory;
        let Some(nic) = self.nics.get(nic) else { return Ok(()) };
        nic.append(len, |pages, at, len, done| {
            memory.read_to(GuestAddr(addr.0.wrapping_add(done as u64)), pages, at, len)
        })
    }

    fn nic_append(&mut self, nic: NicId, data: &[u8]) {
        let Some(nic) = self.nics.get(nic) else { return };
        let _ = nic.append(data.len(), |pages, at, len, done| {
            pages.write(at, &data[done..done + len]);
            Ok::<(), Unmapped>(())
        });
    }

    fn nic_len(&self, nic: NicId) -> usize {
        self.nics.get(nic).map_or(0, Net::len)
    }

    fn nic_read(&self, nic: NicId, offset: usize, data: &mut [u8]) {
        match self.nics.get(nic) {
            Some(nic) => nic.read(offset, data),
            None => data.fill(0),
        }
    }

    fn nic_write(&mut self, nic: NicId, offset: usize, data: &[u8]) {
        if let Some(nic) = self.nics.get(nic) {
            nic.write(offset, data);
        }
    }

    fn nic_send(&mut self, nic: NicId, offload: Offload) {
        let is_first = nic == NicId(0);
        let Some(nic) = self.nics.get(nic) else { return };
        if let Some(station) = self.station.filter(|_| is_first) {
            let mut source = [0; 6];
            nic.read(SOURCE_AT, &mut source);
            if source == station {
                // The guest says that it is us.
                let _ = nic.begin();
                return;
            }
        }
        let segment = offload.segment.map(|size| net::Segment { size, is_v6: is_v6(nic) });
        nic.send(net::Offload { blank_checksum: offload.blank_checksum, segment });
    }

    fn nic_received(&mut self, nic: NicId) -> Option<Received> {
        let frame = self.nics.get(nic)?.received()?;
        let checksum = match frame.checksum {
            Checksum::Unknown => ReceivedChecksum::Unknown,
            Checksum::Validated => ReceivedChecksum::Validated,
            Checksum::Blank => ReceivedChecksum::Blank,
        };
        Some(Received { len: frame.len, checksum })
    }

    fn nic_received_read(&self, nic: NicId, offset: usize, data: &mut [u8]) {
        match self.nics.get(nic) {
            Some(nic) => nic.received_read(offset, data),
            None => data.fill(0),
        }
    }

    fn nic_received_write(&mut self, nic: NicId, offset: usize, data: &[u8]) {
        if let Some(nic) = self.nics.get(nic) {
            nic.received_write(offset, data);
        }
    }

    fn nic_received_to_guest(
        &mut self,
        nic: NicId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let memory = &mut self.memory;
        let Some(nic) = self.nics.get(nic) else { return Ok(()) };
        nic.received_with(offset, len, |pages, at, len, done| {
            memory.write_from(GuestAddr(addr.0.wrapping_add(done as u64)), pages, at, len)
        })
    }

    fn nic_received_done(&mut self, nic: NicId) {
        if let Some(nic) = self.nics.get(nic) {
            nic.received_done();
        }
    }
}
