//! Console 0: where the log and the last words go.
//!
//! What does not fit the ring waits in a backlog of [`BACKLOG_LEN`] bytes, which is sent on when the daemon has taken
//! something; [`crate::event::take_pending`] sees to that. What does not fit the backlog either is dropped, and a line
//! tells how much, so logging never waits for anybody. [`drain`] does wait, since it comes before the end.
//!
//! A QEMU from 9.0 on that serves this console reads its ring only when the store says that somebody is there, as for any
//! frontend: [`announce`].
//!
//! The control domain has no console 0: what it writes goes to Xen's own.
//!
//! Source: Xen's public/io/console.h. Input is read by [`read`].

use crate::front::console::{INPUT, OUTPUT};
use crate::hypercall::{console_io, event as event_ops, sched};
use crate::ring::{ByteReceiver, ByteSender};
use crate::shared::SharedBytes;
use crate::xenstore::{Xenstore, XenstoreError};
use crate::{clock, event};
use core::fmt::{self, Write};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use spin::Mutex;
use xen_abi::Port;
use xen_abi::io::console as abi;

/// Bytes that wait at most.
pub const BACKLOG_LEN: usize = 8192;
/// How long [`drain`] waits for a daemon that takes nothing, in nanoseconds.
const DRAIN_PATIENCE: u64 = 1_000_000_000;
/// How often it looks, in nanoseconds.
const DRAIN_INTERVAL: u64 = 2_000_000;

struct Console {
    page: SharedBytes,
    port: Port,
    sender: ByteSender,
    receiver: ByteReceiver,
    backlog: Backlog,
    /// Who waits for input.
    reader: Option<Waker>,
}

/// Bytes that wait for room in the ring.
struct Backlog {
    bytes: [u8; BACKLOG_LEN],
    first: usize,
    len: usize,
    /// Bytes that found no room since the last report.
    dropped: usize,
}

impl Backlog {
    const fn new() -> Self {
        Self { bytes: [0; BACKLOG_LEN], first: 0, len: 0, dropped: 0 }
    }

    fn push(&mut self, data: &[u8]) {
        let kept = data.len().min(BACKLOG_LEN - self.len);
        for &byte in &data[..kept] {
            self.bytes[(self.first + self.len) % BACKLOG_LEN] = byte;
            self.len += 1;
        }
        self.dropped += data.len() - kept;
    }

    /// The longest run of waiting bytes that lies in one piece.
    fn front(&self) -> &[u8] {
        &self.bytes[self.first..(self.first + self.len).min(BACKLOG_LEN)]
    }

    fn remove(&mut self, count: usize) {
        self.first = (self.first + count) % BACKLOG_LEN;
        self.len -= count;
    }
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

/// Takes up the console.
pub(crate) fn begin(page: SharedBytes, port: Port) {
    let sender = ByteSender::new(OUTPUT, &page);
    let receiver = ByteReceiver::new(INPUT, &page);
    *CONSOLE.lock() = Some(Console { page, port, sender, receiver, backlog: Backlog::new(), reader: None });
}

impl Console {
    fn write(&mut self, data: &[u8]) {
        self.send_backlog();
        let sent = if self.backlog.len == 0 { self.sender.send(&self.page, data).unwrap_or(0) } else { 0 };
        self.backlog.push(&data[sent..]);
        self.notify();
        self.watch();
    }

    fn send_backlog(&mut self) -> bool {
        let before = self.backlog.len;
        loop {
            // A ring that makes no sense takes nothing.
            let sent = self.sender.send(&self.page, self.backlog.front()).unwrap_or(0);
            self.backlog.remove(sent);
            if sent == 0 || self.backlog.len == 0 {
                break;
            }
        }
        if self.backlog.dropped > 0 && self.backlog.len == 0 {
            let mut line = heapless::String::<64>::new();
            let _: fmt::Result = write!(line, "[{} bytes of log were dropped here]\r\n", self.backlog.dropped);
            self.backlog.dropped = 0;
            self.backlog.push(line.as_bytes());
        }
        self.backlog.len != before
    }

    fn notify(&self) {
        // The daemon may be gone; then nobody reads.
        let _: Result<(), _> = event_ops::send(self.port);
    }

    /// Asks for the daemon's signals while there is something to send on or somebody reads, and only then.
    fn watch(&self) {
        if self.backlog.len > 0 || self.reader.is_some() { event::unmask(self.port) } else { event::mask(self.port) }
    }
}

/// Where the daemon looks for us.
const STATE: &str = "console/state";
/// `XenbusStateInitialising` of public/io/xenbus.h, as the store has it.
const INITIALISING: &str = "1";
/// `XenbusStateConnected`.
const CONNECTED: &str = "4";

/// Says that somebody writes to this console, now and whenever a daemon has made the device anew: it may come later than we.
/// Where the daemon is another one, the key is not ours, and nothing happens. A task without an end.
pub async fn announce(store: Xenstore) {
    // Refused or disconnected: then nobody looks there either.
    let _: Result<(), XenstoreError> = keep_announced(&store).await;
}

async fn keep_announced(store: &Xenstore) -> Result<(), XenstoreError> {
    let mut changes = store.watch(STATE).await?;
    loop {
        changes.next().await?;
        if store.read_optional(STATE).await?.as_deref() == Some(INITIALISING) {
            store.write(STATE, CONNECTED).await?;
        }
    }
}

/// Writes to the console, each line feed as carriage return and line feed.
pub fn write(text: &str) {
    let Some(mut console) = CONSOLE.try_lock() else { return };
    match console.as_mut() {
        Some(console) => write_lines(text, |piece| console.write(piece)),
        // The control domain has no other one; who else has none is refused, and not heard.
        None => write_lines(text, |piece| {
            let _: Result<(), _> = console_io::write(piece);
        }),
    }
}

fn write_lines(text: &str, mut write: impl FnMut(&[u8])) {
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                write(line.as_bytes());
                write(b"\r\n");
            }
            None => write(line.as_bytes()),
        }
    }
}

/// Waits until something was typed, and reads up to the length of `data` of it. Says how much that was.
///
/// One task reads. Without a console there is never anything.
pub async fn read(data: &mut [u8]) -> usize {
    poll_fn(|context| {
        let mut console = CONSOLE.lock();
        let Some(console) = console.as_mut() else { return Poll::Pending };
        let Console { page, receiver, .. } = console;
        let count = receiver.receive(page, data).unwrap_or(0);
        console.reader = (count == 0).then(|| context.waker().clone());
        console.watch();
        if count == 0 {
            return Poll::Pending;
        }
        console.notify();
        Poll::Ready(count)
    })
    .await
}

/// The toolstack has given us another port to the console, in the same page.
pub(crate) fn resumed(port: Port) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.port = port;
        console.notify();
        console.watch();
    }
}

/// Our port, for those who dispatch events.
pub(crate) fn port() -> Option<Port> {
    CONSOLE.try_lock()?.as_ref().map(|console| console.port)
}

/// The daemon has signalled: sends on what waits.
pub(crate) fn signalled() {
    if let Some(mut console) = CONSOLE.try_lock()
        && let Some(console) = console.as_mut()
    {
        if console.send_backlog() {
            console.notify();
        }
        if let Some(reader) = console.reader.take() {
            reader.wake();
        }
        console.watch();
    }
}

/// Whether the daemon has taken everything.
#[must_use]
pub fn is_drained() -> bool {
    let console = CONSOLE.lock();
    let Some(console) = console.as_ref() else { return true };
    console.backlog.len == 0 && console.sender.is_drained(&console.page).unwrap_or(true)
}

/// Waits until the daemon has taken everything, or has taken nothing for a second.
pub fn drain() {
    let Some(mut console) = CONSOLE.try_lock() else { return };
    let Some(console) = console.as_mut() else { return };
    let mut room = usize::MAX;
    let mut patience = clock::system_time().saturating_add(DRAIN_PATIENCE);
    loop {
        if console.send_backlog() {
            console.notify();
        }
        let Ok(now_room) = console.sender.room(&console.page) else { return };
        if console.backlog.len == 0 && now_room == abi::OUT_LEN {
            return;
        }
        let now = clock::system_time();
        if now_room != room {
            room = now_room;
            patience = now.saturating_add(DRAIN_PATIENCE);
        }
        if now >= patience || sched::poll(&[], now.saturating_add(DRAIN_INTERVAL)).is_err() {
            return;
        }
    }
}

/// Writes where everything else may be broken, as far as the console is not in use at this very moment.
pub(crate) struct Emergency;

impl Write for Emergency {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::fake::Bench;
    use std::vec::Vec;

    #[test]
    fn a_daemon_that_comes_late_is_told_as_well() {
        let mut bench = Bench::new("console", 0);
        let store = bench.store.clone();
        bench.start(announce(store));
        assert_eq!(bench.daemon.get(STATE), None);
        for (said, answer) in [(INITIALISING, CONNECTED), (INITIALISING, CONNECTED), ("5", "5")] {
            bench.daemon.set(STATE, said);
            bench.settle();
            assert_eq!(bench.daemon.get(STATE).as_deref(), Some(answer));
        }
    }

    #[test]
    fn line_feeds_get_carriage_returns() {
        let mut out = Vec::new();
        write_lines("a\n\nb", |piece| out.extend_from_slice(piece));
        assert_eq!(out, b"a\r\n\r\nb");
    }

    #[test]
    fn what_waits_comes_out_in_order_and_what_does_not_fit_is_counted() {
        let mut backlog = Backlog::new();
        backlog.push(&[1; 100]);
        backlog.remove(60);
        backlog.push(&[2; BACKLOG_LEN]);
        assert_eq!(backlog.dropped, 40);
        let mut out = Vec::new();
        while backlog.len > 0 {
            let count = backlog.front().len();
            out.extend_from_slice(backlog.front());
            backlog.remove(count);
        }
        assert_eq!(out.iter().filter(|&&byte| byte == 1).count(), 40);
        assert_eq!(out.len(), BACKLOG_LEN);
        assert!(out.is_sorted());
    }
}
