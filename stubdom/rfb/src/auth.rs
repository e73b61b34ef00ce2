//! VNC Authentication.
//!
//! The server sends sixteen random bytes, the viewer sends them back encrypted with the password.
//!
//! Source: RFC 6143 section 7.2.2. Quirk: DES keys take the bits of each byte of the password in reverse order, which
//! the RFC does not say and all viewers do (rfbproto.rst, VNC Authentication).

use crate::config::Password;
use core::hint::black_box;
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};

/// A challenge, and what it becomes.
pub(crate) type Block = [u8; 16];

/// What a viewer that knows the password answers.
pub(crate) fn response(password: &Password, challenge: &Block) -> Block {
    let des = Des::new(&password.bytes().map(u8::reverse_bits).into());
    let mut response = *challenge;
    let (halves, _) = response.as_chunks_mut::<8>();
    for half in halves {
        let mut block = (*half).into();
        des.encrypt_block(&mut block);
        *half = block.into();
    }
    response
}

/// Compares in a time that says nothing about where they differ.
pub(crate) fn same(a: &Block, b: &Block) -> bool {
    black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | black_box(a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 81's vector, key 0123456789abcdef and text "Now is the time ", with the password's bits in VNC's order.
    #[test]
    fn the_response_is_des_with_the_bits_of_the_key_reversed() {
        let key = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef_u8].map(u8::reverse_bits);
        let password = Password::new(&key).unwrap();
        let response = response(&password, b"Now is the time ");
        assert_eq!(response, 0x3fa4_0e8a_984d_4815_6a27_1787_ab88_83f9_u128.to_be_bytes());
    }

    #[test]
    fn only_equal_blocks_are_the_same() {
        let block = [7; 16];
        assert!(same(&block, &block));
        for at in 0..16 {
            let mut other = block;
            other[at] ^= 0x80;
            assert!(!same(&block, &other), "{at}");
        }
    }

    #[test]
    fn passwords_have_one_to_eight_bytes() {
        assert!(Password::new(b"").is_none());
        assert_eq!(Password::new(b"12345678").unwrap().bytes(), Password::new(b"123456789").unwrap().bytes());
    }
}
