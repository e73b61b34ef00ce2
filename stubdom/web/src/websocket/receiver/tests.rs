use super::{Incoming, Receiver};
use crate::random::Random;
use crate::websocket::{CloseCode, ProtocolError};
use alloc::vec;
use alloc::vec::Vec;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a client sent, with its data put together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    data: Vec<u8>,
    /// Everything else, with the number of bytes of data before it.
    others: Vec<(usize, Other)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Other {
    Ping(Vec<u8>),
    Pong,
    Close(Option<CloseCode>),
}

impl Seen {
    fn add(&mut self, incoming: Incoming<'_>) {
        let other = match incoming {
            Incoming::Data(piece) => {
                assert!(!piece.is_empty());
                return self.data.extend_from_slice(piece);
            }
            Incoming::Ping(payload) => Other::Ping(payload.to_vec()),
            Incoming::Pong => Other::Pong,
            Incoming::Close(code) => Other::Close(code),
        };
        self.others.push((self.data.len(), other));
    }
}

/// What bytes that come in pieces of `len` give.
fn in_pieces(bytes: &[u8], len: usize) -> (Seen, Result<(), ProtocolError>) {
    let (mut receiver, mut seen) = (Receiver::new(), Seen::default());
    let mut bytes = bytes.to_vec();
    let result =
        bytes.chunks_mut(len).try_for_each(|piece| receiver.receive(piece, &mut |incoming| seen.add(incoming)));
    (seen, result)
}

fn whole(bytes: &[u8]) -> (Seen, Result<(), ProtocolError>) {
    in_pieces(bytes, bytes.len().max(1))
}

/// A masked frame; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Two fragments with a ping between, a pong, a longer message, an empty one, a close, and what must not be seen.
fn stream() -> Vec<u8> {
    let frames = [
        frame(0x02, b"Hel"),
        frame(0x89, b"Hello"),
        frame(0x80, b"lo"),
        frame(0x8a, b"?"),
        frame(0x82, &[b'x'; 300]),
        frame(0x82, b""),
        frame(0x88, b"\x03\xe8bye"),
        frame(0x82, b"dropped"),
    ];
    frames.concat()
}

/// RFC 6455, 5.7: "A single-frame masked text message", as a binary one.
#[test]
fn the_masked_message_of_the_rfc_is_unmasked() {
    let (seen, result) = whole(b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!((seen.data.as_slice(), result), (b"Hello".as_slice(), Ok(())));
}

/// RFC 6455, 5.7: the same message as it stands there. 1003 is "a type of data it cannot accept".
#[test]
fn text_is_refused_as_data_that_is_not_served() {
    let (seen, result) = whole(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!((seen, result), (Seen::default(), Err(ProtocolError::Text)));
    assert_eq!(ProtocolError::Text.close_code().number(), 1003);
}

/// RFC 6455, 5.7: the masked pong, and the ping with a mask.
#[test]
fn the_ping_and_the_pong_of_the_rfc_are_told_apart() {
    let (seen, _) = whole(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(seen.others, [(0, Other::Pong)]);
    let (seen, _) = whole(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(seen.others, [(0, Other::Ping(b"Hello".to_vec()))]);
}

/// RFC 6455, 5.7: the unmasked messages. 5.1: a server "MUST close the connection upon receiving a frame that is not
/// masked", with 1002.
#[test]
fn unmasked_frames_are_refused() {
    for bytes in [b"\x82\x05Hello".as_slice(), b"\x89\x05Hello", b"\x82\x7e\x01\x00", b"\x02\x03Hel"] {
        assert_eq!(whole(bytes), (Seen::default(), Err(ProtocolError::NotMasked)));
    }
    assert_eq!(ProtocolError::NotMasked.close_code(), CloseCode::PROTOCOL_ERROR);
}

/// RFC 6455, 5.4: "Control frames MAY be injected in the middle of a fragmented message."
#[test]
fn a_stream_of_frames_is_put_together() {
    let (seen, result) = whole(&stream());
    assert_eq!(result, Ok(()));
    assert_eq!(seen.data, [b"Hello".as_slice(), &[b'x'; 300]].concat());
    let close = Other::Close(Some(CloseCode::NORMAL));
    assert_eq!(seen.others, [(3, Other::Ping(b"Hello".to_vec())), (5, Other::Pong), (305, close)]);
}

#[test]
fn pieces_of_any_length_give_what_the_whole_gives() {
    let bytes = stream();
    for len in 1..bytes.len() {
        assert_eq!(in_pieces(&bytes, len), whole(&bytes));
    }
}

#[test]
fn fragments_must_be_in_order() {
    let refused = |frames: &[Vec<u8>]| assert_eq!(whole(&frames.concat()).1, Err(ProtocolError::Fragmentation));
    refused(&[frame(0x80, b"a")]);
    refused(&[frame(0x02, b"a"), frame(0x82, b"b")]);
    refused(&[frame(0x02, b"a"), frame(0x80, b"b"), frame(0x00, b"c")]);
}

#[test]
fn the_longest_ping_is_taken() {
    let (seen, result) = in_pieces(&[frame(0x89, &[7; 125]), frame(0x89, b"")].concat(), 50);
    assert_eq!(result, Ok(()));
    assert_eq!(seen.others, [(0, Other::Ping(vec![7; 125])), (0, Other::Ping(vec![]))]);
    assert_eq!(whole(&frame(0x89, &[7; 126])).1, Err(ProtocolError::LongControl));
}

#[test]
fn the_payload_of_a_close_is_checked() {
    let check = |payload: &[u8]| {
        let (seen, result) = whole(&frame(0x88, payload));
        result.map(|()| seen.others)
    };
    assert_eq!(check(b""), Ok(vec![(0, Other::Close(None))]));
    assert_eq!(check(b"\x03\xe9"), Ok(vec![(0, Other::Close(Some(CloseCode::GOING_AWAY)))]));
    assert_eq!(check(b"\x03"), Err(ProtocolError::CloseCode));
    assert_eq!(check(b"\x03\xed"), Err(ProtocolError::CloseCode));
    assert_eq!(check(b"\x03\xe8\xff"), Err(ProtocolError::CloseReason));
    assert_eq!(ProtocolError::CloseReason.close_code().number(), 1007);
}

#[test]
fn what_came_before_an_error_is_given_and_the_error_stays() {
    let (mut receiver, mut seen) = (Receiver::new(), Seen::default());
    let mut bytes = [frame(0x82, b"good"), vec![0xff], frame(0x82, b"never")].concat();
    let refused = Err(ProtocolError::ReservedBits);
    assert_eq!(receiver.receive(&mut bytes, &mut |incoming| seen.add(incoming)), refused);
    assert_eq!(receiver.receive(&mut frame(0x82, b"never"), &mut |incoming| seen.add(incoming)), refused);
    assert_eq!(receiver.receive(&mut [], &mut |incoming| seen.add(incoming)), refused);
    assert_eq!(seen.data, b"good");
}

/// A receiver that owns nothing has no heap memory to grow: what it needs lies in itself, whatever length a frame
/// announces.
#[test]
fn a_frame_of_any_announced_length_takes_no_memory() {
    assert!(!core::mem::needs_drop::<Receiver>());
    assert!(size_of::<Receiver>() <= 256);

    // 2^63 has the highest bit set, which RFC 6455, 5.2, forbids.
    let (seen, result) = whole(b"\x82\xff\x80\0\0\0\0\0\0\0\x37\xfa\x21\x3d\x7f\x9f");
    assert_eq!((seen, result), (Seen::default(), Err(ProtocolError::Length)));

    // One less is a length, and its payload is passed on as it comes.
    let mut receiver = Receiver::new();
    let mut header = *b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(receiver.receive(&mut header, &mut |_| unreachable!()), Ok(()));
    let mut count = 0;
    for _ in 0..100 {
        let mut piece = [1; 1000];
        let mut sink = |incoming: Incoming<'_>| {
            assert_eq!(incoming, Incoming::Data(&[1; 1000]));
            count += 1;
        };
        assert_eq!(receiver.receive(&mut piece, &mut sink), Ok(()));
    }
    assert_eq!(count, 100);
}

#[test]
fn random_bytes_do_no_harm_and_pieces_make_no_difference() {
    let mut random = Random::new(1);
    for _ in 0..3000 {
        let bytes = random.bytes(100);
        assert_eq!(in_pieces(&bytes, 1), whole(&bytes));
        let mut bytes = stream();
        for _ in 0..random.below(4) {
            // Headers of the first frames more often than the long payload.
            let at = random.below(60);
            bytes[at] = random.next().to_be_bytes()[0];
        }
        assert_eq!(in_pieces(&bytes, 1 + random.below(20)), whole(&bytes));
    }
}
