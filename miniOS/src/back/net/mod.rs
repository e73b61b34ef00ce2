//! Network backend: connects a network interface in another domain to a [`Wire`].
//!
//! Frames are copied by Xen, out of the frontend's pages and into them. A large frame of TCP, which a frontend leaves to be cut,
//! is cut as it comes (`frame`), so that everything behind the interface has frames of usual size only. A checksum that the
//! frontend has left out stays out until somebody needs it ([`Frame::complete`]).
//!
//! * `transmit`: from the ring to frames.
//! * `receive`: from frames to the ring. A frontend without pages for a frame makes it wait, and the wire behind it drop; one that
//!   does not say when it has pages, as mini-os, loses the frame.
//! * `frame`: frames, and how one is cut.
//!
//! Frontends known to work: ours, and xen-netfront of Linux 6.1 (`minios-serves-a-network-to-linux`).
//!
//! Source: Xen's public/io/netif.h as of 4.20; drivers/net/xen-netback and xen-netfront.c of Linux, whose answers to what makes
//! no sense are ours: an error for a frame that is odd, the end of the connection for a ring that is.
//! Not modelled: several queues, the control ring, lists of groups (not offered), large frames on the way to a frontend.

pub mod frame;
mod receive;
#[cfg(test)]
mod tests;
mod transmit;

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Context, Poll};

use xen_abi::io::netif;
use xen_abi::{DomId, Port};

use super::link::{Keys, Link, Service, supervise};
use super::{Host, Problem};
use crate::exec::{self, Signal};
use crate::ring::BackRing;
use crate::shared_mem::Notify;
use crate::xenbus::XenbusState;
use crate::xenstore::Xenstore;

pub use frame::Frame;

use receive::Receiver;
use transmit::Transmitter;

/// Frames in each direction before others have a turn.
const TURN: usize = 64;

/// Where frames go to and come from.
pub trait Wire {
    /// Sends a frame, or loses it.
    fn send(&self, frame: Frame);

    /// The next frame that comes; if there is none, `context` is woken by it.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Frame>;
}

/// A network interface that is served.
pub struct Net<H, W> {
    store: Xenstore,
    path: String,
    host: Rc<H>,
    wire: W,
}

impl<H: Host, W: Wire> Net<H, W> {
    /// An interface whose directory is `path`, such as `backend/vif/3/0`.
    pub fn new(host: Rc<H>, store: &Xenstore, path: &str, wire: W) -> Self {
        Self { store: store.clone(), path: path.to_string(), host, wire }
    }

    /// Serves the interface. A task that ends when the toolstack takes the interface away.
    pub async fn run(self) {
        supervise(&self.store, &self.path, &self).await;
    }
}

/// A frontend's rings.
pub struct Connection<H: Host> {
    peer: DomId,
    transmitter: Transmitter<H::Mapping>,
    receiver: Receiver<H::Mapping>,
    transmit_channel: H::Channel,
    /// Where the frontend has two of them.
    receive_channel: Option<H::Channel>,
}

impl<H: Host, W: Wire> Service for Net<H, W> {
    type Connection = Connection<H>;

    fn offer(&self) -> Keys {
        let keys = [
            ("feature-sg", "1"),
            ("feature-gso-tcpv4", "1"),
            ("feature-gso-tcpv6", "1"),
            ("feature-ipv6-csum-offload", "1"),
            ("feature-no-csum-offload", "0"),
            ("feature-rx-copy", "1"),
            ("feature-rx-flip", "0"),
            ("feature-split-event-channels", "1"),
            ("multi-queue-max-queues", "1"),
        ];
        keys.map(|(key, value)| (key.to_string(), value.to_string())).into()
    }

    /// A network frontend that is Initialised has not written everything.
    fn is_ready(state: XenbusState) -> bool {
        state == XenbusState::Connected
    }

    async fn connect(&self, link: &Link) -> Result<(Connection<H>, Keys), Problem> {
        self.host.linger().await;
        const COPY: &str = "request-rx-copy";
        if !link.flag(COPY).await? {
            return Err(Problem::Unsupported { key: COPY.to_string(), value: "0".to_string() });
        }
        let tells_pages = link.flag("feature-rx-notify").await?;
        link.refuse_queues().await?;
        let (transmit, receive) = (link.grant("tx-ring-ref").await?, link.grant("rx-ring-ref").await?);
        let ports: Vec<Port> = match link.number("event-channel-tx").await? {
            Some(port) => [Port(port), Port(link.required("event-channel-rx").await?)].into(),
            None => [Port(link.required("event-channel").await?)].into(),
        };
        let (takes_long, no_checksums) = (link.flag("feature-sg").await?, link.flag("feature-no-csum-offload").await?);
        // Both kinds or none: a frame is not looked into.
        let takes_v6 = link.flag("feature-ipv6-csum-offload").await?;
        let peer = link.peer();
        let transmit = BackRing::attach(self.host.map(peer, &[transmit])?, netif::TX_SLOT_LEN)?;
        let receive = BackRing::attach(self.host.map(peer, &[receive])?, netif::RX_SLOT_LEN)?;
        let mut channels = ports.into_iter().map(|port| self.host.bind(peer, port));
        let missing = || Problem::Broken("no event channel");
        let connection = Connection {
            peer,
            transmitter: Transmitter { ring: transmit },
            receiver: Receiver {
                ring: receive,
                takes_long,
                takes_blank: !no_checksums && takes_v6,
                tells_pages,
                next: None,
            },
            transmit_channel: channels.next().ok_or_else(missing)??,
            receive_channel: channels.next().transpose()?,
        };
        Ok((connection, Keys::new()))
    }

    async fn serve(&self, connection: &mut Connection<H>) -> Problem {
        let ports = [Some(&connection.transmit_channel), connection.receive_channel.as_ref()];
        let mut signals: Vec<Signal> =
            ports.into_iter().flatten().map(|channel| exec::signal(channel.port())).collect();
        loop {
            let turn = poll_fn(|context| match connection.turn(&*self.host, &self.wire, context) {
                Ok(false) => {
                    // All of them, so that each wakes us.
                    let ready = signals.iter_mut().filter_map(|signal| match signal.poll_wait(context) {
                        Poll::Ready(()) => Some(()),
                        Poll::Pending => None,
                    });
                    if ready.count() > 0 { Poll::Ready(Ok(false)) } else { Poll::Pending }
                }
                turn => Poll::Ready(turn),
            });
            match turn.await {
                Ok(false) => {}
                // A frontend on another processor could keep us here for ever.
                Ok(true) => self.host.pause().await,
                Err(problem) => return problem,
            }
        }
    }

    async fn finish(&self, connection: Connection<H>) {
        drop(connection);
    }
}

impl<H: Host> Connection<H> {
    /// Moves frames both ways. `true`: there may be more at once.
    fn turn<W: Wire>(&mut self, host: &H, wire: &W, context: &mut Context<'_>) -> Result<bool, Problem> {
        let mut sent = 0;
        let mut received = 0;
        let is_busy = loop {
            let mut is_idle = true;
            while sent < TURN && self.transmitter.take(host, self.peer, |frame| wire.send(frame))? {
                sent += 1;
                is_idle = false;
            }
            while received < TURN {
                if self.receiver.next.is_none() {
                    let Poll::Ready(frame) = wire.poll_receive(context) else { break };
                    self.receiver.next = Some(frame);
                }
                if !self.receiver.deliver(host, self.peer)? {
                    break;
                }
                received += 1;
                is_idle = false;
            }
            self.publish();
            if sent >= TURN || received >= TURN {
                break true;
            }
            if is_idle && !self.transmitter.ring.arm()? {
                break false;
            }
        };
        Ok(is_busy)
    }

    fn publish(&mut self) {
        if self.transmitter.ring.publish() {
            self.transmit_channel.notify();
        }
        if self.receiver.ring.publish() {
            self.receive_channel.as_ref().unwrap_or(&self.transmit_channel).notify();
        }
    }
}
