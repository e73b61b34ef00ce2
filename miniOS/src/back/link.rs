//! How a backend finds its frontend, agrees with it on a connection, and notices when it goes away.
//!
//! The other side of [`crate::xenbus`]. The backend says in its directory what it can do and becomes InitWait; once the
//! frontend has said where its rings are and is Initialised (or Connected, which network frontends become at once), the
//! backend takes them up and becomes Connected. It serves them until the frontend is Closed or gone, and becomes Closed
//! then. A frontend that is Initialising after that gets another connection; a new kernel in the same domain does that.
//! The toolstack takes a device away by removing the directory, or by writing 0 to `online` and then waiting until the
//! backend is Closed.
//!
//! The backend's state is written in a transaction that looks whether the directory is still there: a write would make it
//! anew, and the toolstack would find a device that nobody has asked for.
//!
//! Source: Xen's public/io/xenbus.h and public/io/blkif.h (state diagrams); xen-blkback and xen-netback of Linux.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

use log::{info, warn};
use xen_abi::{DomId, GrantRef};

use super::Problem;
use crate::exec::{Either, first_of};
use crate::xenbus::XenbusState;
use crate::xenstore::{Watch, Xenstore};

/// A device of ours: where it and its frontend are in the store.
#[derive(Debug)]
pub struct Link {
    store: Xenstore,
    path: String,
    frontend: String,
    peer: DomId,
    /// The frontend's state.
    state: Watch,
    /// `online` of ours.
    online: Watch,
}

impl Link {
    /// Finds the frontend of the device at `path`, such as `backend/vbd/3/768`, and starts watching it.
    pub async fn open(store: &Xenstore, path: &str) -> Result<Self, Problem> {
        let frontend = store.read(&format!("{path}/frontend")).await?;
        let peer = DomId(store.read_number(&format!("{path}/frontend-id")).await?);
        let state = store.watch(&format!("{frontend}/state")).await?;
        let online = store.watch(&format!("{path}/online")).await?;
        Ok(Self { store: store.clone(), path: path.to_owned(), frontend, peer, state, online })
    }

    /// The device's directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The domain that the device is for.
    #[must_use]
    pub const fn peer(&self) -> DomId {
        self.peer
    }

    /// Reads a value, if it is there and may be read: of a directory that was removed, xenstored may say either to a driver
    /// domain. What is no text is as good as any other text that makes no sense.
    async fn read(&self, path: &str) -> Result<Option<String>, Problem> {
        match self.store.read_bytes(path).await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.is_absent() || error.is_forbidden() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a value of our own directory, which the toolstack writes, if it is there.
    pub async fn own_value(&self, key: &str) -> Result<Option<String>, Problem> {
        self.read(&format!("{}/{key}", self.path)).await
    }

    /// Reads a value of the frontend, if it is there.
    pub async fn text(&self, key: &str) -> Result<Option<String>, Problem> {
        self.read(&format!("{}/{key}", self.frontend)).await
    }

    /// Reads a number of the frontend, if it is there.
    pub async fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, Problem> {
        let Some(value) = self.text(key).await? else { return Ok(None) };
        let malformed = || Problem::Malformed { key: key.to_owned(), value: value.clone() };
        value.trim().parse().map(Some).map_err(|_| malformed())
    }

    /// Reads a number that the frontend has to have written.
    pub async fn required<T: FromStr>(&self, key: &str) -> Result<T, Problem> {
        let missing = || Problem::Malformed { key: key.to_owned(), value: String::new() };
        self.number(key).await?.ok_or_else(missing)
    }

    /// Reads a flag of the frontend. What is not there is off.
    pub async fn flag(&self, key: &str) -> Result<bool, Problem> {
        Ok(self.number::<u32>(key).await?.is_some_and(|value| value != 0))
    }

    /// Reads the name of a grant that the frontend has to have written.
    pub async fn grant(&self, key: &str) -> Result<GrantRef, Problem> {
        self.required(key).await.map(GrantRef)
    }

    /// Refuses a frontend that wants several queues, which were not offered.
    pub(super) async fn refuse_queues(&self) -> Result<(), Problem> {
        let key = "multi-queue-num-queues";
        match self.number::<u32>(key).await? {
            None | Some(1) => Ok(()),
            Some(queues) => Err(Problem::Unsupported { key: key.to_owned(), value: queues.to_string() }),
        }
    }

    /// The frontend's state now.
    pub async fn frontend_state(&self) -> Result<XenbusState, Problem> {
        let state = self.text("state").await?;
        Ok(state.map_or(XenbusState::Unknown, |text| XenbusState::decode(&text)))
    }

    /// Whether the toolstack still wants the device; `None`: it has removed it.
    async fn is_online(&self) -> Result<Option<bool>, Problem> {
        let online = self.own_value("online").await?;
        match online {
            Some(online) => Ok(Some(online.trim() != "0")),
            // Not every toolstack writes it.
            None => {
                let frontend = self.own_value("frontend").await?;
                Ok(frontend.map(|_| true))
            }
        }
    }

    /// Writes keys and our state, if the device is still there. `false`: it is not.
    async fn publish(&self, keys: &[(String, String)], state: XenbusState) -> Result<bool, Problem> {
        let there = format!("{}/frontend", self.path);
        let done = self.store.transaction(async |store| {
            match store.read_bytes(&there).await {
                Err(error) if error.is_absent() || error.is_forbidden() => return Ok(false),
                there => there?,
            };
            for (key, value) in keys {
                store.write(&format!("{}/{key}", self.path), value).await?;
            }
            store.write(&format!("{}/state", self.path), &state.number().to_string()).await?;
            Ok(true)
        });
        Ok(done.await?)
    }

    /// Waits until the frontend is in a state that is `wanted`. `None`: the device was removed, or is to be and
    /// `is_offline_enough`.
    async fn wait(
        &mut self,
        is_offline_enough: bool,
        wanted: impl Fn(XenbusState) -> bool,
    ) -> Result<Option<XenbusState>, Problem> {
        loop {
            match self.is_online().await? {
                None => return Ok(None),
                Some(false) if is_offline_enough => return Ok(None),
                Some(_) => {}
            }
            let state = self.frontend_state().await?;
            if wanted(state) {
                return Ok(Some(state));
            }
            match first_of(self.state.next(), self.online.next()).await {
                Either::First(changed) | Either::Second(changed) => changed?,
            };
        }
    }
}

/// Keys of a directory and their values.
pub type Keys = Vec<(String, String)>;

/// What differs between kinds of devices.
pub trait Service {
    /// A connection with a frontend, all that it has shared with us.
    type Connection;

    /// What we can do, as keys of our directory.
    fn offer(&self) -> Keys;

    /// Whether a frontend in this state has said where its rings are.
    fn is_ready(state: XenbusState) -> bool;

    /// Takes up what the frontend shares, and says what it has to know of us.
    fn connect(&self, link: &Link) -> impl Future<Output = Result<(Self::Connection, Keys), Problem>>;

    /// Serves the frontend for as long as it keeps to the protocol. Dropped when it goes away.
    fn serve(&self, connection: &mut Self::Connection) -> impl Future<Output = Problem>;

    /// Ends what is under way: nothing of this connection happens after it.
    fn finish(&self, connection: Self::Connection) -> impl Future<Output = ()>;
}

/// Problems and connections of one device that are logged: a frontend can make as many as it likes.
const LOGGED_MAX: u32 = 20;

/// Serves a device until the toolstack takes it away.
pub(super) async fn supervise<S: Service>(store: &Xenstore, path: &str, service: &S) {
    let mut link = match Link::open(store, path).await {
        Ok(link) => link,
        Err(problem) => return warn!("{path}: {problem}"),
    };
    for round in 0_u32.. {
        let is_logged = round < LOGGED_MAX;
        let mut ended = serve_once(&mut link, service, is_logged).await;
        if let Err(problem) = &ended {
            if is_logged {
                warn!("{path}: domain {}: {problem}", link.peer.0);
            }
            // Nothing can be done about a message that cannot be left.
            let place = format!("error/{}/error", path.trim_start_matches('/'));
            let _ = store.write(&place, &problem.to_string()).await;
        }
        if !matches!(ended, Ok(End::Removed) | Err(Problem::Store(_))) {
            ended = close(&mut link).await;
        }
        match ended {
            Ok(End::Closed) => {}
            Ok(End::Removed) => return info!("{path}: removed"),
            Err(_) => return,
        }
    }
}

/// How a connection has ended.
enum End {
    /// The frontend has closed it, and may want another one.
    Closed,
    /// There will be no other.
    Removed,
}

/// One connection.
async fn serve_once<S: Service>(link: &mut Link, service: &S, is_logged: bool) -> Result<End, Problem> {
    if !link.publish(&service.offer(), XenbusState::InitWait).await? {
        return Ok(End::Removed);
    }
    if link.wait(true, S::is_ready).await?.is_none() {
        return Ok(End::Closed);
    }
    let (mut connection, keys) = service.connect(link).await?;
    if !link.publish(&keys, XenbusState::Connected).await? {
        service.finish(connection).await;
        return Ok(End::Removed);
    }
    if is_logged {
        info!("{}: connected to domain {}", link.path, link.peer.0);
    }
    let ended = {
        let gone = async {
            let is_going = |state| !matches!(state, XenbusState::Initialised | XenbusState::Connected);
            if link.wait(false, is_going).await? == Some(XenbusState::Closing)
                && link.publish(&[], XenbusState::Closing).await?
            {
                // What it has asked for it still gets.
                link.wait(false, |state| is_going(state) && state != XenbusState::Closing).await?;
            }
            Ok(End::Closed)
        };
        match first_of(gone, service.serve(&mut connection)).await {
            Either::First(gone) => gone,
            Either::Second(problem) => Err(problem),
        }
    };
    service.finish(connection).await;
    ended
}

/// Says that the connection has ended, and waits until the frontend wants another one.
async fn close(link: &mut Link) -> Result<End, Problem> {
    for state in [XenbusState::Closing, XenbusState::Closed] {
        if !link.publish(&[], state).await? {
            return Ok(End::Removed);
        }
    }
    // One that has not noticed yet is Connected still.
    let again = link.wait(true, |state| state == XenbusState::Initialising).await?;
    Ok(again.map_or(End::Removed, |_| End::Closed))
}
