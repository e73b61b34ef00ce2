//! Disks in memory and a network for other domains, for as long as this one lives.

use alloc::rc::Rc;

use minios::back::block::{Block, Options, RamDisk};
use minios::back::devices::{self, Leftovers};
use minios::back::hub::Hub;
use minios::back::net::Net;
use minios::exec::{Either, Spawner, first_of};
use minios::front::XenDomain;
use minios::xenstore::Xenstore;

/// Serves each disk that the toolstack makes here, all with the same data, and joins all network interfaces to one network.
/// `serve=MEBIBYTES` says how much data there is.
pub(crate) async fn run(store: &Xenstore, spawner: &Spawner, mebibytes: usize) {
    let medium = Rc::new(RamDisk::new(mebibytes << 11));
    let host = Rc::new(XenDomain);
    let hub = Hub::default();
    log::info!("SERVING {mebibytes} MiB");
    let disk = |path: &str| Block::new(host.clone(), store, path, medium.clone(), Options::default()).run();
    let net = |path: &str| Net::new(host.clone(), store, path, hub.attach()).run();
    let disks = devices::serve(store.clone(), spawner.clone(), "vbd", Leftovers::Remove, disk);
    let nets = devices::serve(store.clone(), spawner.clone(), "vif", Leftovers::Remove, net);
    // Both end with the store, and not before.
    let (Either::First(ended) | Either::Second(ended)) = first_of(disks, nets).await;
    log::error!("no devices any more: {ended:?}");
}
