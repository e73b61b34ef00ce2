//! The toolstack's control channel (protocol.md, "Control channel"): QMP over a vchan.

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use devmodel::host::DiskId;
use devmodel::machine::{DiscChange, Machine};
use minios::DomId;
use minios::front::XenDomain;
use minios::front::block::Block;
use minios::vchan::{Change, RECEIVE_SIZE, Vchan};
use minios::xenstore::Xenstore;
use stubdom::qmp::{DiscError, Guest, Qmp};

use super::host::World;
use super::start::{Failure, Identity};

/// The domain of the toolstack.
const TOOLSTACK: DomId = DomId(0);

/// The channel, and the conversation on it.
pub(super) struct Control {
    channel: Vchan<XenDomain>,
    conversation: Qmp,
}

impl Control {
    /// Offers the channel to the toolstack.
    pub(super) async fn open(store: &Xenstore, platform: &Rc<XenDomain>, identity: Identity) -> Result<Self, Failure> {
        let path = format!("{}/qmp-vchan", identity.directory());
        let channel = Vchan::serve(platform, store, &path, TOOLSTACK).await?;
        Ok(Self { channel, conversation: Qmp::new() })
    }

    /// Answers what the toolstack has asked.
    pub(super) fn poll(&mut self, machine: &mut Machine, world: &mut World) {
        if let Some(Change::Connected) = self.channel.poll() {
            self.conversation = Qmp::new();
            if !self.channel.write_all(Qmp::greeting()) {
                self.channel.end_session();
            }
        }
        let mut bytes = [0; RECEIVE_SIZE];
        let count = self.channel.read(&mut bytes);
        let Self { channel, conversation } = self;
        conversation.receive(&bytes[..count], &mut Served { machine, world }, &mut |answer| {
            if channel.is_open() && !channel.write_all(answer) {
                // It does not read what it asked for.
                channel.end_session();
            }
        });
    }
}

/// The guest that commands are about.
struct Served<'a> {
    machine: &'a mut Machine,
    world: &'a mut World,
}

impl Guest for Served<'_> {
    fn cpus(&self) -> u128 {
        self.machine.cpus()
    }

    fn cpus_max(&self) -> u32 {
        self.world.vcpus
    }

    fn plug_cpu(&mut self, index: u32) -> bool {
        self.machine.plug_cpu(self.world, index)
    }

    fn wake_up(&mut self) -> bool {
        self.machine.wake_up(self.world)
    }

    fn discs(&self) -> Vec<u32> {
        // That nothing is in a drive any more is something behind it, too: libxl waits for either.
        let is_there = |disk: &Block<_>| disk.session().is_connected() || disk.is_empty();
        let discs = self.world.discs.iter().filter(|(_, id)| self.world.disks.get(*id).is_some_and(is_there));
        discs.map(|(number, _)| *number).collect()
    }

    fn eject(&mut self, disc: u32, force: bool) -> Result<(), DiscError> {
        let (_, id) = self.drive(disc)?;
        self.change(id, &[DiscChange::Open { force }, DiscChange::Lay(None)])
    }

    fn insert(&mut self, disc: u32) -> Result<(), DiscError> {
        let (_, id) = self.drive(disc)?;
        let sectors = self.disc(id).ok_or(DiscError::NoDisc)?;
        self.change(id, &[DiscChange::Open { force: true }, DiscChange::Lay(Some(sectors)), DiscChange::Close])
    }
}

impl Served<'_> {
    fn drive(&self, disc: u32) -> Result<(u32, DiskId), DiscError> {
        self.world.discs.iter().copied().find(|(number, _)| *number == disc).ok_or(DiscError::NoDrive)
    }

    /// The size of the disc that the toolstack has put behind a drive.
    fn disc(&self, id: DiskId) -> Option<u64> {
        self.world.disks.get(id).filter(|disk| disk.session().is_connected()).map(|disk| disk.info().sectors)
    }

    /// All of them, or those before the one that the guest does not let happen.
    fn change(&mut self, id: DiskId, changes: &[DiscChange]) -> Result<(), DiscError> {
        changes.iter().try_for_each(|change| {
            let result = self.machine.change_disc(id, *change).ok_or(DiscError::NoDrive)?;
            result.map_err(|_| DiscError::Locked)
        })
    }
}
