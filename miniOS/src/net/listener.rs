//! A port that connections are taken from.

use super::{SocketHandle, Stack};
use crate::clock::Instant;
use crate::front::Platform;

/// A port of TCP that is listened to. One who knocks before the one before was let in is turned away.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    /// Bytes of a connection's buffers.
    receive: usize,
    send: usize,
    waiting: SocketHandle,
}

impl Listener {
    /// Listens to `port`. Connections have room for so many bytes in each direction.
    pub fn new(stack: &mut Stack<impl Platform + 'static>, port: u16, receive: usize, send: usize) -> Self {
        Self { port, receive, send, waiting: stack.listen(port, receive, send) }
    }

    /// Takes a connection, if there is one. It is to be [closed](Stack::close).
    pub fn accept(&mut self, stack: &mut Stack<impl Platform + 'static>, now: Instant) -> Option<SocketHandle> {
        let socket = stack.socket(self.waiting);
        let has_come = socket.is_active() && socket.may_send();
        // Somebody has come and gone before anybody looked.
        let has_gone = !socket.is_active() && !socket.is_listening();
        if !has_come && !has_gone {
            return None;
        }
        let next = stack.listen(self.port, self.receive, self.send);
        let taken = core::mem::replace(&mut self.waiting, next);
        if has_gone {
            stack.close(taken, now);
            return None;
        }
        Some(taken)
    }
}
