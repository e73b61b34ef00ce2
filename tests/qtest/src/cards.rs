//! The devices that plug into the PCI bus, by QEMU's names.
//!
//! To add one: a line in [`DRIVERS`] and an arm of [`make`].

use anyhow::{Result, bail};
use devmodel::card::Card;
use devmodel::host::NicId;

use crate::plan::CardPlan;

/// The names of the devices that [`make`] knows.
pub(crate) const DRIVERS: &[&str] = &[];

/// Makes a card. Its network, if it has one, is `nic`.
pub(crate) fn make(plan: &CardPlan, _nic: Option<NicId>) -> Result<Box<dyn Card>> {
    bail!("\"{}\": there is no device \"{}\" here", plan.options.text(), plan.driver)
}
