//! The devices that plug into the PCI bus, by QEMU's names.
//!
//! To add one: a line in [`DRIVERS`] and an arm of [`make`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use devmodel::ahci::{Ahci, PORTS};
use devmodel::card::SavedCard;
use devmodel::e1000::E1000;
use devmodel::host::NicId;
use devmodel::machine::DriveConfig;
use devmodel::rtl8139::Rtl8139;
use devmodel::usb::{Storage, Uhci, UsbDevice};

use crate::options::Options;
use crate::plan::CardPlan;

/// The names of the devices that [`make`] knows.
pub(crate) const DRIVERS: &[&str] = &["e1000", "e1000-82540em", "rtl8139", "piix3-usb-uhci", "ahci", "ich9-ahci"];

/// Where iPXE is, if it is installed.
const IPXE: &str = "/usr/lib/ipxe/qemu";
/// What a card without a network has: nobody is there.
const NOWHERE: NicId = NicId(u8::MAX);
/// The address of QEMU's first card; the last byte rises with each card.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// What else is there, for the card that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// The devices on the USB controller.
    pub(crate) usb: Vec<UsbDevice>,
    /// The drives on the AHCI controller.
    pub(crate) sata: [Option<DriveConfig>; PORTS],
}

/// Whether this is the AHCI controller.
pub(crate) fn is_ahci(driver: &str) -> bool {
    matches!(driver, "ahci" | "ich9-ahci")
}

/// Makes the card with this number among all. Its network, if it has one, is `nic`.
pub(crate) fn make(plan: &CardPlan, number: u8, nic: Option<NicId>, parts: &mut Parts) -> Result<Box<dyn SavedCard>> {
    let mut options = plan.options.clone();
    let card: Box<dyn SavedCard> = match plan.driver.as_str() {
        "e1000" | "e1000-82540em" => {
            let (mac, rom) = network_card(&mut options, number, "pxe-e1000.rom")?;
            Box::new(E1000::new(nic.unwrap_or(NOWHERE), mac, rom))
        }
        "rtl8139" => {
            let (mac, rom) = network_card(&mut options, number, "pxe-rtl8139.rom")?;
            Box::new(Rtl8139::new(nic.unwrap_or(NOWHERE), mac, rom))
        }
        "piix3-usb-uhci" => {
            options.ignore(&["id", "bus"]);
            Box::new(Uhci::<Storage>::taking(std::mem::take(&mut parts.usb)))
        }
        driver if is_ahci(driver) => {
            options.ignore(&["bus"]);
            Box::new(Ahci::new(std::mem::take(&mut parts.sata)))
        }
        driver => bail!("\"{}\": there is no device \"{driver}\" here", plan.options.text()),
    };
    options.finish()?;
    Ok(card)
}

/// What network cards are told: the Ethernet address, and the ROM.
fn network_card(options: &mut Options, number: u8, rom: &str) -> Result<([u8; 6], Vec<u8>)> {
    options.ignore(&["id", "bus", "bootindex", "mitigation", "extra_mac_registers", "vectors"]);
    let text = options.text().to_owned();
    let [a, b, c, d, e, last] = MAC;
    let mac = match options.take("mac") {
        Some(mac) => parse_mac(&mac).with_context(|| format!("\"{text}\": {mac} is no Ethernet address"))?,
        None => [a, b, c, d, e, last.wrapping_add(number)],
    };
    let rom = match options.take("romfile") {
        Some(path) if path.is_empty() => Vec::new(),
        Some(path) => fs::read(&path).with_context(|| format!("\"{text}\": cannot read {path}"))?,
        None => fs::read(Path::new(IPXE).join(rom)).unwrap_or_default(),
    };
    Ok((mac, rom))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<_>> = text.split([':', '-']).map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn addresses_have_six_bytes() {
        assert_eq!(parse_mac("52:54:00:12:34:57"), Some([0x52, 0x54, 0, 0x12, 0x34, 0x57]));
        assert_eq!(parse_mac("52:54:00:12:34"), None);
        assert_eq!(parse_mac("52:54:00:12:34:zz"), None);
    }
}
