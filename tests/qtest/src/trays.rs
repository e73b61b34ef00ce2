//! The CD drives as an operator has them in front of him: trays, and the discs that are put into them.
//!
//! A disc that is taken out is free again, by the name that it has, if it has one.
//!
//! Source: QEMU `qapi/block.json`: `eject`, `blockdev-open-tray` and the others.

use anyhow::{Context, Result, bail, ensure};
use devmodel::card::SavedCard;
use devmodel::host::DiskId;
use devmodel::machine::{DiscChange, Machine, TrayError};

use crate::disks::Disk;
use crate::media::{Media, path};
use crate::pc::NOTHING;
use crate::plan::{Backing, Drive, Medium};
use crate::world::World;

/// A CD drive.
#[derive(Debug)]
struct Tray {
    disk: DiskId,
    /// The device, as a person calls it; may be empty.
    id: String,
    /// What is behind it, as a person or QEMU calls it.
    name: String,
    /// What lies in it.
    disc: Option<Medium>,
    /// As it was told last.
    is_open: bool,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// The tray open, whatever the guest says if this is set.
    Open(bool),
    /// The tray closed.
    Close,
    /// The disc, out of the open tray.
    Remove,
    /// The medium of this name in the open tray, where nothing is.
    Insert(&'a str),
    /// The tray open and the disc out of it.
    Eject(bool),
    /// The file of this name in place of what was there, and the tray closed.
    Change(&'a str, bool),
}

/// A tray that has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The device; may be empty.
    pub(crate) id: String,
    /// What is behind it.
    pub(crate) name: String,
    /// It is open now.
    pub(crate) is_open: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Trays {
    trays: Vec<Tray>,
    moves: Vec<Moved>,
}

impl Trays {
    /// Adds a drive whose disc the machine calls `disk`.
    pub(crate) fn add(&mut self, drive: &Drive, disk: DiskId) {
        let (id, name, disc) = (drive.id.clone(), drive.name.clone(), drive.medium.clone());
        self.trays.push(Tray { disk, id, name, disc, is_open: false });
    }

    /// Whether there is such a drive.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.trays.iter().any(|tray| tray.is_called(name))
    }

    /// Does what an operator wants of the drive of this name.
    pub(crate) fn perform(
        &mut self,
        machine: &mut Machine<dyn SavedCard>,
        world: &mut World,
        media: &mut Media,
        name: &str,
        wish: Wish<'_>,
    ) -> Result<()> {
        let Self { trays, moves } = self;
        let tray = trays.iter_mut().find(|tray| tray.is_called(name));
        let mut hands = Hands { tray: tray.context("there is no such CD drive")?, moves, machine, world, media };
        match wish {
            Wish::Open(force) => hands.change(DiscChange::Open { force }),
            Wish::Close => hands.change(DiscChange::Close),
            Wish::Remove => hands.remove(),
            Wish::Insert(node) => {
                ensure!(hands.machine.tray_open(hands.tray.disk) == Some(true), "Tray of device '{name}' is not open");
                ensure!(hands.tray.disc.is_none(), "There already is a medium in device '{name}'");
                let medium = hands.media.take(node).flatten();
                let medium = medium.with_context(|| format!("Cannot find a free node '{node}'"))?;
                hands.insert(medium)
            }
            Wish::Eject(force) => {
                hands.change(DiscChange::Open { force })?;
                hands.remove()
            }
            Wish::Change(file, force) => {
                // Only when it is known to be there, the old one is taken out.
                let medium = Medium::new(Backing::File(path(file, file)?), true);
                Disk::open(&medium)?;
                hands.change(DiscChange::Open { force })?;
                hands.remove()?;
                hands.insert(medium)?;
                hands.change(DiscChange::Close)
            }
        }
    }

    /// The trays that have moved since somebody asked.
    pub(crate) fn take_moves(&mut self, machine: &Machine<dyn SavedCard>) -> Vec<Moved> {
        let moves = self.trays.iter_mut().filter_map(|tray| tray.take_move(machine));
        self.moves.extend(moves);
        std::mem::take(&mut self.moves)
    }
}

impl Tray {
    fn is_called(&self, name: &str) -> bool {
        !name.is_empty() && (self.id == name || self.name == name)
    }

    fn take_move(&mut self, machine: &Machine<dyn SavedCard>) -> Option<Moved> {
        let is_open = machine.tray_open(self.disk).unwrap_or(false);
        let has_moved = std::mem::replace(&mut self.is_open, is_open) != is_open;
        has_moved.then(|| Moved { id: self.id.clone(), name: self.name.clone(), is_open })
    }
}

/// A drive in somebody's hands.
struct Hands<'a> {
    tray: &'a mut Tray,
    moves: &'a mut Vec<Moved>,
    machine: &'a mut Machine<dyn SavedCard>,
    world: &'a mut World,
    media: &'a mut Media,
}

impl Hands<'_> {
    fn change(&mut self, change: DiscChange) -> Result<()> {
        let name = if self.tray.id.is_empty() { &self.tray.name } else { &self.tray.id };
        match self.machine.change_disc(self.tray.disk, change) {
            Some(Ok(())) => {
                self.moves.extend(self.tray.take_move(self.machine));
                Ok(())
            }
            Some(Err(TrayError::Locked)) => {
                bail!("Device '{name}' is locked and force was not specified, wait for tray to open and try again")
            }
            Some(Err(TrayError::Closed)) => bail!("Tray of device '{name}' is not open"),
            None => bail!("Device '{name}' is gone"),
        }
    }

    fn remove(&mut self) -> Result<()> {
        self.change(DiscChange::Lay(None))?;
        self.world.disks.replace(self.tray.disk, Disk::open(&NOTHING)?);
        if let Some(medium) = self.tray.disc.take() {
            self.media.give_back(medium);
        }
        Ok(())
    }

    fn insert(&mut self, medium: Medium) -> Result<()> {
        let disk = match Disk::open(&Medium { read_only: true, ..medium.clone() }) {
            Ok(disk) => disk,
            Err(error) => {
                self.media.give_back(medium);
                return Err(error);
            }
        };
        self.change(DiscChange::Lay(Some(disk.sectors)))?;
        self.world.disks.replace(self.tray.disk, disk);
        self.tray.disc = Some(medium);
        Ok(())
    }
}
