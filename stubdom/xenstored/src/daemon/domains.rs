//! Requests about domains, which only domain 0 may make.

use alloc::vec::Vec;

use xen_abi::{DomId, Port};

use super::requests::{Answer, Asked, OK};
use super::{ConnectionId, Daemon, Host};
use crate::errno::Errno;
use crate::wire::{at_least, domain, number, one};

impl Daemon {
    /// INTRODUCE.
    pub(super) fn asked_to_introduce(&mut self, asked: &Asked<'_>, host: &mut impl Host) -> Answer {
        let [id, frame, port] = at_least(&asked.request.payload)?;
        let id = domain(id)?;
        // As Xen's daemon takes it: a signed number, above 0.
        let port = number::<i32>(port).ok().and_then(|port| u32::try_from(port).ok()).filter(|port| *port > 0);
        let port = Port(port.ok_or(Errno::EINVAL)?);
        // The frame is written as a signed number.
        let frame = number::<u64>(frame).or_else(|_| number::<i64>(frame).map(i64::cast_unsigned)).ok();
        host.connect(id, frame, port)?;
        self.introduce(id, host.now());
        Ok(OK.to_vec())
    }

    /// RELEASE.
    pub(super) fn asked_to_release(&mut self, asked: &Asked<'_>, host: &mut impl Host) -> Answer {
        let (id, _) = self.other_domain(asked)?;
        host.disconnect(id);
        self.forget(id, Some(&asked.cause), host.now());
        Ok(OK.to_vec())
    }

    /// IS_DOMAIN_INTRODUCED.
    pub(super) fn is_introduced(&self, asked: &Asked<'_>) -> Answer {
        let id = domain(one(&asked.request.payload)?)?;
        let is_introduced = id == DomId::SELF || self.domains.contains_key(&id);
        Ok(Vec::from(if is_introduced { b"T\0" } else { b"F\0" }))
    }

    /// RESUME.
    pub(super) fn resume(&mut self, asked: &Asked<'_>) -> Answer {
        let (id, _) = self.other_domain(asked)?;
        self.domains.get_mut(&id).ok_or(Errno::ENOENT)?.is_shut_down = false;
        Ok(OK.to_vec())
    }

    /// SET_TARGET.
    pub(super) fn set_target(&mut self, asked: &Asked<'_>) -> Answer {
        let [id, target] = at_least(&asked.request.payload)?;
        let (id, target) = (domain(id)?, domain(target)?);
        let connection = self.connection(id).ok_or(Errno::ENOENT)?;
        self.connection(target).ok_or(Errno::ENOENT)?;
        self.connections.get_mut(&connection).ok_or(Errno::EINVAL)?.who.target = Some(target);
        Ok(OK.to_vec())
    }

    /// The connected domain that is the only argument, and is not domain 0.
    fn other_domain(&self, asked: &Asked<'_>) -> Result<(DomId, ConnectionId), Errno> {
        let id = domain(one(&asked.request.payload)?)?;
        if id == DomId(0) {
            return Err(Errno::EINVAL);
        }
        Ok((id, self.connection(id).ok_or(Errno::ENOENT)?))
    }
}
