//! Clients that send anything at all.

use std::vec::Vec;

use super::client::{Machine, message, messages};
use super::random::Random;
use crate::connection::Fault;

/// However a stream is cut, it means the same.
#[test]
fn bytes_may_come_in_any_pieces() {
    let stream: Vec<u8> = [
        message(11, 1, 0, b"x/y\0value"),
        message(2, 2, 0, b"x/y\0"),
        message(6, 3, 0, b"\0"),
        message(1, 4, 1, b"x\0"),
        message(99, 5, 0, b""),
        message(7, 6, 1, b"T\0"),
    ]
    .concat();
    let mut random = Random::new(5);
    let mut expected = None;
    for round in 0..200 {
        let mut machine = Machine::new();
        let guest = machine.domain(5);
        let mut rest = &*stream;
        while !rest.is_empty() {
            let len = if round == 0 { rest.len() } else { (1 + random.below(20)).min(rest.len()) };
            assert_eq!(machine.daemon.receive(guest, &rest[..len], &mut machine.world), Ok(len));
            rest = &rest[len..];
        }
        // The output, too, in any pieces.
        let mut output = Vec::new();
        while !machine.daemon.output(guest).is_empty() {
            let len = 1 + random.below(machine.daemon.output(guest).len());
            output.extend_from_slice(&machine.daemon.output(guest)[..len]);
            machine.daemon.sent(guest, len);
        }
        let messages = messages(&output);
        assert_eq!(messages.len(), 6);
        assert_eq!(*expected.get_or_insert(messages.clone()), messages);
    }
}

/// Random requests of random clients, many of them nearly right. They may do what they like to themselves, but the store
/// stays whole and answers keep their limits.
#[test]
fn random_requests_do_no_harm() {
    let words: [&[u8]; 24] = [
        b"/",
        b"x",
        b"x/y",
        b"/local/domain/5",
        b"/local/domain/6/x",
        b"@releaseDomain",
        b"@introduceDomain",
        b"/tool",
        b"n5",
        b"r6",
        b"b0",
        b"w7",
        b"0",
        b"1",
        b"5",
        b"6",
        b"T",
        b"F",
        b"token",
        b"",
        b"check",
        b"quota",
        b"65535",
        b"-1",
    ];
    let mut random = Random::new(0x0bad_cafe_dead_beef);
    for _ in 0..100 {
        let mut machine = Machine::new();
        let (five, six) = (machine.domain(5), machine.domain(6));
        let clients = [machine.control, five, six];
        for _ in 0..400 {
            let client = *random.pick(&clients);
            let mut payload = Vec::new();
            for _ in 0..random.below(5) {
                let word: &&[u8] = random.pick(&words);
                payload.extend_from_slice(word);
                payload.extend([0].iter().take(usize::from(random.below(8) > 0)));
            }
            if random.below(20) == 0 {
                payload.extend(random.bytes(4096 - payload.len()));
            }
            let bytes = message(random.below(25) as u32, 1, random.below(3) as u32, &payload);
            let cut = random.below(bytes.len() + 1);
            for part in [&bytes[..cut], &bytes[cut..]] {
                let taken = machine.daemon.receive(client, part, &mut machine.world).unwrap();
                assert!(taken <= part.len());
                if taken < part.len() {
                    // It has to fetch first. What it sends after a cut is no longer what it was; so begin anew.
                    machine.daemon.reset(client);
                    break;
                }
            }
            if random.below(3) == 0 {
                machine.fetch(*random.pick(&clients));
            }
            if random.below(50) == 0 {
                machine.world.now += core::time::Duration::from_secs(5);
                machine.daemon.expire(machine.world.now);
            }
        }
        assert!(machine.daemon.check());
    }
}

/// Bytes without any sense. A connection ends by them sooner or later, and only that one.
#[test]
fn random_bytes_end_their_connection_at_most() {
    let mut random = Random::new(77);
    let mut ended = 0;
    for _ in 0..200 {
        let mut machine = Machine::new();
        let (noisy, quiet) = (machine.domain(5), machine.domain(6));
        for _ in 0..20 {
            let bytes = random.bytes(100);
            if machine.daemon.receive(noisy, &bytes, &mut machine.world).is_err() {
                assert_eq!(machine.daemon.fault(noisy), Some(Fault::Protocol));
                ended += 1;
                break;
            }
            machine.fetch(noisy);
        }
        assert_eq!(machine.write(quiet, "x", b"1"), super::client::done());
        assert!(machine.daemon.check());
    }
    assert!(ended > 150);
}
