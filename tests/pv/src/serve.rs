//! Disks in memory for other domains, for as long as this one lives.

use alloc::rc::Rc;

use minios::back::block::{Block, Options, RamDisk};
use minios::back::devices::{self, Leftovers};
use minios::exec::Spawner;
use minios::front::XenDomain;
use minios::xenstore::Xenstore;

/// Serves each disk that the toolstack makes here, all with the same data. `serve=MEBIBYTES` says how much there is.
pub(crate) async fn run(store: &Xenstore, spawner: &Spawner, mebibytes: usize) {
    let medium = Rc::new(RamDisk::new(mebibytes << 11));
    let host = Rc::new(XenDomain);
    log::info!("SERVING {mebibytes} MiB");
    let start = |path: &str| Block::new(host.clone(), store, path, medium.clone(), Options::default()).run();
    if let Err(error) = devices::serve(store.clone(), spawner.clone(), "vbd", Leftovers::Remove, start).await {
        log::error!("no disks: {error}");
    }
}
