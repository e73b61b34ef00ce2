//! TCP/IP for the domain itself: smoltcp on a [network frontend](crate::front::net).
//!
//! A [`Stack`] is a station with an Ethernet address of its own. It can have the interface for itself, or share it with a
//! user of the interface, such as a guest's emulated card: then frames for its address go to it and are nobody else's.
//!
//! Nothing listens that was not asked to, and a stack without connections has no timers, but for the lease of its address.
//!
//! Not modelled: names (DNS), UDP services, the discovery of IPv6 addresses and routers, routing for others.

pub(crate) mod checksum;
mod config;
mod device;
mod listener;

pub use config::{Addresses, AddressesError};
pub use device::Traffic;
pub use listener::Listener;
pub use smoltcp::iface::SocketHandle;
pub use smoltcp::socket::tcp;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use log::info;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use crate::clock::Instant;
use crate::front::Platform;
use crate::front::net::Net;
use device::Station;

/// A station on a network.
pub struct Stack<P: Platform + 'static> {
    station: Station<P>,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    /// Somebody is at the other end of the cable.
    has_link: bool,
}

impl<P: Platform + 'static> Stack<P> {
    /// A station at `net` with this Ethernet address, alone there or beside the interface's user. `seed` is a number that
    /// nobody can guess.
    #[must_use]
    pub fn new(net: Net<P>, address: [u8; 6], alone: bool, addresses: &Addresses, seed: u64, now: Instant) -> Self {
        let mut station = Station::new(net, address, alone);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(address)));
        config.random_seed = seed;
        let interface = Interface::new(config, &mut station, instant(now));
        let mut stack = Self { station, interface, sockets: SocketSet::new(Vec::new()), dhcp: None, has_link: false };
        for (address, gateway) in addresses.fixed() {
            stack.set_address(address, gateway);
        }
        stack.dhcp = addresses.asks_dhcp().then(|| stack.sockets.add(dhcpv4::Socket::new()));
        stack
    }

    /// Takes over an address and the way to the rest of the world, in place of what there was of the same family.
    fn set_address(&mut self, address: IpCidr, gateway: Option<smoltcp::wire::IpAddress>) {
        use smoltcp::wire::IpAddress;
        let version = address.address().version();
        self.interface.update_ip_addrs(|addresses| {
            addresses.retain(|known| known.address().version() != version);
            // There is room for one of each family.
            let _ = addresses.push(address);
        });
        let routes = self.interface.routes_mut();
        // There is room for one route of each family, too.
        let _ = match gateway {
            Some(IpAddress::Ipv4(gateway)) => routes.add_default_ipv4_route(gateway).map(drop),
            Some(IpAddress::Ipv6(gateway)) => routes.add_default_ipv6_route(gateway).map(drop),
            None => Ok(()),
        };
        info!("network: this is {address}");
    }

    /// Moves what there is to move. To be called whenever something happened, and when it is [time](Self::next_deadline).
    pub fn poll(&mut self, now: Instant) {
        let now = instant(now);
        self.interface.poll_maintenance(now);
        self.station.look();
        self.follow_link();
        // What came in one go, and a bounded number of answers: a flood does not keep everybody else waiting.
        for _ in 0..FRAMES_AT_ONCE {
            use smoltcp::iface::PollIngressSingleResult as Result;
            match self.interface.poll_ingress_single(now, &mut self.station, &mut self.sockets) {
                Result::None => break,
                Result::PacketProcessed | Result::SocketStateChanged => {}
            }
        }
        for _ in 0..FRAMES_AT_ONCE {
            use smoltcp::iface::PollResult as Result;
            match self.interface.poll_egress(now, &mut self.station, &mut self.sockets) {
                Result::None => break,
                Result::SocketStateChanged => {}
            }
        }
        self.follow_lease();
    }

    /// When [`Self::poll`] has to be called at the latest.
    pub fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        if self.station.has_frames() {
            return Some(now);
        }
        let delay = self.interface.poll_delay(instant(now), &self.sockets)?;
        // What waits for room is told of it by the backend.
        if delay == smoltcp::time::Duration::ZERO && !self.station.has_room() {
            return None;
        }
        Some(Instant(now.0.saturating_add(delay.total_micros().saturating_mul(1000))))
    }

    /// What was asked before there was a link nobody has heard: it is asked at once, not after the usual time.
    fn follow_link(&mut self) {
        let had_link = core::mem::replace(&mut self.has_link, self.station.has_link());
        if let Some(handle) = self.dhcp
            && self.has_link
            && !had_link
            && self.interface.ipv4_addr().is_none()
        {
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).reset();
        }
    }

    fn follow_lease(&mut self) {
        let Some(handle) = self.dhcp else { return };
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(lease)) => {
                let (address, router) = (IpCidr::Ipv4(lease.address), lease.router.map(Into::into));
                self.set_address(address, router);
            }
            Some(dhcpv4::Event::Deconfigured) => {
                // The client says so at its start as well, when there was none.
                let had_one = self.interface.ipv4_addr().is_some();
                self.interface.update_ip_addrs(|addresses| {
                    addresses.retain(|known| matches!(known, IpCidr::Ipv6(_)));
                });
                if had_one {
                    info!("network: the lease of the address has ended");
                }
            }
            None => {}
        }
    }

    /// What has gone through it since it began.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.station.traffic()
    }

    /// A socket that waits for a connection to `port`, with room for so many bytes in each direction.
    fn listen(&mut self, port: u16, receive: usize, send: usize) -> SocketHandle {
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(receive), buffer(send));
        socket.set_nagle_enabled(false);
        // Somebody who has vanished is noticed.
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(PATIENCE));
        // It is closed, and the port is one.
        let _ = socket.listen(port);
        self.sockets.add(socket)
    }

    /// A connection of a [`Listener`].
    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Drops a socket; whoever is at its other end is told.
    pub fn close(&mut self, handle: SocketHandle, now: Instant) {
        self.socket(handle).abort();
        self.interface.poll_egress(instant(now), &mut self.station, &mut self.sockets);
        self.sockets.remove(handle);
    }

    /// Its addresses, for people: `10.0.0.2, fd00::2`.
    #[must_use]
    pub fn addresses(&self) -> String {
        let mut text = String::new();
        for address in self.interface.ip_addrs() {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{}", address.address());
        }
        text
    }
}

/// Frames that are looked at before others get their turn.
const FRAMES_AT_ONCE: usize = 64;
/// How long a connection may be silent before the peer is asked whether it is there.
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(30);
/// How long a peer may take to answer.
const PATIENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(90);

fn instant(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX))
}
