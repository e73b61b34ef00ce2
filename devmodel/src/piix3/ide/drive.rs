//! A drive of either kind, as its channel sees it.

use super::cd::{self, CdDrive};
use super::disk::{AtaDisk, Wiring};
use super::registers::Registers;
use crate::ata::command::Command;
use crate::host::{DiskError, DiskHost, DiskId, GuestAddr, GuestMemory, Unmapped};
use crate::machine::{DiscChange, DriveConfig, TrayError};
use crate::state::{Adopt, StateError};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Drive {
    Disk(AtaDisk),
    Cd(Box<CdDrive>),
}

/// Does the same with either kind.
macro_rules! either {
    ($drive:expr, $either:ident => $action:expr) => {
        match $drive {
            Drive::Disk($either) => $action,
            Drive::Cd($either) => $action,
        }
    };
}

impl Adopt for Drive {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        match (self, saved) {
            (Self::Disk(disk), Self::Disk(saved)) => disk.adopt(saved),
            (Self::Cd(cd), Self::Cd(saved)) => cd.adopt(saved),
            _ => Err(StateError::OtherMachine),
        }
    }
}

impl Drive {
    /// A drive after power on. `alone` says that no other drive is on the channel.
    pub(super) fn new(config: DriveConfig, unit: u8, alone: bool) -> Self {
        match config {
            DriveConfig::Disk(config) => Self::Disk(AtaDisk::new(config, unit, alone)),
            DriveConfig::Cd(config) => Self::Cd(Box::new(CdDrive::new(config, unit, alone))),
        }
    }

    /// What the host calls the disk, or the disc that is in it.
    pub(super) const fn id(&self) -> DiskId {
        either!(self, drive => drive.id())
    }

    /// See [`SavedCard::tray_open`](crate::card::SavedCard::tray_open).
    pub(super) fn tray_open(&self) -> Option<bool> {
        match self {
            Self::Disk(_) => None,
            Self::Cd(cd) => Some(cd.tray_open()),
        }
    }

    /// See [`Card::change_disc`](crate::card::Card::change_disc).
    pub(super) fn change_disc(&mut self, change: DiscChange) -> Option<Result<(), TrayError>> {
        match self {
            Self::Disk(_) => None,
            Self::Cd(cd) => Some(cd.change_disc(change)),
        }
    }

    /// What the registers `mid` and `high` say after a reset: which kind of drive this is (ATA/ATAPI-6, 9.12).
    pub(super) const fn signature(&self) -> (u8, u8) {
        match self {
            Self::Disk(_) => (0, 0),
            Self::Cd(_) => cd::SIGNATURE,
        }
    }

    /// Whether the host is at work.
    pub(super) fn awaits_disk(&self) -> bool {
        either!(self, drive => drive.awaits_disk())
    }

    pub(super) fn reset(&mut self) {
        either!(self, drive => drive.reset());
    }

    pub(super) fn software_reset(&mut self) {
        either!(self, drive => drive.software_reset());
    }

    pub(super) const fn status(&self) -> u8 {
        either!(self, drive => drive.status())
    }

    pub(super) const fn is_occupied(&self) -> bool {
        either!(self, drive => drive.is_occupied())
    }

    pub(super) const fn interrupt(&self) -> bool {
        either!(self, drive => drive.interrupt())
    }

    pub(super) fn acknowledge(&mut self) {
        either!(self, drive => drive.acknowledge());
    }

    pub(super) fn raise_interrupt(&mut self) {
        either!(self, drive => drive.raise_interrupt());
    }

    pub(super) fn command<H: DiskHost + GuestMemory>(&mut self, command: Command, wiring: &mut Wiring<'_, H>) {
        either!(self, drive => drive.command(command, wiring));
    }

    pub(super) fn run_bus_master<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        either!(self, drive => drive.run_bus_master(wiring));
    }

    pub(super) fn bus_master_stopped(&mut self, registers: &mut Registers) {
        either!(self, drive => drive.bus_master_stopped(registers));
    }

    /// Where the bytes are that the data register moves now, and how many, if that is in the asked direction.
    pub(super) const fn data(&self, to_drive: bool) -> Option<(usize, usize)> {
        either!(self, drive => drive.data(to_drive))
    }

    /// What of the transfer buffer belongs to the drive's state.
    pub(super) fn buffer<H: DiskHost>(&self, host: &mut H) -> Vec<u8> {
        let id = self.id();
        let mut data = vec![0; either!(self, drive => drive.buffered()).min(host.disk_buffer_len(id))];
        host.disk_buffer_read(id, 0, &mut data);
        data
    }

    /// Puts that back.
    pub(super) fn set_buffer<H: DiskHost>(&self, host: &mut H, data: &[u8]) {
        if !data.is_empty() {
            host.disk_buffer_write(self.id(), 0, data);
        }
    }

    /// Reads what [`Self::data`] told of.
    pub(super) fn read_data<H: DiskHost>(&self, host: &mut H, offset: usize, data: &mut [u8]) {
        match self {
            Self::Disk(disk) => host.disk_buffer_read(disk.id(), offset, data),
            Self::Cd(cd) => cd.read_data(host, offset, data),
        }
    }

    /// Writes what [`Self::data`] told of.
    pub(super) fn write_data<H: DiskHost>(&mut self, host: &mut H, offset: usize, data: &[u8]) {
        match self {
            Self::Disk(disk) => host.disk_buffer_write(disk.id(), offset, data),
            Self::Cd(cd) => cd.write_data(offset, data),
        }
    }

    /// Copies what [`Self::data`] told of to guest memory.
    pub(super) fn data_to_guest<H: DiskHost + GuestMemory>(
        &self,
        host: &mut H,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        match self {
            Self::Disk(disk) => host.disk_buffer_to_guest(disk.id(), offset, addr, len),
            Self::Cd(cd) => cd.to_guest(host, offset, addr, len),
        }
    }

    /// Copies guest memory to where [`Self::data`] told of.
    pub(super) fn data_from_guest<H: DiskHost + GuestMemory>(
        &mut self,
        host: &mut H,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        match self {
            Self::Disk(disk) => host.disk_buffer_from_guest(disk.id(), offset, addr, len),
            Self::Cd(cd) => {
                let mut packet = [0; crate::ata::packet::PACKET_LEN];
                let bytes = packet.get_mut(..len).unwrap_or_default();
                host.read(addr, bytes)?;
                cd.write_data(offset, bytes);
                Ok(())
            }
        }
    }

    pub(super) fn data_moved<H: DiskHost + GuestMemory>(&mut self, len: usize, wiring: &mut Wiring<'_, H>) {
        either!(self, drive => drive.data_moved(len, wiring));
    }

    pub(super) fn complete<H: DiskHost + GuestMemory>(
        &mut self,
        result: Result<(), DiskError>,
        wiring: &mut Wiring<'_, H>,
    ) {
        either!(self, drive => drive.complete(result, wiring));
    }
}
