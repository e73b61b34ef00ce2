//! Where bytes come from and go to: sockets, files, standard input and output.
//!
//! Each connection has a thread that reads and sends what it has read to the loop. Writes are made where they arise,
//! and wait for a peer that does not read, as QEMU's do. A peer that is gone loses what is written to it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context, Result};

use crate::plan::{Address, Endpoint, Socket};

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The client that plays the CPU.
    Qtest,
    /// A client of QMP.
    Monitor(usize),
    /// The other end of a serial port.
    Serial(usize),
    /// The other end of a network.
    Network(usize),
    /// Who reads the firmware's log.
    DebugPort,
    /// The machine in whose place ours goes on.
    Incoming,
}

/// What happens outside.
pub(crate) enum Event {
    /// A peer is there.
    Connected(Source, Output),
    /// It sent something.
    Received(Source, Vec<u8>),
    /// It is gone; `last` says that no other can come.
    Closed {
        /// Who it was.
        source: Source,
        /// Nobody can come any more.
        last: bool,
    },
    /// The program was told to end.
    Terminated,
}

/// Where something can be written.
pub(crate) type Output = Box<dyn Write + Send>;

/// A connection, once to be read and once to be written.
pub(crate) type Connection = (Box<dyn Read + Send>, Output);

/// Opens an end for `source`. What arrives goes to `events`.
pub(crate) fn open(end: &Endpoint, source: Source, events: &Sender<Event>) -> Result<()> {
    // The loop holds the other end as long as the program lives; nothing is lost when it does not.
    let connected = |output: Output| drop(events.send(Event::Connected(source, output)));
    match end {
        Endpoint::Null => {}
        Endpoint::File(path) => {
            let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
            connected(Box::new(file));
        }
        Endpoint::Stdio => {
            connected(Box::new(io::stdout()));
            let events = events.clone();
            thread::spawn(move || read_all(&mut io::stdin(), source, &events, true));
        }
        Endpoint::Socket(Socket { address, listen: false, .. }) => {
            let (mut input, output) = connect(address).with_context(|| format!("cannot connect to {address:?}"))?;
            connected(output);
            let events = events.clone();
            thread::spawn(move || read_all(&mut input, source, &events, true));
        }
        Endpoint::Socket(Socket { address, wait, .. }) => {
            let mut accept = listen(address).with_context(|| format!("cannot listen at {address:?}"))?;
            let mut next = if *wait { Some(accept().context("nobody connects")?) } else { None };
            if let Some((_, output)) = &mut next {
                connected(std::mem::replace(output, Box::new(io::sink())));
            }
            let events = events.clone();
            thread::spawn(move || {
                loop {
                    let mut input = match next.take() {
                        Some((input, _)) => input,
                        None => {
                            let Ok((input, output)) = accept() else { return };
                            if events.send(Event::Connected(source, output)).is_err() {
                                return;
                            }
                            input
                        }
                    };
                    read_all(&mut input, source, &events, false);
                }
            });
        }
    }
    Ok(())
}

/// Sends everything that is read to the loop, and at the end that there is no more.
fn read_all(input: &mut dyn Read, source: Source, events: &Sender<Event>, last: bool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if events.send(Event::Received(source, buffer[..count].to_vec())).is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    drop(events.send(Event::Closed { source, last }));
}

/// Connects to who listens there.
pub(crate) fn connect(address: &Address) -> io::Result<Connection> {
    match address {
        Address::Unix(path) => unix(UnixStream::connect(path)?),
        Address::Tcp(address) => tcp(TcpStream::connect(address)?),
    }
}

/// Listens; each call of the result waits for one peer.
fn listen(address: &Address) -> io::Result<Box<dyn FnMut() -> io::Result<Connection> + Send>> {
    Ok(match address {
        Address::Unix(path) => {
            // A socket of an earlier run may lie there still.
            if UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                std::fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            Box::new(move || unix(listener.accept()?.0))
        }
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            Box::new(move || tcp(listener.accept()?.0))
        }
    })
}

fn unix(stream: UnixStream) -> io::Result<Connection> {
    Ok((Box::new(stream.try_clone()?), Box::new(stream)))
}

fn tcp(stream: TcpStream) -> io::Result<Connection> {
    // One command at a time, one answer at a time: nothing may wait for more.
    stream.set_nodelay(true)?;
    Ok((Box::new(stream.try_clone()?), Box::new(stream)))
}

/// An end that may have a peer.
#[derive(Default)]
pub(crate) struct Peer(Option<Output>);

impl Peer {
    /// A peer came.
    pub(crate) fn connect(&mut self, output: Output) {
        self.0 = Some(output);
    }

    /// It is gone.
    pub(crate) fn disconnect(&mut self) {
        self.0 = None;
    }

    /// Whether there is one.
    pub(crate) fn is_connected(&self) -> bool {
        self.0.is_some()
    }

    /// Writes everything, or loses it and the peer.
    pub(crate) fn write(&mut self, data: &[u8]) {
        if let Some(output) = &mut self.0
            && output.write_all(data).and_then(|()| output.flush()).is_err()
        {
            self.0 = None;
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Peer").field(&self.is_connected()).finish()
    }
}
