//! Messages, to bytes and back.

use alloc::rc::Rc;
use alloc::vec::Vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::SockMsg;
use zerocopy::IntoBytes as _;

use crate::errno::Errno;

/// Bytes of a message's head.
pub(crate) const HEAD_LEN: usize = size_of::<SockMsg>();

/// A message of a client. Its payload is as long as its head says.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: SockMsg,
    pub(crate) payload: Vec<u8>,
}

/// A message's bytes. The payload is no longer than a payload may be.
pub(crate) fn encode(head: SockMsg, payload: &[u8]) -> Rc<[u8]> {
    let head = SockMsg { len: u32::try_from(payload.len()).unwrap_or(u32::MAX), ..head };
    head.as_bytes().iter().chain(payload).copied().collect()
}

/// The strings in a payload, without the zero bytes that end them. Bytes behind the last zero byte are ignored.
pub(crate) fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    payload.split_inclusive(|byte| *byte == 0).filter_map(|part| part.strip_suffix(&[0]))
}

/// A payload of exactly one string and its zero byte.
pub(crate) fn one(payload: &[u8]) -> Result<&[u8], Errno> {
    let text = payload.strip_suffix(&[0]).ok_or(Errno::EINVAL)?;
    if text.contains(&0) { Err(Errno::EINVAL) } else { Ok(text) }
}

/// Exactly so many strings.
pub(crate) fn exactly<const N: usize>(payload: &[u8]) -> Result<[&[u8]; N], Errno> {
    let found = at_least(payload)?;
    if strings(payload).nth(N).is_some() { Err(Errno::EINVAL) } else { Ok(found) }
}

/// So many strings, and perhaps more.
pub(crate) fn at_least<const N: usize>(payload: &[u8]) -> Result<[&[u8]; N], Errno> {
    let mut found = [&[][..]; N];
    let mut all = strings(payload);
    for place in &mut found {
        *place = all.next().ok_or(Errno::EINVAL)?;
    }
    Ok(found)
}

/// A decimal number.
pub(crate) fn number<T: core::str::FromStr>(text: &[u8]) -> Result<T, Errno> {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Errno::EINVAL)
}

/// The decimal number of a domain.
pub(crate) fn domain(text: &[u8]) -> Result<DomId, Errno> {
    // A sign is no digit.
    if text.first().is_some_and(u8::is_ascii_digit) { number(text).map(DomId) } else { Err(Errno::EINVAL) }
}
