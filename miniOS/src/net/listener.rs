//! A port that connections are taken from.

use alloc::vec::Vec;

use super::{SocketHandle, Stack};
use crate::clock::Instant;
use crate::front::Platform;

/// Connections that may wait to be taken: a browser opens several at once. Whoever knocks beyond that is turned away.
const WAITING: usize = 3;

/// A port of TCP that is listened to.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    /// Bytes of a connection's buffers.
    receive: usize,
    send: usize,
    waiting: Vec<SocketHandle>,
}

impl Listener {
    /// Listens to `port`. Connections have room for so many bytes in each direction.
    pub fn new(stack: &mut Stack<impl Platform + 'static>, port: u16, receive: usize, send: usize) -> Self {
        let waiting = (0..WAITING).map(|_| stack.listen(port, receive, send)).collect();
        Self { port, receive, send, waiting }
    }

    /// Takes a connection, if there is one. It is to be [closed](Stack::close).
    pub fn accept(&mut self, stack: &mut Stack<impl Platform + 'static>, now: Instant) -> Option<SocketHandle> {
        for place in &mut self.waiting {
            let socket = stack.socket(*place);
            let has_come = socket.is_active() && socket.may_send();
            // Somebody has come and gone before anybody looked.
            let has_gone = !socket.is_active() && !socket.is_listening();
            if !has_come && !has_gone {
                continue;
            }
            let next = stack.listen(self.port, self.receive, self.send);
            let taken = core::mem::replace(place, next);
            if has_come {
                return Some(taken);
            }
            stack.close(taken, now);
        }
        None
    }
}
