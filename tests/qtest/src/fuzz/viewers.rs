//! Viewers and browsers that send bytes of anybody's choice.

use rfb::{Config, Event, Password, Picture, Rect, Session};

/// What viewers are shown: any size, and pixels that are not all the same.
struct Screen {
    size: (u16, u16),
    seed: u32,
}

impl Picture for Screen {
    fn size(&self) -> (u16, u16) {
        self.size
    }

    fn read(&self, x: u16, y: u16, row: &mut [u32]) {
        for (pixel, at) in row.iter_mut().zip(u32::from(x)..) {
            *pixel = (at / 7 + u32::from(y) / 5).wrapping_mul(self.seed) & 0xff_ffff;
        }
    }
}

/// What a session may say in one go, beyond what it was allowed.
const MORE: usize = 1 << 20;

/// A session that hears these bytes, with things that happen to the picture between them. The first byte says who is let in,
/// and every eighth part of them is followed by what the last byte of it says.
pub(super) fn vnc(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let password = (kind & 1 != 0).then(|| Password::new(b"password")).flatten();
    let mut session = Session::new(&Config { name: "fuzz".to_owned(), password }, [7; 16]);
    let mut screen = Screen { size: (100, 60), seed: 3 };
    if kind & 2 == 0 {
        // Nothing of interest comes before these.
        let _ = session.receive(b"RFB 003.008\n\x01\x01", &mut |_| {});
    }
    let mut out = Vec::new();
    for part in bytes.chunks(bytes.len().div_ceil(8).max(1)) {
        let last = part.last().copied().unwrap_or(0);
        let mut is_sane = true;
        let result = session.receive(part, &mut |event| {
            if let Event::Pointer { x, y, .. } = event {
                is_sane &= x <= 100 * 8 && y <= 60 * 8;
            }
        });
        assert!(is_sane, "the pointer is outside of every picture that there was");
        match last % 8 {
            0 => {
                screen.size = (u16::from(last) + 1, u16::from(last / 3) + 1);
                session.resized(screen.size.0, screen.size.1);
            }
            1 => session.damage(last.into(), 3, 40, 40),
            2 => session.moved(Rect::new(last.into(), 0, 30, 30), -5, 7),
            3 => session.set_leds(last >> 3),
            4 => session.set_absolute(last & 8 != 0),
            _ => screen.seed = last.into(),
        }
        let budget = usize::from(last) * 64;
        for _ in 0..4 {
            out.clear();
            session.produce(&screen, budget, &mut out);
            assert!(out.len() < budget + MORE);
        }
        if result.is_err() {
            break;
        }
    }
    // In the end it has said everything, and then nothing.
    for _ in 0..1000 {
        if !session.has_output() {
            break;
        }
        out.clear();
        session.produce(&screen, MORE, &mut out);
    }
    assert!(!session.has_output(), "it always has more to say");
}

/// A request, and what a browser sends after it, in pieces of a length that the first byte says.
pub(super) fn web(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let size = usize::from(*size).max(1);
    let (request, frames) = bytes.split_at(bytes.len() / 2);
    let mut head = web::http::Head::new();
    for piece in request.chunks(size) {
        match head.feed(piece) {
            Ok(None) => {}
            Ok(Some((request, taken))) => {
                assert!(taken <= piece.len());
                if let Err(refusal) = web::websocket::accept(&request) {
                    let _ = refusal.response();
                }
                break;
            }
            Err(refusal) => {
                let _ = refusal.response();
                break;
            }
        }
    }
    let mut receiver = web::websocket::Receiver::new();
    let (mut given, mut frames) = (0, frames.to_vec());
    let all = frames.len();
    for piece in frames.chunks_mut(size) {
        let result = receiver.receive(piece, &mut |incoming| match incoming {
            web::websocket::Incoming::Data(data) => given += data.len(),
            web::websocket::Incoming::Ping(data) => drop(web::websocket::pong(data)),
            web::websocket::Incoming::Pong | web::websocket::Incoming::Close(_) => {}
        });
        if let Err(error) = result {
            let _ = web::websocket::close(error.close_code());
            break;
        }
    }
    assert!(given <= all, "there is more data than bytes");
}
