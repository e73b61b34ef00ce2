//! The toolstack's control channel (protocol.md, "Control channel"): QMP over a vchan.

use alloc::format;
use alloc::rc::Rc;
use devmodel::machine::Machine;
use minios::DomId;
use minios::front::XenDomain;
use minios::vchan::{Change, RECEIVE_SIZE, Vchan};
use minios::xenstore::Xenstore;
use stubdom::qmp::{Guest, Qmp};

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
}
