//! Which addresses a station has: the words behind `ip=`.

use core::fmt;
use core::str::FromStr;

use smoltcp::wire::{IpAddress, IpCidr, Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr};

/// The addresses of a station: at most one of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    dhcp: bool,
    v4: Option<(Ipv4Cidr, Option<Ipv4Address>)>,
    v6: Option<(Ipv6Cidr, Option<Ipv6Address>)>,
}

/// Why a word does not say which address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressesError {
    /// It is none of `dhcp`, `ADDRESS/PREFIX` and `ADDRESS/PREFIX,GATEWAY`.
    Malformed,
    /// There is an address of this family already.
    Twice,
    /// No station can have this address.
    NotUnicast,
}

impl fmt::Display for AddressesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is none of dhcp, ADDRESS/PREFIX and ADDRESS/PREFIX,GATEWAY",
            Self::Twice => "there is an address of this family already",
            Self::NotUnicast => "no station can have this address",
        })
    }
}

impl Addresses {
    /// Adds what a word says: `dhcp`, `10.0.0.2/24`, `10.0.0.2/24,10.0.0.1`, `fd00::2/64`, `fd00::2/64,fd00::1`.
    ///
    /// # Errors
    ///
    /// The word says nothing of the kind, or something that was said before.
    pub fn add(&mut self, word: &str) -> Result<(), AddressesError> {
        if word == "dhcp" {
            return match self.dhcp || self.v4.is_some() {
                true => Err(AddressesError::Twice),
                false => {
                    self.dhcp = true;
                    Ok(())
                }
            };
        }
        let (address, gateway) = match word.split_once(',') {
            Some((address, gateway)) => (address, Some(gateway)),
            None => (word, None),
        };
        let (address, prefix) = address.split_once('/').ok_or(AddressesError::Malformed)?;
        let prefix: u8 = prefix.parse().map_err(|_| AddressesError::Malformed)?;
        if address.contains(':') {
            let (address, gateway) = (parse::<Ipv6Address>(address)?, gateway.map(parse).transpose()?);
            if prefix > 128 {
                return Err(AddressesError::Malformed);
            }
            if address.is_multicast() || address.is_unspecified() {
                return Err(AddressesError::NotUnicast);
            }
            once(&mut self.v6, (Ipv6Cidr::new(address, prefix), gateway))
        } else {
            let (address, gateway) = (parse::<Ipv4Address>(address)?, gateway.map(parse).transpose()?);
            if prefix > 32 {
                return Err(AddressesError::Malformed);
            }
            if address.is_multicast() || address.is_unspecified() || address.is_broadcast() {
                return Err(AddressesError::NotUnicast);
            }
            if self.dhcp {
                return Err(AddressesError::Twice);
            }
            once(&mut self.v4, (Ipv4Cidr::new(address, prefix), gateway))
        }
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) const fn asks_dhcp(&self) -> bool {
        self.dhcp
    }

    /// The addresses that are known from the start, each with its gateway.
    pub(super) fn fixed(&self) -> impl Iterator<Item = (IpCidr, Option<IpAddress>)> {
        let v4 = self.v4.map(|(address, gateway)| (address.into(), gateway.map(Into::into)));
        let v6 = self.v6.map(|(address, gateway)| (address.into(), gateway.map(Into::into)));
        v4.into_iter().chain(v6)
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, AddressesError> {
    text.parse().map_err(|_| AddressesError::Malformed)
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), AddressesError> {
    if place.is_some() {
        return Err(AddressesError::Twice);
    }
    *place = Some(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_which_addresses_a_station_has() {
        let mut addresses = Addresses::default();
        assert!(addresses.is_empty());
        addresses.add("10.0.9.5/24,10.0.9.1").unwrap();
        addresses.add("fd00::5/64").unwrap();
        assert_eq!(addresses.add("10.0.9.6/24"), Err(AddressesError::Twice));
        assert_eq!(addresses.add("fd00::6/64"), Err(AddressesError::Twice));
        assert_eq!(addresses.add("dhcp"), Err(AddressesError::Twice));
        let fixed: std::vec::Vec<_> = addresses.fixed().collect();
        let v4 = (IpCidr::new(IpAddress::v4(10, 0, 9, 5), 24), Some(IpAddress::v4(10, 0, 9, 1)));
        assert_eq!(fixed, [v4, (IpCidr::new(IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 5), 64), None)]);

        let mut addresses = Addresses::default();
        addresses.add("dhcp").unwrap();
        assert_eq!(addresses.add("10.0.9.6/24"), Err(AddressesError::Twice));
        assert!(addresses.asks_dhcp() && addresses.fixed().next().is_none());
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        for word in ["", "10.0.0.1", "10.0.0.1/33", "10.0.0/8", "10.0.0.1/8,", "10.0.0.1/8,fd00::1", "fd00::/129", "/"]
        {
            assert_eq!(Addresses::default().add(word), Err(AddressesError::Malformed), "{word}");
        }
        for word in ["224.0.0.1/4", "0.0.0.0/0", "255.255.255.255/32", "::/0", "ff02::1/64"] {
            assert_eq!(Addresses::default().add(word), Err(AddressesError::NotUnicast), "{word}");
        }
    }
}
