//! The answer to IDENTIFY DEVICE.
//!
//! Source: ATA/ATAPI-6 (T13 1410D), 8.15 IDENTIFY DEVICE, table 27.

/// The 256 words of the answer.
#[derive(Clone, Debug)]
pub struct Identify {
    words: [u16; 256],
}

impl Identify {
    /// From the 512 bytes that the data port gave.
    #[must_use]
    pub fn new(data: &[u8; 512]) -> Self {
        let mut words = [0; 256];
        let (pairs, _) = data.as_chunks::<2>();
        for (word, pair) in words.iter_mut().zip(pairs) {
            *word = u16::from_le_bytes(*pair);
        }
        Self { words }
    }

    /// One word; words that do not exist are 0.
    #[must_use]
    pub fn word(&self, at: usize) -> u16 {
        self.words.get(at).copied().unwrap_or(0)
    }

    /// Two words as one number, the lower word first.
    fn double(&self, at: usize) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at.saturating_add(1))) << 16
    }

    /// Word 83 bit 10, with the bits that say that the word is valid: the 48-bit commands are there.
    #[must_use]
    pub fn lba48(&self) -> bool {
        self.word(83) & 0xc400 == 0x4400
    }

    /// Word 49 bit 8: DMA is there.
    #[must_use]
    pub fn dma(&self) -> bool {
        self.word(49) & 1 << 8 != 0
    }

    /// Words 60 and 61: sectors that the 28-bit commands reach.
    #[must_use]
    pub fn sectors28(&self) -> u64 {
        u64::from(self.double(60))
    }

    /// Number of sectors: words 100 to 103 where the 48-bit commands are there, else words 60 and 61.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        if self.lba48() { u64::from(self.double(100)) | u64::from(self.double(102)) << 32 } else { self.sectors28() }
    }

    /// Word 47: most sectors of one block of READ MULTIPLE, 0 if that is not there.
    #[must_use]
    pub fn most_multiple(&self) -> u8 {
        let [low, _] = self.word(47).to_le_bytes();
        low
    }

    /// Words 1, 3 and 6: cylinders, heads and sectors in a track.
    #[must_use]
    pub fn geometry(&self) -> (u16, u16, u16) {
        (self.word(1), self.word(3), self.word(6))
    }

    /// Words 27 to 46, the model number: two characters to a word, the first in the upper byte.
    #[must_use]
    pub fn model(&self) -> [u8; 40] {
        let mut text = [b' '; 40];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, word) in pairs.iter_mut().zip(self.words.iter().skip(27)) {
            *pair = word.to_be_bytes();
        }
        text
    }

    /// What is wrong with the answer, if anything is.
    ///
    /// # Errors
    /// A line that names the words which contradict the standard or one another.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.word(0) & 0x8000 != 0 {
            return Err("word 0: not an ATA device");
        }
        if self.word(49) & 1 << 9 == 0 {
            return Err("word 49: no LBA");
        }
        let (cylinders, heads, sectors) = self.geometry();
        if cylinders == 0 || heads == 0 || heads > 16 || sectors == 0 || sectors > 63 {
            return Err("words 1, 3, 6: impossible geometry");
        }
        let sectors28 = self.sectors28();
        if sectors28 == 0 || sectors28 > 0x0fff_ffff {
            return Err("words 60, 61: impossible number of sectors");
        }
        if self.lba48() && self.sectors().min(0x0fff_ffff) != sectors28 {
            return Err("words 60, 61 and 100 to 103 contradict each other");
        }
        if !self.model().iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err("words 27 to 46: not text");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sane() -> [u8; 512] {
        let mut data = [0; 512];
        let mut put = |word: usize, value: u16| data[word * 2..word * 2 + 2].copy_from_slice(&value.to_le_bytes());
        put(1, 16383);
        put(3, 16);
        put(6, 63);
        put(47, 0x8010);
        put(49, 0x0300);
        put(60, 0xffff);
        put(61, 0x0fff);
        put(83, 0x4400);
        put(102, 1);
        for word in 27..47 {
            put(word, u16::from_be_bytes(*b"Ab"));
        }
        data
    }

    #[test]
    fn a_large_disk_has_its_size_in_words_100_to_103() {
        let identify = Identify::new(&sane());
        assert_eq!(identify.check(), Ok(()));
        assert_eq!(identify.sectors(), 1 << 32);
        assert_eq!(identify.sectors28(), 0x0fff_ffff);
        assert_eq!(identify.most_multiple(), 16);
        assert_eq!(&identify.model()[..4], b"AbAb");
        assert!(identify.dma());
    }

    #[test]
    fn contradicting_sizes_are_found() {
        let mut data = sane();
        data[120] = 0;
        assert!(Identify::new(&data).check().is_err());
        assert!(Identify::new(&[0xff; 512]).check().is_err());
    }
}
