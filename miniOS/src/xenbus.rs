//! How a frontend finds its backend, agrees with it on a connection, and notices when it goes away.
//!
//! Both ends of a device have a directory in the store with a `state` in it ([`XenbusState`]). The frontend waits until
//! the backend has said what it can do (InitWait), writes where its rings are, becomes Initialised, waits until the
//! backend is Connected, and becomes Connected itself. A backend that goes to Closing or Closed, or whose directory
//! vanishes, ends the connection; when the toolstack did not take the device away, the frontend begins anew. Where it did,
//! it may give us another device of this number, with the same backend or another, and the frontend begins anew then.
//!
//! A domain that was saved and restored has other backends, which know nothing of the connection: it begins anew as well.
//!
//! [`supervise`] is this state machine, once for all kinds of devices; a [`Driver`] is what differs between them. It is
//! a future of the executor, so nothing waits for a slow backend but the device itself.
//!
//! Source: Xen's public/io/xenbus.h and the state diagrams of public/io/blkif.h.
//! Not modelled: Reconfiguring and Reconfigured, which only PCI passthrough uses.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::str::FromStr;
use core::task::{Poll, Waker};
use core::time::Duration;

use log::{info, warn};
use xen_abi::DomId;

use crate::exec::{Either, first_of};
use crate::front::{Platform, Shortage};
use crate::ring::RingFault;
use crate::xenstore::{Watch, Xenstore, XenstoreError};

/// The state of one end of a device, `XenbusState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum XenbusState {
    /// There is no state, or one that we do not know.
    #[default]
    Unknown = 0,
    /// It exists.
    Initialising = 1,
    /// It has written what it can do, and waits for its peer.
    InitWait = 2,
    /// It has written how to connect to it.
    Initialised = 3,
    /// It is connected.
    Connected = 4,
    /// It ends the connection.
    Closing = 5,
    /// The connection has ended.
    Closed = 6,
}

impl XenbusState {
    /// From the text in the store.
    #[must_use]
    pub fn decode(text: &str) -> Self {
        match text.trim() {
            "1" => Self::Initialising,
            "2" => Self::InitWait,
            "3" => Self::Initialised,
            "4" => Self::Connected,
            "5" => Self::Closing,
            "6" => Self::Closed,
            _ => Self::Unknown,
        }
    }

    /// The number in the store.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for XenbusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.number())
    }
}

/// A device could not be connected, or its connection broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    /// The device, `device/vbd/768`.
    pub device: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The store refused something.
    Store(XenstoreError),
    /// The backend did not get where it should in time.
    Deadline {
        /// The state that we waited for.
        wanted: XenbusState,
        /// The last state seen.
        last: XenbusState,
    },
    /// The backend closed while we were connecting.
    Refused(XenbusState),
    /// The backend wrote a value that cannot be right.
    Malformed {
        /// The key in the backend's directory.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// We are short of something.
    Shortage(Shortage),
    /// The backend broke the protocol of the ring.
    Fault(RingFault),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.device)?;
        match &self.problem {
            Problem::Store(error) => write!(f, "{error}"),
            Problem::Deadline { wanted, last } => {
                write!(f, "the backend did not become {wanted} in time; the last state seen is {last}")
            }
            Problem::Refused(state) => write!(f, "the backend refused the connection and went to state {state}"),
            Problem::Malformed { key, value } => write!(f, "the backend's {key} is {value:?}, which cannot be right"),
            Problem::Shortage(shortage) => write!(f, "{shortage}"),
            Problem::Fault(fault) => write!(f, "{fault}"),
        }
    }
}

impl core::error::Error for LinkError {}

/// Our end of one device: where it and its backend are in the store.
#[derive(Debug)]
pub struct Link {
    store: Xenstore,
    path: String,
    backend: String,
    backend_domain: DomId,
    watch: Watch,
}

impl Link {
    /// Finds the backend of the device at `path`, such as `device/vbd/768`, and starts watching it.
    pub async fn open(store: &Xenstore, path: &str) -> Result<Self, LinkError> {
        let failed = |error| LinkError { device: path.to_owned(), problem: Problem::Store(error) };
        let (backend, domain) =
            (store.read(&format!("{path}/backend")), store.read_number(&format!("{path}/backend-id")));
        let (backend, backend_domain) = (backend.await.map_err(failed)?, DomId(domain.await.map_err(failed)?));
        let watch = store.watch(&format!("{backend}/state")).await.map_err(failed)?;
        Ok(Self { store: store.clone(), path: path.to_owned(), backend, backend_domain, watch })
    }

    /// The device's directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The backend's directory.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The domain of the backend.
    #[must_use]
    pub const fn backend_domain(&self) -> DomId {
        self.backend_domain
    }

    /// The error of this device that says `problem`.
    #[must_use]
    pub fn error(&self, problem: Problem) -> LinkError {
        LinkError { device: self.path.clone(), problem }
    }

    /// Reads a value of the backend, if it is there. The request is sent at once.
    pub fn backend_value<T: FromStr>(
        &self,
        key: &'static str,
    ) -> impl Future<Output = Result<Option<T>, LinkError>> + use<T> {
        let (device, value) = (self.path.clone(), self.store.read_optional(&format!("{}/{key}", self.backend)));
        async move {
            let failed = |problem| LinkError { device: device.clone(), problem };
            let Some(value) = value.await.map_err(|error| failed(Problem::Store(error)))? else { return Ok(None) };
            value.trim().parse().map(Some).map_err(|_| failed(Problem::Malformed { key, value: value.clone() }))
        }
    }

    /// Reads a flag of the backend. What is not there is off.
    pub fn backend_flag(&self, key: &'static str) -> impl Future<Output = Result<bool, LinkError>> + use<> {
        let value = self.backend_value::<u32>(key);
        async move { Ok(value.await?.is_some_and(|value| value != 0)) }
    }

    /// Reads a value of our own directory, if it is there.
    pub fn own_value(&self, key: &str) -> impl Future<Output = Result<Option<String>, LinkError>> + use<> {
        let (device, value) = (self.path.clone(), self.store.read_optional(&format!("{}/{key}", self.path)));
        async move { value.await.map_err(|error| LinkError { device, problem: Problem::Store(error) }) }
    }

    /// The backend's state now.
    pub async fn backend_state(&self) -> Result<XenbusState, LinkError> {
        let state = self.store.read_optional(&format!("{}/state", self.backend)).await;
        let state = state.map_err(|error| self.error(Problem::Store(error)))?;
        Ok(state.map_or(XenbusState::Unknown, |text| XenbusState::decode(&text)))
    }

    /// Whether the toolstack has removed the device's directory.
    async fn is_removed(&self) -> Result<bool, LinkError> {
        Ok(self.own_value("state").await?.is_none())
    }

    /// Whether the backend is to go away for good. Without its directory there is nothing to come back.
    async fn is_offline(&self) -> Result<bool, LinkError> {
        let online = self.store.read_optional(&format!("{}/online", self.backend)).await;
        let online = online.map_err(|error| self.error(Problem::Store(error)))?;
        Ok(online.is_none_or(|online| online.trim() == "0"))
    }

    /// Waits until the backend's state was written, and reads it.
    pub async fn backend_changed(&mut self) -> Result<XenbusState, LinkError> {
        let changed = self.watch.next().await;
        changed.map_err(|error| self.error(Problem::Store(error)))?;
        self.backend_state().await
    }

    /// Writes `keys` to our directory, and then our state.
    ///
    /// The daemon takes our requests in order and the backend looks when the state changes, so no transaction is needed,
    /// which would fail whenever the toolstack writes something at the same time.
    pub async fn publish(&self, keys: &[(String, String)], state: XenbusState) -> Result<(), LinkError> {
        let write = |(key, value): &(String, String)| self.store.write(&format!("{}/{key}", self.path), value);
        let writes: Vec<_> = keys.iter().map(write).collect();
        let state = self.set_state(state);
        for write in writes {
            write.await.map_err(|error| self.error(Problem::Store(error)))?;
        }
        state.await
    }

    /// Writes our state.
    pub fn set_state(&self, state: XenbusState) -> impl Future<Output = Result<(), LinkError>> + use<'_> {
        let written = self.store.write(&format!("{}/state", self.path), &state.number().to_string());
        async move { written.await.map_err(|error| self.error(Problem::Store(error))) }
    }

    /// Waits until the backend uses nothing of ours any more.
    async fn let_go(&mut self) -> Result<(), LinkError> {
        let mut state = self.backend_state().await?;
        while matches!(state, XenbusState::Initialised | XenbusState::Connected | XenbusState::Closing) {
            state = self.backend_changed().await?;
        }
        Ok(())
    }

    /// Leaves a message where the toolstack's users look for errors of a device.
    async fn leave_message(store: &Xenstore, path: &str, message: &str) {
        // Nothing can be done about a message that cannot be left.
        let _ = store.write(&format!("error/{path}/error"), message).await;
    }
}

/// What differs between kinds of devices.
pub trait Driver {
    /// How long to wait for the backend to say what it can do, where one that does not say it can be used as well.
    ///
    /// QEMU from 9.1 on forgets to say it of `vfb` and `vkbd` when it was started with `-vga xenfb`, and waits for us;
    /// Linux' frontends of both do not wait at all.
    const GRACE: Option<Duration> = None;

    /// What we become once our keys are written. Linux' netback connects to frontends that are Connected, and to no others.
    const ANNOUNCED: XenbusState = XenbusState::Initialised;

    /// The toolstack says what the backend is, which need not have started yet.
    fn found(&self, link: &Link) -> impl Future<Output = Result<(), LinkError>> {
        let _ = link;
        async { Ok(()) }
    }

    /// The backend can do what its directory says: prepares a connection, and says what the backend has to know.
    fn prepare(&self, link: &Link) -> impl Future<Output = Result<Vec<(String, String)>, LinkError>>;

    /// The backend is connected: the device is up once this is done.
    fn connected(&self, link: &Link) -> impl Future<Output = Result<(), LinkError>>;

    /// The backend wrote its state once more while connected, which says that some of its values changed.
    fn changed(&self, link: &Link) -> impl Future<Output = Result<(), LinkError>> {
        let _ = link;
        async { Ok(()) }
    }

    /// The connection has ended: fails what is under way. Also called when there was none yet.
    fn disconnected(&self);

    /// The backend has let go, or takes too long to: takes back what was shared.
    fn release(&self);
}

/// A future behind a pointer.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A [`Driver`] behind a pointer.
trait AnyDriver {
    fn grace(&self) -> Option<Duration>;
    fn announced(&self) -> XenbusState;
    fn found<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<(), LinkError>>;
    fn prepare<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<Vec<(String, String)>, LinkError>>;
    fn connected<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<(), LinkError>>;
    fn changed<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<(), LinkError>>;
    fn disconnected(&self);
    fn release(&self);
}

impl<D: Driver> AnyDriver for D {
    fn grace(&self) -> Option<Duration> {
        D::GRACE
    }

    fn announced(&self) -> XenbusState {
        D::ANNOUNCED
    }

    fn found<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<(), LinkError>> {
        Box::pin(Driver::found(self, link))
    }

    fn prepare<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<Vec<(String, String)>, LinkError>> {
        Box::pin(Driver::prepare(self, link))
    }

    fn connected<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<(), LinkError>> {
        Box::pin(Driver::connected(self, link))
    }

    fn changed<'a>(&'a self, link: &'a Link) -> Boxed<'a, Result<(), LinkError>> {
        Box::pin(Driver::changed(self, link))
    }

    fn disconnected(&self) {
        Driver::disconnected(self);
    }

    fn release(&self) {
        Driver::release(self);
    }
}

/// The part of a [`Platform`] that waits, behind a pointer.
trait Sleep {
    fn sleep(&self, duration: Duration) -> Boxed<'_, ()>;
}

impl<P: Platform> Sleep for P {
    fn sleep(&self, duration: Duration) -> Boxed<'_, ()> {
        Box::pin(Platform::sleep(self, duration))
    }
}

/// Where a device stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waiting for the backend, for the first time or again.
    Connecting,
    /// Up.
    Connected,
    /// The backend went away; it may come back.
    Lost,
    /// The toolstack took the device away; it may give us another one of this number.
    Removed,
    /// Closed by us.
    Closed,
    /// It cannot be used.
    Failed(LinkError),
}

impl Status {
    const fn is_final(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed(_))
    }
}

/// What a device's user and its [`supervise`] task share.
#[derive(Clone, Debug)]
pub struct Session(Rc<RefCell<SessionState>>);

#[derive(Debug)]
struct SessionState {
    status: Status,
    /// Why the connection should end, said by our side.
    end: Option<End>,
    wakers: Vec<Waker>,
}

/// Why our side ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Fault(RingFault),
}

impl Default for Session {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(SessionState { status: Status::Connecting, end: None, wakers: Vec::new() })))
    }
}

impl Session {
    /// Where the device stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.borrow().status.clone()
    }

    /// Whether the device is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.borrow().status == Status::Connected
    }

    /// Waits until the device is up, or was taken away, or never will be.
    pub async fn ready(&self) -> Result<(), Status> {
        self.wait(|state| match &state.status {
            Status::Connected => Some(Ok(())),
            Status::Connecting | Status::Lost => None,
            status => Some(Err(status.clone())),
        })
        .await
    }

    /// Waits until the device stands elsewhere than at `known`, and says where.
    pub async fn moved(&self, known: &Status) -> Status {
        self.wait(|state| (state.status != *known).then(|| state.status.clone())).await
    }

    /// Ends the connection for good, politely.
    pub async fn close(&self) {
        self.end(End::Closed);
        self.wait(|state| state.status.is_final().then_some(())).await;
    }

    /// Ends the connection because the backend broke the ring's protocol.
    pub(crate) fn fault(&self, fault: RingFault) {
        self.end(End::Fault(fault));
    }

    fn end(&self, end: End) {
        let mut state = self.0.borrow_mut();
        state.end.get_or_insert(end);
        Self::wake(state);
    }

    fn set(&self, status: Status) {
        let mut state = self.0.borrow_mut();
        state.status = status;
        Self::wake(state);
    }

    fn wake(mut state: core::cell::RefMut<'_, SessionState>) {
        let wakers = core::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn wait<T>(&self, mut look: impl FnMut(&SessionState) -> Option<T>) -> T {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            if let Some(value) = look(&state) {
                return Poll::Ready(value);
            }
            if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                state.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// What a connection attempt came to.
enum Outcome {
    /// The backend went away.
    Lost,
    /// We went away: this is another domain, whose backends have never heard of us.
    Moved,
    /// The toolstack takes the device away.
    Removed,
    /// Our side closed it.
    Closed,
}

/// How long a backend may take to let go of a connection that has ended.
const LETTING_GO: Duration = Duration::from_secs(5);

/// Keeps one device connected until it is closed or broken. `patience` is how long the backend may take
/// for each step of the first connection; later, and without it, it may take as long as it wants.
pub async fn supervise(
    platform: &impl Platform,
    store: &Xenstore,
    path: &str,
    driver: &impl Driver,
    session: &Session,
    patience: Option<Duration>,
) {
    keep_connected(platform, store, path, driver, session, patience).await;
}

/// What [`supervise`] does. It is there once for all kinds of devices: as code, it is the largest part of them.
async fn keep_connected(
    platform: &dyn Sleep,
    store: &Xenstore,
    path: &str,
    driver: &dyn AnyDriver,
    session: &Session,
    mut patience: Option<Duration>,
) {
    loop {
        let mut link = None;
        let life = live_once(platform, store, path, driver, session, patience, &mut link);
        let outcome = match first_of(store.moved(), life).await {
            Either::First(()) => Ok(Outcome::Moved),
            Either::Second(outcome) => outcome,
        };
        driver.disconnected();
        let status = match outcome {
            Ok(Outcome::Moved) => {
                driver.release();
                patience = None;
                session.set(Status::Lost);
                continue;
            }
            Ok(Outcome::Lost) => {
                warn!("{path}: the backend closed the connection");
                Status::Lost
            }
            Ok(Outcome::Removed) => Status::Removed,
            Ok(Outcome::Closed) => Status::Closed,
            Err(error) => {
                warn!("{error}");
                Link::leave_message(store, path, &error.to_string()).await;
                Status::Failed(error)
            }
        };
        // A directory that the toolstack has removed is as closed as it gets, and must not be made anew.
        let state = format!("{path}/state");
        if store.read_optional(&state).await.is_ok_and(|state| state.is_some()) {
            let _ = store.write(&state, &XenbusState::Closed.number().to_string()).await;
        }
        if status == Status::Lost {
            session.set(Status::Lost);
        }
        if let Some(link) = &mut link {
            // Whatever this comes to, the connection is over.
            let _ = first_of(link.let_go(), platform.sleep(LETTING_GO)).await;
        }
        driver.release();
        patience = None;
        if status == Status::Lost {
            let _ = store.write(&state, &XenbusState::Initialising.number().to_string()).await;
            continue;
        }
        info!("{path}: {}", if status == Status::Removed { "taken away" } else { "closed" });
        let is_removed = status == Status::Removed;
        session.set(status);
        if !is_removed {
            return;
        }
        match ended_or(session, given_anew(platform, store, path)).await {
            Ok(Ok(())) => session.set(Status::Connecting),
            Ok(Err(error)) => {
                let error = LinkError { device: path.to_owned(), problem: Problem::Store(error) };
                warn!("{error}");
                return session.set(Status::Failed(error));
            }
            Err(_) => return session.set(Status::Closed),
        }
    }
}

/// How long libxl may take to see a backend that waits for us.
const SEEING: Duration = Duration::from_secs(1);

/// Waits until the toolstack gives us a device at `path`, and is through with it: libxl gives a device up when it does not see
/// its backend in InitWait, which we would end. After that it runs a script, whose result is in the backend's directory.
async fn given_anew(platform: &dyn Sleep, store: &Xenstore, path: &str) -> Result<(), XenstoreError> {
    let state = format!("{path}/state");
    let mut watch = store.watch(&state).await?;
    loop {
        let text = store.read_optional(&state).await?;
        if text.is_some_and(|text| XenbusState::decode(&text) == XenbusState::Initialising) {
            break;
        }
        watch.next().await?;
    }
    let Some(backend) = store.read_optional(&format!("{path}/backend")).await? else { return Ok(()) };
    let script = format!("{backend}/hotplug-status");
    let mut watch = store.watch(&script).await?;
    let ended = async {
        loop {
            match store.read_optional(&script).await {
                Ok(Some(_)) => return Ok(()),
                // It may not have given us the backend's directory yet.
                Err(error) if !error.is_forbidden() => return Err(error),
                Ok(None) | Err(_) => watch.next().await?,
            };
        }
    };
    match first_of(ended, platform.sleep(SEEING)).await {
        Either::First(result) => result,
        Either::Second(()) => Ok(()),
    }
}

/// One connection, from finding the backend to losing it.
async fn live_once(
    platform: &dyn Sleep,
    store: &Xenstore,
    path: &str,
    driver: &dyn AnyDriver,
    session: &Session,
    patience: Option<Duration>,
    link: &mut Option<Link>,
) -> Result<Outcome, LinkError> {
    let link = match Link::open(store, path).await {
        // The toolstack took away a device that we had before.
        Err(LinkError { problem: Problem::Store(error), .. }) if patience.is_none() && error.is_absent() => {
            return Ok(Outcome::Removed);
        }
        opened => link.insert(opened?),
    };
    driver.found(link).await?;
    let offered = [XenbusState::InitWait, XenbusState::Initialised, XenbusState::Connected];
    let step = Step { platform, session, patience, wanted: XenbusState::InitWait };
    let first = Step { patience: driver.grace().or(patience), ..step };
    match first.wait(link, |state| offered.contains(&state), |_| false).await {
        Ok(Reached::Ended) => return Ok(Outcome::Closed),
        Ok(Reached::Removed) => return Ok(Outcome::Removed),
        Ok(Reached::Wanted) => {}
        Err(LinkError { problem: Problem::Deadline { last: XenbusState::Initialising, .. }, .. })
            if driver.grace().is_some() => {}
        Err(error) => return Err(error),
    }
    let keys = driver.prepare(link).await?;
    link.publish(&keys, driver.announced()).await?;
    let gone = |state| matches!(state, XenbusState::Unknown | XenbusState::Closing | XenbusState::Closed);
    let step = Step { wanted: XenbusState::Connected, ..step };
    match step.wait(link, |state| state == XenbusState::Connected, gone).await? {
        Reached::Wanted => {}
        Reached::Ended => return Ok(Outcome::Closed),
        Reached::Removed => return Ok(Outcome::Removed),
    }
    driver.connected(link).await?;
    link.set_state(XenbusState::Connected).await?;
    info!("{path}: connected to {} of domain {}", link.backend(), link.backend_domain().0);
    session.set(Status::Connected);
    loop {
        match ended_or(session, link.backend_changed()).await {
            Err(End::Closed) => return Ok(Outcome::Closed),
            Err(End::Fault(fault)) => return Err(link.error(Problem::Fault(fault))),
            Ok(state) => match state? {
                XenbusState::Connected => driver.changed(link).await?,
                XenbusState::Closing | XenbusState::Closed | XenbusState::Unknown => break,
                XenbusState::Initialising | XenbusState::InitWait | XenbusState::Initialised => break,
            },
        }
    }
    // A backend that is merely restarted stays online.
    Ok(if link.is_offline().await? { Outcome::Removed } else { Outcome::Lost })
}

/// One wait of the handshake.
#[derive(Clone, Copy)]
struct Step<'a> {
    platform: &'a dyn Sleep,
    session: &'a Session,
    patience: Option<Duration>,
    wanted: XenbusState,
}

enum Reached {
    Wanted,
    /// Our side ended the connection.
    Ended,
    /// The toolstack took the device away.
    Removed,
}

impl Step<'_> {
    /// Waits until the backend is in a state that is `good`, unless it gets into one that is `bad` or takes too long.
    async fn wait(
        &self,
        link: &mut Link,
        good: impl Fn(XenbusState) -> bool,
        bad: impl Fn(XenbusState) -> bool,
    ) -> Result<Reached, LinkError> {
        let mut last = link.backend_state().await?;
        let device = link.path().to_owned();
        let waited = async {
            while !good(last) {
                let ends = matches!(last, XenbusState::Closing | XenbusState::Closed) && link.is_offline().await?;
                if ends || last == XenbusState::Unknown && link.is_removed().await? {
                    return Ok(Reached::Removed);
                }
                if bad(last) {
                    return Err(link.error(Problem::Refused(last)));
                }
                last = link.backend_changed().await?;
            }
            Ok(Reached::Wanted)
        };
        let patient = async {
            match self.patience {
                Some(patience) => self.platform.sleep(patience).await,
                None => core::future::pending().await,
            }
        };
        match ended_or(self.session, first_of(waited, patient)).await {
            Ok(Either::First(result)) => result,
            Ok(Either::Second(())) => {
                Err(LinkError { device, problem: Problem::Deadline { wanted: self.wanted, last } })
            }
            Err(End::Closed) => Ok(Reached::Ended),
            Err(End::Fault(fault)) => Err(LinkError { device, problem: Problem::Fault(fault) }),
        }
    }
}

/// Runs `future` unless our side ends the connection first.
async fn ended_or<T>(session: &Session, future: impl Future<Output = T>) -> Result<T, End> {
    match first_of(session.wait(|state| state.end), future).await {
        Either::First(end) => Err(end),
        Either::Second(value) => Ok(value),
    }
}

/// The directories of the devices of one kind that the toolstack gave this domain, such as `device/vbd/768` and
/// `device/vbd/5632` for `vbd`, in the order of their numbers.
pub async fn devices(store: &Xenstore, kind: &str) -> Result<Vec<String>, XenstoreError> {
    let mut names = match store.directory(&format!("device/{kind}")).await {
        Err(error) if error.is_absent() => Vec::new(),
        names => names?,
    };
    names.sort_by_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
    Ok(names.into_iter().map(|name| format!("device/{kind}/{name}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenstore::fake::FakeDaemon;

    #[test]
    fn devices_come_in_numerical_order() {
        let (mut daemon, store) = FakeDaemon::new();
        assert_eq!(daemon.run(&store, devices(&store, "vbd")).unwrap(), [""; 0]);
        for number in ["5632", "768", "51712"] {
            daemon.set(&format!("device/vbd/{number}/state"), "1");
        }
        assert_eq!(
            daemon.run(&store, devices(&store, "vbd")).unwrap(),
            ["device/vbd/768", "device/vbd/5632", "device/vbd/51712"]
        );
    }

    /// xenbus.h: the states are 0 to 8; what we do not know is no state.
    #[test]
    fn states_are_single_digits() {
        for number in 1..=6 {
            assert_eq!(XenbusState::decode(&number.to_string()).number(), number);
        }
        for odd in ["", "0", "7", "8", "44", "x", "-1"] {
            assert_eq!(XenbusState::decode(odd), XenbusState::Unknown, "{odd}");
        }
        assert_eq!(XenbusState::InitWait.to_string(), "InitWait (2)");
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let (mut daemon, store) = FakeDaemon::new();
        let error = daemon.run(&store, Link::open(&store, "device/vbd/1")).unwrap_err();
        assert_eq!(error.to_string(), "device/vbd/1: xenstore: cannot read device/vbd/1/backend: ENOENT");
        daemon.set("device/vbd/1/backend", "/local/domain/0/backend/vbd/7/1");
        daemon.set("device/vbd/1/backend-id", "70000");
        let error = daemon.run(&store, Link::open(&store, "device/vbd/1")).unwrap_err();
        assert!(error.to_string().ends_with("its value \"70000\" is malformed"), "{error}");
    }
}
