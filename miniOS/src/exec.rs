//! A small executor: several things that wait, in one program that never does.
//!
//! An [`Executor`] owns tasks. A task is polled when what it waits for has happened, and only then. What a task can wait
//! for is a signal on a port ([`signal`]), an instant ([`sleep_until`]), another task ([`Task`]), or anything else that
//! keeps a `Waker`. The program's loop feeds it:
//!
//! ```text
//! loop {
//!     executor.run();
//!     event::wait(exec::next_deadline());
//!     event::take_pending(&mut ports);
//!     while let Some(port) = ports.pop() {
//!         exec::signalled(port);
//!     }
//!     exec::expire(clock::now());
//! }
//! ```
//!
//! [`Executor::block_on`] is this loop until one future is done.

use crate::clock::{self, Instant};
use crate::event::{self, PortSet};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use spin::Mutex;
use xen_abi::Port;

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Numbers of tasks that want to be polled. Shared with wakers, which may be kept anywhere.
type ReadyQueue = Arc<Mutex<VecDeque<usize>>>;

/// Tasks, and which of them are ready.
pub struct Executor {
    tasks: Vec<Option<Slot>>,
    spawner: Spawner,
    ready: ReadyQueue,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("tasks", &self.tasks.iter().flatten().count()).finish_non_exhaustive()
    }
}

struct Slot {
    future: TaskFuture,
    wake: Arc<TaskWake>,
}

struct TaskWake {
    task: usize,
    queued: AtomicBool,
    ready: ReadyQueue,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().push_back(self.task);
        }
    }
}

/// Starts tasks from wherever it is cloned to; they begin at the executor's next turn.
#[derive(Clone, Default)]
pub struct Spawner {
    new: Rc<RefCell<Vec<TaskFuture>>>,
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

/// What a task will come to: a future of its result. The task goes on if this is dropped.
#[derive(Debug)]
pub struct Task<T> {
    shared: Rc<RefCell<TaskResult<T>>>,
}

#[derive(Debug)]
struct TaskResult<T> {
    value: Option<T>,
    waiter: Option<Waker>,
}

impl<T> Task<T> {
    /// The result, if it is there and nobody has taken it.
    pub fn take(&self) -> Option<T> {
        self.shared.borrow_mut().value.take()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut shared = self.shared.borrow_mut();
        match shared.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                shared.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Spawner {
    /// Starts a task.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let shared = Rc::new(RefCell::new(TaskResult { value: None, waiter: None }));
        let result = Rc::clone(&shared);
        let whole = async move {
            let value = future.await;
            let mut result = result.borrow_mut();
            result.value = Some(value);
            if let Some(waiter) = result.waiter.take() {
                waiter.wake();
            }
        };
        self.new.borrow_mut().push(Box::pin(whole));
        Task { shared }
    }
}

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: Vec::new(), spawner: Spawner::default(), ready: ReadyQueue::default() }
    }

    /// What starts tasks from elsewhere.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Starts a task.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.spawner.spawn(future)
    }

    /// Polls every task that is ready, until none is.
    pub fn run(&mut self) {
        loop {
            self.adopt();
            let Some(task) = self.ready.lock().pop_front() else { return };
            let Some(slot) = self.tasks.get_mut(task).and_then(Option::as_mut) else { continue };
            // It may be woken while it is polled; then it comes again.
            slot.wake.queued.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&slot.wake));
            if slot.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks[task] = None;
            }
        }
    }

    /// Whether a task is ready, or new.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.spawner.new.borrow().is_empty() || !self.ready.lock().is_empty()
    }

    /// Runs a future, and the tasks beside it, until it is done. Sleeps when there is nothing to do.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut ports = PortSet::new();
        loop {
            if woken.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return value;
            }
            self.run();
            if woken.0.load(Ordering::Relaxed) {
                continue;
            }
            wait_for_events(next_deadline(), &mut ports);
        }
    }

    /// Runs the tasks for ever. After whatever has happened `serve` has a turn, and says when it wants the next one at the
    /// latest.
    pub fn run_with(&mut self, mut serve: impl FnMut(Instant) -> Option<Instant>) -> ! {
        let mut ports = PortSet::new();
        loop {
            self.run();
            let deadline = serve(clock::now());
            // What it has woken comes first.
            let ready = self.is_ready().then(clock::now);
            wait_for_events([deadline, next_deadline(), ready].into_iter().flatten().min(), &mut ports);
        }
    }

    /// Gives new tasks their places.
    fn adopt(&mut self) {
        let mut new = self.spawner.new.borrow_mut();
        for future in new.drain(..) {
            let task = self.tasks.iter().position(Option::is_none).unwrap_or(self.tasks.len());
            let wake = Arc::new(TaskWake { task, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
            wake.wake_by_ref();
            let slot = Some(Slot { future, wake });
            match self.tasks.get_mut(task) {
                Some(place) => *place = slot,
                None => self.tasks.push(slot),
            }
        }
    }
}

/// Sleeps until an event or the deadline, and wakes whoever waits for it.
fn wait_for_events(deadline: Option<Instant>, ports: &mut PortSet) {
    event::wait(deadline);
    event::take_pending(ports);
    while let Some(port) = ports.pop() {
        signalled(port);
    }
    expire(clock::now());
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who waits for a signal, by port; and ports signalled while nobody waited but somebody will.
struct Signals {
    waiters: BTreeMap<Port, Vec<Waker>>,
    counts: BTreeMap<Port, u64>,
}

static SIGNALS: Mutex<Signals> = Mutex::new(Signals { waiters: BTreeMap::new(), counts: BTreeMap::new() });

/// A port was signalled: wakes whoever waits for it. `false`: nobody ever did.
pub fn signalled(port: Port) -> bool {
    let mut signals = SIGNALS.lock();
    let Some(count) = signals.counts.get_mut(&port) else { return false };
    *count += 1;
    let waiters = signals.waiters.remove(&port);
    drop(signals);
    for waker in waiters.into_iter().flatten() {
        waker.wake();
    }
    true
}

/// Signals of a port, none of which is lost between two waits.
#[derive(Debug)]
pub struct Signal {
    port: Port,
    seen: u64,
}

/// Watches a port. Signals count from now on.
#[must_use]
pub fn signal(port: Port) -> Signal {
    let seen = *SIGNALS.lock().counts.entry(port).or_insert(0);
    Signal { port, seen }
}

impl Signal {
    /// Waits for a signal since the last wait, or since the watch began.
    pub async fn wait(&mut self) {
        core::future::poll_fn(|context| self.poll_wait(context)).await;
    }

    /// Whether there was a signal since the last wait; if not, `context` is woken by the next.
    pub fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut signals = SIGNALS.lock();
        let count = signals.counts.get(&self.port).copied().unwrap_or(0);
        if count != self.seen {
            self.seen = count;
            return Poll::Ready(());
        }
        let waiters = signals.waiters.entry(self.port).or_default();
        if !waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
            waiters.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Who waits for an instant; the second part of the key tells equal instants apart.
struct Timers {
    waiters: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

static TIMERS: Mutex<Timers> = Mutex::new(Timers { waiters: BTreeMap::new(), next: 0 });

/// The earliest instant that anybody waits for.
#[must_use]
pub fn next_deadline() -> Option<Instant> {
    TIMERS.lock().waiters.first_key_value().map(|(key, _)| key.0)
}

/// Wakes everybody who waits for an instant up to `now`.
pub fn expire(now: Instant) {
    loop {
        let mut timers = TIMERS.lock();
        let Some(first) = timers.waiters.first_entry() else { return };
        if first.key().0 > now {
            return;
        }
        let waker = first.remove();
        drop(timers);
        waker.wake();
    }
}

/// Waits for an instant.
#[derive(Debug)]
pub struct Sleep {
    until: Instant,
    key: Option<u64>,
}

/// Waits until an instant.
#[must_use]
pub const fn sleep_until(until: Instant) -> Sleep {
    Sleep { until, key: None }
}

/// Waits for some nanoseconds.
#[must_use]
pub fn sleep(nanoseconds: u64) -> Sleep {
    sleep_until(clock::now().after(nanoseconds))
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if clock::now() >= self.until {
            return Poll::Ready(());
        }
        let mut timers = TIMERS.lock();
        let key = *self.key.get_or_insert_with(|| {
            timers.next += 1;
            timers.next
        });
        timers.waiters.insert((self.until, key), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            TIMERS.lock().waiters.remove(&(self.until, key));
        }
    }
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first future.
    First(A),
    /// The second future.
    Second(B),
}

/// Waits for whichever of two futures is done first, and drops the other.
pub async fn first_of<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> Either<A, B> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    core::future::poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(value));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// Waits for a future, but not beyond an instant: `None` then.
pub async fn before<T>(until: Instant, future: impl Future<Output = T>) -> Option<T> {
    match first_of(future, sleep_until(until)).await {
        Either::First(value) => Some(value),
        Either::Second(()) => None,
    }
}

/// Waits for all of some futures, which make progress side by side.
pub async fn join_all<T, F: Future<Output = T>>(futures: impl IntoIterator<Item = F>) -> Vec<T> {
    let mut futures: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut values: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    core::future::poll_fn(|context| {
        for (future, value) in futures.iter_mut().zip(&mut values) {
            if value.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(context)
            {
                *value = Some(done);
            }
        }
        if values.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    values.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn a_task_is_polled_only_when_woken_and_its_result_arrives() {
        let mut executor = Executor::new();
        let polls = Rc::new(Cell::new(0));
        let counter = Rc::clone(&polls);
        let task = executor.spawn(async move {
            let mut signal = signal(Port(7001));
            let mut wait = pin!(signal.wait());
            core::future::poll_fn(|context| {
                counter.set(counter.get() + 1);
                wait.as_mut().poll(context)
            })
            .await;
            42
        });
        executor.run();
        executor.run();
        assert_eq!((polls.get(), task.take()), (1, None));
        assert!(signalled(Port(7001)));
        executor.run();
        assert_eq!((polls.get(), task.take()), (2, Some(42)));
    }

    #[test]
    fn a_signal_between_two_waits_is_not_lost() {
        let mut executor = Executor::new();
        let mut signal = signal(Port(7002));
        signalled(Port(7002));
        signalled(Port(7002));
        let task = executor.spawn(async move {
            signal.wait().await;
            signal.wait().await;
        });
        executor.run();
        assert_eq!(task.take(), None, "two signals merge into one");
        signalled(Port(7002));
        executor.run();
        assert_eq!(task.take(), Some(()));
        assert!(!signalled(Port(7003)), "nobody watches that one");
    }

    #[test]
    fn tasks_start_tasks_and_places_are_used_again() {
        let mut executor = Executor::new();
        let spawner = executor.spawner();
        let task = executor.spawn(async move {
            let inner = spawner.spawn(async { 1 });
            inner.await + 1
        });
        executor.run();
        assert_eq!(task.take(), Some(2));
        for _ in 0..100 {
            executor.spawn(async {});
            executor.run();
        }
        assert!(executor.tasks.len() <= 2);
    }

    #[test]
    fn block_on_runs_the_tasks_beside_it() {
        let mut executor = Executor::new();
        let task = executor.spawn(async { 5 });
        assert_eq!(executor.block_on(task), 5);
        assert_eq!(executor.block_on(join_all((1..=2).map(core::future::ready))), [1, 2]);
    }
}
