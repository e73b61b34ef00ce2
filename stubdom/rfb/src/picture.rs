//! What viewers are shown.

/// A picture. Pixels are 0x00RRGGBB.
pub trait Picture {
    /// Columns and rows.
    fn size(&self) -> (u16, u16);

    /// Copies a part of row `y`, from column `x` on, into `row`. It lies within the picture.
    fn read(&self, x: u16, y: u16, row: &mut [u32]);
}

/// Copies a part of row `y`, from column `x` on, into `row`. What lies beyond the picture is black: a viewer that cannot
/// resize its picture may have a larger one than there is now.
pub(crate) fn read_row(picture: &dyn Picture, x: u16, y: u16, row: &mut [u32]) {
    let (width, height) = picture.size();
    let within = if y < height { usize::from(width.saturating_sub(x)).min(row.len()) } else { 0 };
    if let Some((inside, beyond)) = row.split_at_mut_checked(within) {
        if !inside.is_empty() {
            picture.read(x, y, inside);
        }
        beyond.fill(0);
    }
}
