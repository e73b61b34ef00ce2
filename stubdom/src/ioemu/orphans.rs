//! Devices that the toolstack gives to the guest for a device model in domain 0 to serve: with a stub domain nobody does.

use alloc::format;
use log::{debug, info};
use minios::DomId;
use minios::xenstore::{Xenstore, XenstoreError};

/// More than a guest ever has.
const MOST: usize = 16;
/// XenbusStateInitialising of public/io/xenbus.h: the backend has not looked at its device.
const INITIALISING: &str = "1";

/// Takes paravirtual keyboards that have no backend away from the guest, whose kernel would wait for them (protocol.md, §11).
pub(super) async fn take_away(store: Xenstore, guest: DomId) {
    if let Err(error) = take_keyboards_away(&store, guest).await {
        debug!("the guest's paravirtual keyboards stay as they are: {error}");
    }
}

async fn take_keyboards_away(store: &Xenstore, guest: DomId) -> Result<(), XenstoreError> {
    let directory = format!("/local/domain/{}/device/vkbd", guest.0);
    let numbers = match store.directory(&directory).await {
        Err(error) if error.is_absent() => return Ok(()),
        numbers => numbers?,
    };
    for number in numbers.iter().take(MOST) {
        let frontend = format!("{directory}/{number}");
        let backend = store.read(&format!("{frontend}/backend")).await?;
        if store.read(&format!("{backend}/state")).await? == INITIALISING {
            store.remove(&frontend).await?;
            info!("{frontend}: taken away, nobody serves it");
        }
    }
    Ok(())
}
