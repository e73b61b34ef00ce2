//! Video memory, with a note of the pages that were written.

/// Bytes of a page.
const PAGE: usize = 4096;

/// Video memory.
#[derive(Debug, Default)]
pub(crate) struct Video {
    bytes: Vec<u8>,
    dirty: Vec<bool>,
    /// Where the linear aperture is.
    pub(crate) aperture: Option<u64>,
}

impl Video {
    /// So many bytes, all of which count as written.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], dirty: vec![true; bytes.div_ceil(PAGE)], aperture: None }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies from `offset` on; what lies behind the end reads as zero.
    pub(crate) fn read(&self, offset: usize, data: &mut [u8]) {
        copy_from(&self.bytes, offset, data);
    }

    /// Copies to `offset` on; what lies behind the end is dropped.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        copy_to(&mut self.bytes, offset, data);
        if !data.is_empty() {
            let last = offset.saturating_add(data.len() - 1) / PAGE;
            self.dirty.iter_mut().take(last.saturating_add(1)).skip(offset / PAGE).for_each(|dirty| *dirty = true);
        }
    }

    /// Takes the note of eight pages a byte, from page `first` on.
    pub(crate) fn take_dirty(&mut self, first: usize, bitmap: &mut [u8]) {
        for (index, byte) in bitmap.iter_mut().enumerate() {
            *byte = 0;
            for bit in 0..8 {
                if let Some(dirty) = self.dirty.get_mut(first.saturating_add(index * 8 + bit)) {
                    *byte |= u8::from(std::mem::take(dirty)) << bit;
                }
            }
        }
    }

    /// The offset in video memory of `len` bytes at a guest address, if the linear aperture has all of them.
    pub(crate) fn offset(&self, addr: u64, len: usize) -> Option<usize> {
        let offset = usize::try_from(addr.checked_sub(self.aperture?)?).ok()?;
        (offset.checked_add(len)? <= self.bytes.len()).then_some(offset)
    }
}

/// Copies from `offset` on; what lies behind the end reads as zero.
pub(crate) fn copy_from(from: &[u8], offset: usize, to: &mut [u8]) {
    let there = from.get(offset..).unwrap_or_default();
    let len = there.len().min(to.len());
    to[..len].copy_from_slice(&there[..len]);
    to[len..].fill(0);
}

/// Copies to `offset` on; what lies behind the end is dropped.
pub(crate) fn copy_to(to: &mut [u8], offset: usize, from: &[u8]) {
    let there = to.get_mut(offset..).unwrap_or_default();
    let len = there.len().min(from.len());
    there[..len].copy_from_slice(&from[..len]);
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn writes_leave_a_note_of_their_pages() {
        let mut video = Video::new(16 * PAGE);
        let mut bitmap = [0; 3];
        video.take_dirty(0, &mut bitmap);
        assert_eq!(bitmap, [0xff, 0xff, 0], "all at first");
        video.write(2 * PAGE - 1, &[1, 2]);
        video.write(usize::MAX, &[1]);
        video.take_dirty(0, &mut bitmap);
        assert_eq!(bitmap, [0b110, 0, 0]);
        video.take_dirty(0, &mut bitmap);
        assert_eq!(bitmap, [0; 3]);
    }
}
