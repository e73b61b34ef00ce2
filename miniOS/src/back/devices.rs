//! The devices of a kind that the toolstack makes: `backend/vbd/DOMAIN/NUMBER`.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use log::warn;

use crate::exec::{self, Spawner};
use crate::xenstore::{Xenstore, XenstoreError};

/// Most devices of a kind at a time. Toolstacks are trusted, but they err.
const DEVICES_MAX: usize = 1024;

/// How long a device that is to go away can be seen to be closed, in nanoseconds. libxl fails when it cannot, and when the
/// directory is there for another 10 s.
const LEFT: u64 = 2_000_000_000;

/// Whether a directory is left behind for the toolstack, or removed once its device is to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// The toolstack of this domain removes it.
    Keep,
    /// The toolstack is in another domain and leaves that to us, as libxl does to a driver domain.
    Remove,
}

/// Starts a task for each device of a kind that there is or will be, and another one for a device that is made anew after
/// its task has ended. `start` makes the task of the device at a path. A task that ends when the store does.
pub async fn serve<F: Future<Output = ()> + 'static>(
    store: Xenstore,
    spawner: Spawner,
    kind: &str,
    leftovers: Leftovers,
    mut start: impl FnMut(&str) -> F,
) -> Result<(), XenstoreError> {
    let root = format!("backend/{kind}");
    let mut watch = store.watch(&root).await?;
    let running = Rc::new(RefCell::new(BTreeSet::<String>::new()));
    loop {
        for path in paths(&store, &root).await? {
            let is_full = running.borrow().len() >= DEVICES_MAX;
            if running.borrow().contains(&path) {
                continue;
            }
            // The toolstack may be about to write it, or to have removed it.
            let [frontend, online] = ["frontend", "online"].map(|key| store.read_optional(&format!("{path}/{key}")));
            // A directory that has just been removed cannot be read.
            let (Ok(frontend), Ok(online)) = (frontend.await, online.await) else { continue };
            if frontend.is_none() || online.is_some_and(|online| online.trim() == "0") {
                continue;
            }
            if is_full {
                warn!("{path}: not served, there are {DEVICES_MAX} others");
                continue;
            }
            running.borrow_mut().insert(path.clone());
            let (task, store, running) = (start(&path), store.clone(), running.clone());
            let _task = spawner.spawn(async move {
                task.await;
                if leftovers == Leftovers::Remove {
                    exec::sleep(LEFT).await;
                    // It may be gone already.
                    let _ = store.remove(&path).await;
                }
                running.borrow_mut().remove(&path);
            });
        }
        watch.next().await?;
    }
}

/// The directories of all devices.
async fn paths(store: &Xenstore, root: &str) -> Result<Vec<String>, XenstoreError> {
    let mut found = Vec::new();
    for domain in names(store, root).await? {
        let devices = format!("{root}/{domain}");
        found.extend(names(store, &devices).await?.into_iter().map(|device| format!("{devices}/{device}")));
    }
    Ok(found)
}

async fn names(store: &Xenstore, path: &str) -> Result<Vec<String>, XenstoreError> {
    match store.directory(path).await {
        Err(error) if error.is_absent() || error.is_forbidden() => Ok(Vec::new()),
        names => names,
    }
}
