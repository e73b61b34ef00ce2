//! A learning switch: which of its ports a frame goes to.
//!
//! It remembers at which port the sender of a frame is. What is for an address that it does not know, or for a group, goes to
//! all other ports. Each port has its own share of the table, so that one station that makes up addresses makes nobody
//! forget those of others. An address that appears at another port has moved there: the switch trusts senders as any other
//! does, unless a port is told its station's address ([`Switch::pin`]).
//!
//! Plain values: no frames, no clock. Not modelled: ageing (a port forgets the address that was not heard for longest once
//! its share is full), spanning trees, VLANs, groups.

use alloc::vec::Vec;

/// Addresses that are remembered of a port.
const SHARE: usize = 64;

/// An Ethernet address.
pub type Address = [u8; 6];

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one port.
    One(usize),
    /// To all ports but the one that it came from.
    Others,
    /// Nowhere.
    Nobody,
}

/// A switch, with no ports at first.
#[derive(Debug, Default)]
pub struct Switch {
    ports: Vec<Option<Port>>,
}

#[derive(Debug, Default)]
struct Port {
    /// Addresses of its stations, the one that was heard last at the end.
    known: Vec<Address>,
    /// The only address that may send there.
    pinned: Option<Address>,
}

/// Whether an address is that of a group, or of all.
const fn is_group(address: Address) -> bool {
    address[0] & 1 != 0
}

impl Switch {
    /// Adds a port, and numbers it.
    pub fn add(&mut self) -> usize {
        let free = self.ports.iter().position(Option::is_none);
        let index = free.unwrap_or(self.ports.len());
        if free.is_none() {
            self.ports.push(None);
        }
        if let Some(place) = self.ports.get_mut(index) {
            *place = Some(Port::default());
        }
        index
    }

    /// Takes a port away, with all that is known of it. Its number may be given again.
    pub fn remove(&mut self, port: usize) {
        if let Some(place) = self.ports.get_mut(port) {
            *place = None;
        }
    }

    /// Lets nobody send at a port but the station with this address.
    pub fn pin(&mut self, port: usize, address: Address) {
        if let Some(Some(port)) = self.ports.get_mut(port) {
            port.pinned = Some(address);
            port.known.clear();
        }
    }

    /// The ports that there are.
    pub fn ports(&self) -> impl Iterator<Item = usize> {
        self.ports.iter().enumerate().filter_map(|(index, port)| port.as_ref().map(|_| index))
    }

    /// Learns from a frame, and says where it goes.
    pub fn forward(&mut self, port: usize, target: Address, source: Address) -> Target {
        let Some(Some(entry)) = self.ports.get_mut(port) else { return Target::Nobody };
        // Nobody is a group, and a frame that says so is not let through.
        if is_group(source) || entry.pinned.is_some_and(|pinned| pinned != source) {
            return Target::Nobody;
        }
        self.learn(port, source);
        if is_group(target) {
            return Target::Others;
        }
        match self.find(target) {
            Some(found) if found == port => Target::Nobody,
            Some(found) => Target::One(found),
            None => Target::Others,
        }
    }

    fn find(&self, address: Address) -> Option<usize> {
        self.ports.iter().position(|port| {
            port.as_ref().is_some_and(|port| port.pinned == Some(address) || port.known.contains(&address))
        })
    }

    fn learn(&mut self, port: usize, source: Address) {
        // The address of a station that is pinned elsewhere stays there.
        let elsewhere = |(index, entry): (usize, &Option<Port>)| {
            index != port && entry.as_ref().is_some_and(|entry| entry.pinned == Some(source))
        };
        if self.ports.iter().enumerate().any(elsewhere) {
            return;
        }
        for (index, entry) in self.ports.iter_mut().enumerate() {
            let Some(entry) = entry else { continue };
            // Most frames are from whoever sent the last one.
            if index == port && entry.known.last() == Some(&source) {
                continue;
            }
            entry.known.retain(|known| *known != source);
            if index == port {
                if entry.known.len() >= SHARE {
                    entry.known.remove(0);
                }
                entry.known.push(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Address = [0xff; 6];

    fn station(number: u32) -> Address {
        let [a, b, c, d] = number.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    #[test]
    fn who_was_heard_is_found_and_everybody_is_asked_for_others() {
        let mut switch = Switch::default();
        let ports = [switch.add(), switch.add(), switch.add()];
        assert_eq!(switch.forward(ports[0], station(2), station(1)), Target::Others);
        assert_eq!(switch.forward(ports[1], station(1), station(2)), Target::One(ports[0]));
        assert_eq!(switch.forward(ports[0], station(2), station(1)), Target::One(ports[1]));
        assert_eq!(switch.forward(ports[0], ALL, station(1)), Target::Others);
        assert_eq!(switch.forward(ports[0], station(1), station(3)), Target::Nobody, "it is there already");
        // It has moved.
        assert_eq!(switch.forward(ports[2], station(2), station(1)), Target::One(ports[1]));
        assert_eq!(switch.forward(ports[1], station(1), station(2)), Target::One(ports[2]));
    }

    #[test]
    fn a_group_sends_nothing_and_a_port_that_is_gone_neither() {
        let mut switch = Switch::default();
        let ports = [switch.add(), switch.add()];
        assert_eq!(switch.forward(ports[0], station(1), ALL), Target::Nobody);
        assert_eq!(switch.forward(ports[0], ALL, station(1)), Target::Others);
        switch.remove(ports[0]);
        assert_eq!(switch.forward(ports[0], ALL, station(1)), Target::Nobody);
        assert_eq!(switch.forward(ports[1], station(1), station(2)), Target::Others, "it is forgotten");
        assert_eq!(switch.add(), ports[0]);
        assert_eq!(switch.ports().count(), 2);
        assert_eq!(switch.forward(7, ALL, station(1)), Target::Nobody);
    }

    #[test]
    fn a_station_that_makes_up_addresses_harms_nobody_else() {
        let mut switch = Switch::default();
        let ports = [switch.add(), switch.add(), switch.add()];
        switch.forward(ports[0], ALL, station(1));
        for number in 1000..100_000 {
            switch.forward(ports[1], ALL, station(number));
        }
        assert_eq!(switch.forward(ports[2], station(1), station(2)), Target::One(ports[0]));
        assert_eq!(switch.forward(ports[2], station(99_999), station(2)), Target::One(ports[1]));
        assert_eq!(switch.forward(ports[2], station(1000), station(2)), Target::Others);
        assert!(switch.ports.iter().flatten().all(|port| port.known.len() <= SHARE));
    }

    #[test]
    fn a_pinned_station_is_who_it_is() {
        let mut switch = Switch::default();
        let ports = [switch.add(), switch.add()];
        switch.pin(ports[0], station(1));
        assert_eq!(switch.forward(ports[0], ALL, station(2)), Target::Nobody);
        assert_eq!(switch.forward(ports[1], ALL, station(1)), Target::Others, "heard, but not believed");
        assert_eq!(switch.forward(ports[1], station(1), station(3)), Target::One(ports[0]));
    }
}
