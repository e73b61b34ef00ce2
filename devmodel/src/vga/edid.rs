//! What the monitor says about itself: a block of the VESA Enhanced EDID standard, release A, revision 2 (version 1.4).
//!
//! The preferred picture is 1280 × 800, which a viewer on a laptop can show; 1920 × 1200 is the largest. Both
//! timings are those of VESA's Coordinated Video Timings with reduced blanking.

/// The block, as behind the first bytes of BAR2.
pub(super) static BLOCK: [u8; 128] = block();

/// A timing: pixel clock in units of 10 kHz, pixels and blanking, the offset and width of the sync pulse, in that
/// order across and down.
struct Timing {
    clock: u16,
    width: u16,
    horizontal_blank: u16,
    height: u16,
    vertical_blank: u8,
    /// Lines in a sync pulse, which says the shape of the picture in reduced blanking; 16:10 is six.
    vertical_sync: u8,
}

const PREFERRED: Timing =
    Timing { clock: 7100, width: 1280, horizontal_blank: 160, height: 800, vertical_blank: 23, vertical_sync: 6 };
const LARGEST: Timing =
    Timing { clock: 15400, width: 1920, horizontal_blank: 160, height: 1200, vertical_blank: 35, vertical_sync: 6 };

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "worked out by the compiler")]
const fn block() -> [u8; 128] {
    let mut block = [0; 128];
    // Header, manufacturer "XEN" (five bits a letter), product, serial number, week, year since 1990, version 1.4.
    let manufacturer = ((b'X' - b'@') as u16) << 10 | ((b'E' - b'@') as u16) << 5 | (b'N' - b'@') as u16;
    let [high, low] = manufacturer.to_be_bytes();
    put(&mut block, 0, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, high, low, 0x11, 0x11, 0, 0, 0, 0, 1, 36, 1, 4]);
    // A digital input of eight bits a colour, 34 cm × 21 cm, gamma 2.2, RGB; sRGB, preferred timing given.
    put(&mut block, 20, &[0xa5, 34, 21, 120, 0x06]);
    // Chromaticities of sRGB.
    put(&mut block, 25, &[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // Established timings: 640 × 480, 800 × 600 and 1024 × 768, all at 60 Hz.
    put(&mut block, 35, &[0x21, 0x08, 0x00]);
    // Standard timings at 60 Hz: 1280 × 1024, 1280 × 960, 1440 × 900, 1600 × 1200, 1680 × 1050, 1920 × 1080.
    put(&mut block, 38, &[0x81, 0x80, 0x81, 0x40, 0x95, 0x00, 0xa9, 0x40, 0xb3, 0x00, 0xd1, 0xc0, 1, 1, 1, 1]);
    put(&mut block, 54, &detailed(&PREFERRED));
    put(&mut block, 72, &detailed(&LARGEST));
    // Range limits: 50 to 75 Hz down, 30 to 94 kHz across, at most 170 MHz, no further formula.
    put(&mut block, 90, &[0, 0, 0, 0xfd, 0, 50, 75, 30, 94, 17, 1, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20]);
    // Name of the monitor.
    put(&mut block, 108, b"\0\0\0\xfc\0Xen display\n ");
    let mut sum = 0_u8;
    let mut at = 0;
    while at < 127 {
        sum = sum.wrapping_add(block[at]);
        at += 1;
    }
    block[127] = sum.wrapping_neg();
    block
}

/// A detailed timing descriptor. Sync begins 48 pixels and three lines into blanking and lasts 32 pixels; it is
/// separate and digital, positive across and negative down.
const fn detailed(timing: &Timing) -> [u8; 18] {
    let [clock_low, clock_high] = timing.clock.to_le_bytes();
    let [width_low, width_high] = timing.width.to_le_bytes();
    let [blank_low, blank_high] = timing.horizontal_blank.to_le_bytes();
    let [height_low, height_high] = timing.height.to_le_bytes();
    [
        clock_low,
        clock_high,
        width_low,
        blank_low,
        width_high << 4 | blank_high,
        height_low,
        timing.vertical_blank,
        height_high << 4,
        48,
        32,
        3 << 4 | timing.vertical_sync,
        0,
        // 340 mm × 210 mm.
        0x54,
        210,
        0x10,
        0,
        0,
        0x1a,
    ]
}

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "worked out by the compiler")]
const fn put(block: &mut [u8; 128], at: usize, bytes: &[u8]) {
    let mut index = 0;
    while index < bytes.len() {
        block[at + index] = bytes[index];
        index += 1;
    }
}
