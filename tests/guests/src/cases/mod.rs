//! The cases. Each prints its checks itself, so that one may hold several.

pub(crate) mod bench;
pub(crate) mod boots;
pub(crate) mod cpus;
pub(crate) mod disk;
pub(crate) mod dma;
pub(crate) mod endless;
pub(crate) mod fuzz;
pub(crate) mod input;
pub(crate) mod platform;
pub(crate) mod screen;

use crate::report::Report;

/// A case: its name on the command line, and what it does.
#[derive(Debug)]
pub(crate) struct Case {
    /// Name on the command line.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&mut Report),
}

/// Every case. The README says what each needs on the command line.
pub(crate) const CASES: &[Case] = &[
    Case { name: "identify", run: disk::identify },
    Case { name: "pio", run: disk::pio },
    Case { name: "lba48-end", run: disk::lba48_end },
    Case { name: "flush", run: disk::flush },
    Case { name: "disks", run: disk::disks },
    Case { name: "read-only", run: disk::read_only },
    Case { name: "persist", run: disk::persist },
    Case { name: "verify", run: disk::verify },
    Case { name: "ata-errors", run: disk::errors },
    Case { name: "dma", run: dma::transfers },
    Case { name: "dma-errors", run: dma::errors },
    Case { name: "disk-interrupt", run: dma::interrupt },
    Case { name: "echo", run: input::echo },
    Case { name: "keyboard", run: input::keyboard },
    Case { name: "mouse", run: input::mouse },
    Case { name: "text", run: screen::text },
    Case { name: "vbe", run: screen::vbe },
    Case { name: "flash", run: screen::flash },
    Case { name: "vbe-banked", run: screen::vbe_banked },
    Case { name: "noise", run: screen::noise },
    Case { name: "mode-13h", run: screen::mode_13h },
    Case { name: "mode-12h", run: screen::mode_12h },
    Case { name: "pci-list", run: platform::pci_list },
    Case { name: "pci-bars", run: platform::pci_bars },
    Case { name: "fw-cfg", run: platform::fw_cfg },
    Case { name: "cmos", run: platform::cmos },
    Case { name: "uart", run: platform::uart },
    Case { name: "timer", run: platform::timer },
    Case { name: "reboots", run: boots::reboots },
    Case { name: "cpus", run: cpus::cpus },
    Case { name: "fuzz", run: fuzz::fuzz },
    Case { name: "busy", run: endless::busy },
    Case { name: "idle", run: endless::idle },
    Case { name: "bench", run: bench::bench },
];
