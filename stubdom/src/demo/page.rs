//! A small server of HTTP: the page, and what is on it as JSON.

use alloc::vec::Vec;

use minios::clock::Instant;
use minios::front::Platform;
use minios::net::{Listener, SocketHandle, Stack};
use web::http::{BadRequest, Head, Method, Request, Status as Code, response, response_head};

use crate::status::Status;

const PAGE: &[u8] = include_bytes!("page.html");
/// Who is served at a time; others wait.
const CLIENTS_MAX: usize = 8;
/// Bytes of a connection's buffers.
const RECEIVE_BUFFER: usize = 2 << 10;
const SEND_BUFFER: usize = 8 << 10;
/// How long anybody is served.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The server.
pub(crate) struct Pages {
    door: Listener,
    clients: Vec<Client>,
}

/// Somebody who asks.
struct Client {
    socket: SocketHandle,
    head: Head,
    /// The answer, and how much of it was sent.
    answer: Option<Vec<u8>>,
    sent: usize,
    until: Instant,
}

impl Pages {
    pub(crate) fn new(stack: &mut Stack<impl Platform + 'static>, port: u16) -> Self {
        Self { door: Listener::new(stack, port, RECEIVE_BUFFER, SEND_BUFFER), clients: Vec::new() }
    }

    /// When [`Self::serve`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.until).min()
    }

    pub(crate) fn serve(&mut self, stack: &mut Stack<impl Platform + 'static>, status: &Status, now: Instant) {
        while self.clients.len() < CLIENTS_MAX
            && let Some(socket) = self.door.accept(stack, now)
        {
            let until = now.after(PATIENCE_NS);
            self.clients.push(Client { socket, head: Head::new(), answer: None, sent: 0, until });
        }
        self.clients.retain_mut(|client| {
            let goes_on = client.until > now && client.serve(stack, status);
            if !goes_on {
                stack.close(client.socket, now);
            }
            goes_on
        });
    }
}

impl Client {
    /// `false`: it is through.
    fn serve(&mut self, stack: &mut Stack<impl Platform + 'static>, status: &Status) -> bool {
        let socket = stack.socket(self.socket);
        let mut bytes = [0; 512];
        while self.answer.is_none() && socket.can_recv() {
            let count = socket.recv_slice(&mut bytes).unwrap_or(0);
            self.answer = match self.head.feed(bytes.get(..count).unwrap_or_default()) {
                Ok(None) => None,
                Ok(Some((request, _))) => Some(answer(&request, status)),
                Err(refusal) => Some(refusal.response()),
            };
        }
        let Some(answer) = &self.answer else { return socket.may_recv() };
        match answer.get(self.sent..) {
            Some(rest) if !rest.is_empty() => {
                if socket.can_send() {
                    self.sent += socket.send_slice(rest).unwrap_or(0);
                }
                socket.may_send()
            }
            // It is through when the peer has all of it, or is gone.
            _ => {
                socket.close();
                socket.send_queue() > 0
            }
        }
    }
}

fn answer(request: &Request, status: &Status) -> Vec<u8> {
    let (kind, body) = match request.path.as_str() {
        "/" => ("text/html; charset=utf-8", PAGE.to_vec()),
        "/status.json" => ("application/json", status.json()),
        _ => return BadRequest::NotFound.response(),
    };
    match request.method {
        Method::Get => response(Code::Ok, kind, &body),
        Method::Head => response_head(Code::Ok, kind, body.len()),
    }
}
