//! The machine's memory, all of which is mapped, as the policy reaches it.
// UNSAFETY: reads and writes memory that domains have, which nobody refers to.
#![expect(unsafe_code)]

use crate::boot::{DIRECT, DIRECT_LEN};
use crate::{boot, cpu, port};
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use hypervisor_core::memory::WORDS;
use hypervisor_core::{Memory, Mfn};
use xen_abi::PAGE_SIZE;

/// All of it.
#[derive(Debug)]
pub(crate) struct Physical;

/// The address of bytes within a frame.
fn place(frame: Mfn, offset: usize, length: usize) -> Option<*mut u8> {
    let exists = frame.0 < DIRECT_LEN / 4096 && offset.checked_add(length)? <= PAGE_SIZE;
    let address = usize::try_from(DIRECT + frame.address()).ok()?.checked_add(offset)?;
    exists.then(|| ptr::with_exposed_provenance_mut(address))
}

fn word(frame: Mfn, index: usize) -> Option<&'static AtomicU64> {
    let place = place(frame, index.checked_mul(8).filter(|_| index < WORDS)?, 8)?;
    // SAFETY: all memory is mapped for good, the place is aligned, and whoever has the frame uses it by such accesses or is a
    // domain.
    Some(unsafe { AtomicU64::from_ptr(place.cast()) })
}

impl Memory for Physical {
    fn read(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        match place(frame, offset, bytes.len()) {
            // SAFETY: both are valid for so many bytes, and nobody refers to the memory of domains.
            Some(place) => unsafe { ptr::copy(place, bytes.as_mut_ptr(), bytes.len()) },
            None => bytes.fill(0xff),
        }
    }

    fn write(&mut self, frame: Mfn, offset: usize, bytes: &[u8]) {
        if let Some(place) = place(frame, offset, bytes.len()) {
            // SAFETY: as above.
            unsafe { ptr::copy(bytes.as_ptr(), place, bytes.len()) };
        }
    }

    fn load(&self, frame: Mfn, index: usize) -> u64 {
        word(frame, index).map_or(u64::MAX, |word| word.load(Ordering::Relaxed))
    }

    fn store(&mut self, frame: Mfn, index: usize, value: u64) {
        if let Some(word) = word(frame, index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn fetch_or(&mut self, frame: Mfn, index: usize, bits: u64) -> u64 {
        word(frame, index).map_or(u64::MAX, |word| word.fetch_or(bits, Ordering::SeqCst))
    }

    fn compare_exchange(&mut self, frame: Mfn, index: usize, old: u64, new: u64) -> u64 {
        let exchanged =
            word(frame, index).map(|word| word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst));
        exchanged.map_or(u64::MAX, |exchanged| exchanged.unwrap_or_else(|found| found))
    }

    fn leave_tables(&mut self) {
        cpu::set_top(boot::own_top());
    }

    fn read_port(&mut self, port: u16, width: u8) -> u32 {
        match width {
            1 => port::read(port).into(),
            2 => port::read_word(port).into(),
            _ => port::read_double(port),
        }
    }

    fn write_port(&mut self, port: u16, width: u8, value: u32) {
        let [a, b, ..] = value.to_le_bytes();
        match width {
            1 => port::write(port, a),
            2 => port::write_word(port, u16::from_le_bytes([a, b])),
            _ => port::write_double(port, value),
        }
    }
}
