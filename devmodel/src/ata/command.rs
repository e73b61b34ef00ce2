//! The commands of ATA drives: from the byte in the command register to what it means.
//!
//! Source: ATA/ATAPI-6, chapter 8, and ATA-3 for the opcodes that it dropped.

use serde::{Deserialize, Serialize};

/// Whether a command's registers are one byte deep or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Depth {
    /// 28-bit addresses, 8-bit counts.
    Short,
    /// 48-bit addresses, 16-bit counts.
    Extended,
}

/// How the data of a command gets to or from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Transport {
    /// Through the data register, one sector for each interrupt.
    Pio,
    /// Through the data register, as many sectors for each interrupt as SET MULTIPLE MODE said.
    PioMultiple,
    /// By the bus master.
    Dma,
    /// Not at all: the sectors are only checked.
    Verify,
}

/// A command of an ATA drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// RECALIBRATE and SEEK: succeeds if the address exists.
    Seek {
        /// Whether the registers hold an address.
        addressed: bool,
    },
    Read {
        depth: Depth,
        transport: Transport,
    },
    Write {
        depth: Depth,
        transport: Transport,
        /// The data is durable before the command ends.
        force_unit_access: bool,
    },
    ReadNativeMax(Depth),
    ExecuteDeviceDiagnostic,
    InitializeDeviceParameters,
    Smart,
    SetMultipleMode,
    /// STANDBY, SLEEP and their immediate forms.
    Standby,
    /// IDLE and its immediate form.
    Idle,
    CheckPowerMode,
    FlushCache,
    /// With TRIM, the only thing that it can do.
    DataSetManagement,
    IdentifyDevice,
    SetFeatures,
    /// A disk aborts this one and the next, by which drivers find out that it is no CD drive.
    Packet,
    IdentifyPacketDevice,
    /// Everything else, NOP among it: ends with ABRT. DEVICE RESET, which CD drives obey, is no command like others.
    Unknown,
}

impl Command {
    pub(crate) const fn decode(opcode: u8) -> Self {
        use Depth::{Extended, Short};
        use Transport::{Dma, Pio, PioMultiple, Verify};
        const fn read(depth: Depth, transport: Transport) -> Command {
            Command::Read { depth, transport }
        }
        const fn write(depth: Depth, transport: Transport) -> Command {
            Command::Write { depth, transport, force_unit_access: false }
        }
        match opcode {
            0x10..=0x1f => Self::Seek { addressed: false },
            0x70..=0x7f => Self::Seek { addressed: true },
            0x20 | 0x21 => read(Short, Pio),
            0x24 => read(Extended, Pio),
            0x25 => read(Extended, Dma),
            0x29 => read(Extended, PioMultiple),
            0xc4 => read(Short, PioMultiple),
            0xc8 | 0xc9 => read(Short, Dma),
            0x40 | 0x41 => read(Short, Verify),
            0x42 => read(Extended, Verify),
            // 0x3c is WRITE VERIFY: a write that fails is reported anyway.
            0x30 | 0x31 | 0x3c => write(Short, Pio),
            0x34 => write(Extended, Pio),
            0x35 => write(Extended, Dma),
            0x39 => write(Extended, PioMultiple),
            0xc5 => write(Short, PioMultiple),
            0xca | 0xcb => write(Short, Dma),
            0x3d => Self::Write { depth: Extended, transport: Dma, force_unit_access: true },
            0xce => Self::Write { depth: Extended, transport: PioMultiple, force_unit_access: true },
            0xf8 => Self::ReadNativeMax(Short),
            0x27 => Self::ReadNativeMax(Extended),
            0x90 => Self::ExecuteDeviceDiagnostic,
            0x91 => Self::InitializeDeviceParameters,
            0xb0 => Self::Smart,
            0xc6 => Self::SetMultipleMode,
            0xe0 | 0xe2 | 0xe6 | 0x94 | 0x96 | 0x99 => Self::Standby,
            0xe1 | 0xe3 | 0x95 | 0x97 => Self::Idle,
            0xe5 | 0x98 => Self::CheckPowerMode,
            0xe7 | 0xea => Self::FlushCache,
            0x06 => Self::DataSetManagement,
            0xec => Self::IdentifyDevice,
            0xef => Self::SetFeatures,
            0xa0 => Self::Packet,
            0xa1 => Self::IdentifyPacketDevice,
            _ => Self::Unknown,
        }
    }
}
