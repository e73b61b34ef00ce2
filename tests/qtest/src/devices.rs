//! `-device`: which there are, and what can be said of them.

use anyhow::{Context, Result, bail, ensure};
use devmodel::machine::VgaModel;
use devmodel::pci::Location;
use devmodel::usb::UsbDevice;

use crate::cards;
use crate::command_line::VIDEO_DEFAULT;
use crate::options::Options;
use crate::plan::{CardPlan, UsbDisk};

/// A device.
#[derive(Debug)]
pub(crate) enum Device {
    /// An IDE drive.
    Ide(Ide),
    /// A graphics card with so many bytes of video memory.
    Vga(VgaModel, u32),
    /// What plugs into the USB controller, and its name.
    Usb(String, UsbDevice),
    /// The same, of a disk.
    UsbDisk(UsbDisk),
    /// A serial port with the chardev of this id.
    Serial(String),
    /// A card, and the id of its network.
    Card(CardPlan, Option<String>),
}

/// An IDE drive, before it is known what is in it.
#[derive(Debug)]
pub(crate) struct Ide {
    /// The option, for messages.
    pub(crate) text: String,
    /// What a person calls it.
    pub(crate) id: String,
    /// It is a CD drive.
    pub(crate) cd: bool,
    /// Its medium's id.
    pub(crate) drive: Option<String>,
    /// Its channel or port.
    pub(crate) bus: Option<String>,
    /// Master or slave.
    pub(crate) unit: Option<u8>,
    /// Serial number.
    pub(crate) serial: String,
    /// Model.
    pub(crate) model: String,
    /// Revision of its firmware.
    pub(crate) firmware: String,
}

/// Names of all devices, for who asks.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ["ide-hd", "ide-cd", "VGA", "cirrus-vga", "isa-serial", "usb-tablet", "usb-mouse", "usb-kbd", "usb-storage"]
        .into_iter()
        .chain(cards::DRIVERS.iter().copied())
}

/// Reads one.
pub(crate) fn parse(mut options: Options) -> Result<Device> {
    let text = options.text().to_owned();
    let driver = options.take("driver").unwrap_or_default();
    let device = match driver.as_str() {
        "ide-hd" | "ide-cd" => Device::Ide(ide(&text, driver == "ide-cd", &mut options)?),
        "VGA" | "cirrus-vga" => {
            options.ignore(&["id", "bus", "addr", "edid", "xres", "yres", "global-vmstate"]);
            let default = u64::from(VIDEO_DEFAULT >> 20);
            let size = options.take_number("vgamem_mb")?.unwrap_or(default);
            let size = u32::try_from(size).ok().filter(|size| (1..=256).contains(size));
            let size = size.with_context(|| format!("\"{text}\": vgamem_mb is 1 to 256"))?;
            let bytes = size.next_power_of_two() << 20;
            if driver == "VGA" {
                Device::Vga(VgaModel::Std, bytes)
            } else {
                Device::Vga(VgaModel::Cirrus, bytes.clamp(4 << 20, 16 << 20))
            }
        }
        "usb-tablet" | "usb-mouse" | "usb-kbd" => {
            options.ignore(&["bus", "port", "usb_version", "display", "serial"]);
            let id = options.take("id").unwrap_or_default();
            let device = usb_device(&driver);
            Device::Usb(id, device.with_context(|| format!("\"{text}\" is not supported"))?)
        }
        "usb-storage" => {
            options.ignore(&["bus", "port", "bootindex", "write-cache", "share-rw"]);
            let drive = options.take("drive").with_context(|| format!("\"{text}\" needs a drive"))?;
            ensure!(options.take_bool("removable")? != Some(true), "\"{text}\": a disk stays in its device");
            let [id, serial] = ["id", "serial"].map(|key| options.take(key).unwrap_or_default());
            Device::UsbDisk(UsbDisk { id, drive, serial })
        }
        "isa-serial" => {
            options.ignore(&["id", "index"]);
            Device::Serial(options.take("chardev").with_context(|| format!("\"{text}\" needs a chardev"))?)
        }
        name if cards::DRIVERS.contains(&name) => {
            let place = options
                .take("addr")
                .map(|addr| location(&addr))
                .map(|place| place.with_context(|| format!("\"{text}\": no such addr")));
            let netdev = options.take("netdev");
            // Whoever makes the card reads the rest.
            return Ok(Device::Card(CardPlan { driver, place: place.transpose()?, network: None, options }, netdev));
        }
        name => bail!("\"{text}\": the device {name} is not supported"),
    };
    options.finish()?;
    Ok(device)
}

/// A USB device for people by QEMU's name of it.
fn usb_device(driver: &str) -> Option<UsbDevice> {
    Some(match driver {
        "usb-tablet" => UsbDevice::Tablet,
        "usb-mouse" => UsbDevice::Mouse,
        "usb-kbd" => UsbDevice::Keyboard,
        _ => return None,
    })
}

fn ide(text: &str, cd: bool, options: &mut Options) -> Result<Ide> {
    options.ignore(&["bootindex", "write-cache", "werror", "rerror", "share-rw"]);
    options.ignore(&["physical_block_size", "logical_block_size", "discard_granularity"]);
    let bus = options.take("bus");
    let unit = match options.take_number("unit")? {
        None => None,
        Some(0) => Some(0),
        Some(1) => Some(1),
        Some(unit) => bail!("\"{text}\": there is no unit {unit}"),
    };
    let [serial, model, firmware] = ["serial", "model", "ver"].map(|key| options.take(key).unwrap_or_default());
    let id = options.take("id").unwrap_or_default();
    Ok(Ide { text: text.to_owned(), id, cd, drive: options.take("drive"), bus, unit, serial, model, firmware })
}

/// `SLOT` or `SLOT.FUNCTION`, hexadecimal.
fn location(addr: &str) -> Option<Location> {
    let (slot, function) = addr.split_once('.').unwrap_or((addr, "0"));
    let slot = u8::from_str_radix(slot.strip_prefix("0x").unwrap_or(slot), 16).ok().filter(|slot| *slot < 32)?;
    let function = function.parse().ok().filter(|function| *function < 8)?;
    Some(Location { slot, function })
}
