//! A small server of HTTP: the page, what is on it as JSON, and zeros to measure the network with.

use alloc::vec::Vec;

use minios::clock::Instant;
use minios::front::Platform;
use minios::net::{Listener, SocketHandle, Stack};
use web::http::{BadRequest, Head, Method, Request, Status as Code, response_head};

use crate::status::Status;

const PAGE: &[u8] = include_bytes!("page.html");
/// Who is served at a time; others wait.
const CLIENTS_MAX: usize = 8;
/// Bytes of a connection's buffers.
const RECEIVE_BUFFER: usize = 2 << 10;
const SEND_BUFFER: usize = 64 << 10;
/// How long anybody is served.
const PATIENCE_NS: u64 = 60_000_000_000;
/// How long a request may take to be there.
const ASKING_NS: u64 = 10_000_000_000;
/// Zeros that are sent at a time.
const ZEROS: [u8; 4096] = [0; 4096];

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
    answer: Option<Answer>,
    sent: usize,
    until: Instant,
}

struct Answer {
    bytes: Vec<u8>,
    /// Zeros after the bytes.
    zeros: usize,
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
            let until = now.after(ASKING_NS);
            self.clients.push(Client { socket, head: Head::new(), answer: None, sent: 0, until });
        }
        self.clients.retain_mut(|client| {
            let goes_on = client.until > now && client.serve(stack, status, now);
            if !goes_on {
                stack.close(client.socket, now);
            }
            goes_on
        });
    }
}

impl Client {
    /// `false`: it is through.
    fn serve(&mut self, stack: &mut Stack<impl Platform + 'static>, status: &Status, now: Instant) -> bool {
        let socket = stack.socket(self.socket);
        let mut bytes = [0; 512];
        while self.answer.is_none() && socket.can_recv() {
            let count = socket.recv_slice(&mut bytes).unwrap_or(0);
            self.answer = match self.head.feed(bytes.get(..count).unwrap_or_default()) {
                Ok(None) => continue,
                Ok(Some((request, _))) => Some(answer(&request, status)),
                Err(refusal) => Some(Answer { bytes: refusal.response(), zeros: 0 }),
            };
            self.until = now.after(PATIENCE_NS);
        }
        let Some(answer) = &self.answer else { return socket.may_recv() };
        while socket.can_send() {
            let rest = answer.bytes.get(self.sent..).unwrap_or_default();
            let zeros = answer.bytes.len().saturating_add(answer.zeros).saturating_sub(self.sent);
            let piece = if rest.is_empty() { ZEROS.get(..zeros.min(ZEROS.len())).unwrap_or_default() } else { rest };
            if piece.is_empty() {
                break;
            }
            self.sent += socket.send_slice(piece).unwrap_or(0);
        }
        if self.sent < answer.bytes.len().saturating_add(answer.zeros) {
            return socket.may_send();
        }
        // It is through when the peer has all of it, or is gone.
        socket.close();
        socket.send_queue() > 0
    }
}

fn answer(request: &Request, status: &Status) -> Answer {
    let (kind, body, zeros) = match request.path.as_str() {
        "/" => ("text/html; charset=utf-8", PAGE.to_vec(), 0),
        "/status.json" => ("application/json", status.json(), 0),
        // As many KiB as the query says.
        "/zeros" => match request.query.as_deref().and_then(|query| query.parse::<u32>().ok()) {
            Some(kib) => ("application/octet-stream", Vec::new(), kib as usize * 1024),
            None => return Answer { bytes: BadRequest::NotFound.response(), zeros: 0 },
        },
        _ => return Answer { bytes: BadRequest::NotFound.response(), zeros: 0 },
    };
    let mut bytes = response_head(Code::Ok, kind, body.len().saturating_add(zeros));
    if request.method == Method::Head {
        return Answer { bytes, zeros: 0 };
    }
    bytes.extend_from_slice(&body);
    Answer { bytes, zeros }
}
