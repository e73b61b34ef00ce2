//! Disks and network interfaces of domains, on the virtio devices of the machine.
//!
//! A disk is the virtio disk whose serial number is the last part of `target=`. All interfaces, and the machine's cards, are on one
//! network.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;

use log::{info, warn};
use minios::back::block::{Block, Medium as _, Options};
use minios::back::devices::{self, Leftovers};
use minios::back::hub::{self, Hub};
use minios::back::net::Net;
use minios::back::{Host as _, XenDomain};
use minios::exec::Spawner;
use minios::virtio::{self, Disk};
use minios::xenstore::Xenstore;

/// The disks of the machine, by name.
type Disks = Rc<BTreeMap<String, Rc<Disk>>>;

/// Starts what there is.
pub(crate) async fn begin(store: &Xenstore, spawner: &Spawner) -> Result<(), String> {
    let found = virtio::find().map_err(|error| format!("the devices of the machine: {error}"))?;
    let host = Rc::new(XenDomain);
    let mut disks = BTreeMap::new();
    for disk in found.disks {
        let looked_after = disk.clone();
        spawner.spawn(async move { looked_after.run(None).await });
        let name = disk.serial().await;
        info!("disk {name:?}: {} MiB", disk.geometry().sectors >> 11);
        if disks.insert(name.clone(), disk).is_some() {
            warn!("disk {name:?}: there are several of this name");
        }
    }
    let hub = Hub::default();
    for card in found.cards {
        let (looked_after, port, host) = (card.clone(), hub.attach(), host.clone());
        spawner.spawn(async move { looked_after.run(None).await });
        spawner.spawn(async move { hub::join(&port, &*card, async || host.pause().await).await });
    }
    let disks: Disks = Rc::new(disks);
    let (of_disk, of_net) = ((store.clone(), host.clone()), (store.clone(), host));
    let serve_disk = move |path: &str| serve_disk(of_disk.clone(), disks.clone(), path.into());
    let serve_net = move |path: &str| Net::new(of_net.1.clone(), &of_net.0, path, hub.attach()).run();
    let (vbd, vif) = (store.clone(), store.clone());
    let (of_vbd, of_vif) = (spawner.clone(), spawner.clone());
    spawner.spawn(async move { devices::serve(vbd, of_vbd, "vbd", Leftovers::Keep, serve_disk).await });
    spawner.spawn(async move { devices::serve(vif, of_vif, "vif", Leftovers::Keep, serve_net).await });
    Ok(())
}

async fn serve_disk((store, host): (Xenstore, Rc<XenDomain>), disks: Disks, path: String) {
    let target = store.read(&format!("{path}/params")).await.unwrap_or_default();
    let mode = store.read(&format!("{path}/mode")).await.unwrap_or_default();
    let name = target.rsplit('/').next().unwrap_or_default();
    // As much of a name as a serial number has room for.
    let found = disks.iter().find(|(serial, _)| !serial.is_empty() && name.starts_with(serial.as_str()));
    let Some((_, disk)) = found else { return warn!("{path}: the machine has no disk {name:?}") };
    let options = Options { is_read_only: mode != "w", ..Options::default() };
    Block::new(host, &store, &path, disk.clone(), options).run().await;
}
