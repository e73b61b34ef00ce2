//! The machine's memory.

use xen_abi::{PAGE_SHIFT, PAGE_SIZE};

/// A machine frame: 4096 bytes of the machine's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfn(pub u64);

impl Mfn {
    /// Where it begins, in bytes.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// The frame that holds the byte at this address.
    #[must_use]
    pub const fn of(address: u64) -> Self {
        Self(address >> PAGE_SHIFT)
    }
}

/// Words of 64 bits in a frame.
pub const WORDS: usize = PAGE_SIZE / 8;

/// The machine's memory, as this crate reaches it, and its ports. Domains may write to memory at any time.
///
/// Frames that do not exist read as ones, and writes to them are dropped; offsets and indexes beyond a frame as well.
pub trait Memory {
    /// Copies bytes out of a frame.
    fn read(&self, frame: Mfn, offset: usize, bytes: &mut [u8]);
    /// Copies bytes into a frame.
    fn write(&mut self, frame: Mfn, offset: usize, bytes: &[u8]);
    /// Reads a word at once.
    fn load(&self, frame: Mfn, index: usize) -> u64;
    /// Writes a word at once.
    fn store(&mut self, frame: Mfn, index: usize, value: u64);
    /// Sets bits of a word at once, and gives what it was.
    fn fetch_or(&mut self, frame: Mfn, index: usize, bits: u64) -> u64;
    /// Replaces a word at once if it is `old`. Gives what it was.
    fn compare_exchange(&mut self, frame: Mfn, index: usize, old: u64, new: u64) -> u64;

    /// The processor uses tables of the hypervisor alone until it is given others: those of a domain may lose what the hypervisor
    /// needs of them.
    fn leave_tables(&mut self) {}

    /// Reads one, two or four bytes of the machine's ports. Those that nobody answers read as ones.
    fn read_port(&mut self, _port: u16, _width: u8) -> u32 {
        u32::MAX
    }

    /// Writes them.
    fn write_port(&mut self, _port: u16, _width: u8, _value: u32) {}
}

/// Memory for tests: so many frames, and how often the processor has left a domain's tables.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct TestMemory(pub(crate) alloc::vec::Vec<[u64; WORDS]>, pub(crate) u32);

#[cfg(test)]
impl TestMemory {
    pub(crate) fn new(frames: usize) -> Self {
        Self(alloc::vec![[0; WORDS]; frames], 0)
    }

    fn word(&mut self, frame: Mfn, index: usize) -> Option<&mut u64> {
        self.0.get_mut(usize::try_from(frame.0).ok()?)?.get_mut(index)
    }
}

#[cfg(test)]
impl Memory for TestMemory {
    fn read(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        for (byte, at) in bytes.iter_mut().zip(offset..) {
            let word = if at < PAGE_SIZE { self.load(frame, at / 8) } else { u64::MAX };
            *byte = word.to_le_bytes()[at % 8];
        }
    }

    fn write(&mut self, frame: Mfn, offset: usize, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(offset..) {
            if let Some(word) = self.word(frame, at / 8) {
                let mut parts = word.to_le_bytes();
                parts[at % 8] = *byte;
                *word = u64::from_le_bytes(parts);
            }
        }
    }

    fn load(&self, frame: Mfn, index: usize) -> u64 {
        let frame = usize::try_from(frame.0).ok().and_then(|frame| self.0.get(frame));
        frame.and_then(|words| words.get(index)).copied().unwrap_or(u64::MAX)
    }

    fn store(&mut self, frame: Mfn, index: usize, value: u64) {
        if let Some(word) = self.word(frame, index) {
            *word = value;
        }
    }

    fn leave_tables(&mut self) {
        self.1 += 1;
    }

    fn fetch_or(&mut self, frame: Mfn, index: usize, bits: u64) -> u64 {
        self.word(frame, index).map_or(u64::MAX, |word| core::mem::replace(word, *word | bits))
    }

    fn compare_exchange(&mut self, frame: Mfn, index: usize, old: u64, new: u64) -> u64 {
        match self.word(frame, index) {
            Some(word) if *word == old => core::mem::replace(word, new),
            Some(word) => *word,
            None => u64::MAX,
        }
    }
}
