//! What qemu-xen-traditional asks through the store, and is told there (protocol.md, §4 and §8).

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::Cell;
use log::{info, warn};
use minios::exec::Spawner;
use minios::xenstore::{Watch, Xenstore, XenstoreError};

use super::start::{Failure, Identity};

/// Takes commands from now on.
pub(super) async fn serve_commands(
    store: &Xenstore,
    spawner: &Spawner,
    identity: Identity,
) -> Result<(), XenstoreError> {
    let directory = identity.directory();
    let watch = store.watch(&format!("{directory}/command")).await?;
    let store = store.clone();
    spawner.spawn(async move {
        if let Err(error) = answer_commands(&store, watch, &directory).await {
            warn!("commands of the toolstack are not heard any more: {error}");
        }
    });
    Ok(())
}

/// Answers one command after the other. Each is taken away, as a sign that it was seen.
async fn answer_commands(store: &Xenstore, mut watch: Watch, directory: &str) -> Result<(), XenstoreError> {
    loop {
        let command = format!("{directory}/command");
        if let Some(word) = store.read_optional(&command).await? {
            info!("{command}: {:?} is not supported", word.chars().take(160).collect::<String>());
            if word == "pci-ins" {
                store.write(&format!("{directory}/state"), "pci-insert-failed").await?;
            }
            store.remove(&command).await?;
        }
        watch.next().await?;
    }
}

/// The guest's clock, as far as it differs from the host's: `/vm/<uuid>/rtc/timeoffset`. The toolstack starts the guest's
/// next life with it.
pub(super) struct ClockOffset {
    store: Xenstore,
    spawner: Spawner,
    offset: Rc<Offset>,
    /// The guest has set its clock since the last [`write_back`](Self::write_back).
    changed: bool,
}

struct Offset {
    path: String,
    seconds: Cell<i64>,
    /// A task brings the store up to date: one, however often the guest sets its clock.
    is_being_written: Cell<bool>,
}

impl ClockOffset {
    /// Reads the offset that the guest starts with from `vm`, its directory `/vm/<uuid>`.
    pub(super) async fn open(store: &Xenstore, spawner: &Spawner, vm: &str) -> Result<Self, Failure> {
        let path = format!("{vm}/rtc/timeoffset");
        let text = store.read_optional(&path).await?.unwrap_or_default();
        let seconds = match text.as_str() {
            "" => 0,
            text => text.parse().map_err(|_| Failure(format!("{path}: {text:?} is no number of seconds")))?,
        };
        let offset = Rc::new(Offset { path, seconds: Cell::new(seconds), is_being_written: Cell::new(false) });
        Ok(Self { store: store.clone(), spawner: spawner.clone(), offset, changed: false })
    }

    /// The guest has moved its clock by this many seconds.
    pub(super) fn add(&mut self, seconds: i64) {
        self.offset.seconds.set(self.offset.seconds.get().wrapping_add(seconds));
        self.changed = true;
    }

    /// Whether there is something to write back.
    pub(super) const fn has_changed(&self) -> bool {
        self.changed
    }

    /// Has the store brought up to date.
    pub(super) fn write_back(&mut self) {
        if core::mem::take(&mut self.changed) && !self.offset.is_being_written.replace(true) {
            let (store, offset) = (self.store.clone(), Rc::clone(&self.offset));
            self.spawner.spawn(async move {
                if let Err(error) = offset.write(&store).await {
                    warn!("{error}");
                }
                offset.is_being_written.set(false);
            });
        }
    }
}

impl Offset {
    async fn write(&self, store: &Xenstore) -> Result<(), XenstoreError> {
        loop {
            let seconds = self.seconds.get();
            store.write(&self.path, &seconds.to_string()).await?;
            if seconds == self.seconds.get() {
                return Ok(());
            }
        }
    }
}
