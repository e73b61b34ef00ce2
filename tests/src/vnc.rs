//! A VNC viewer without a window: takes pictures, types and points.
//!
//! Source: RFC 6143, The Remote Framebuffer Protocol, version 3.8 with raw encoding, without a password or with one; the
//! pseudo-encoding DesktopSize tells of a screen that changes its size.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use des::cipher::{BlockCipherEncrypt as _, KeyInit as _};

/// Nobody has a larger screen; a server that says so is not believed.
const LARGEST_SIDE: u16 = 8192;

/// What a screen shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// `0x00RRGGBB`, line by line.
    pub pixels: Vec<u32>,
}

impl Screen {
    /// Writes a PNG file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let bytes: Vec<u8> = self
            .pixels
            .iter()
            .flat_map(|pixel| {
                let [_, red, green, blue] = pixel.to_be_bytes();
                [red, green, blue]
            })
            .collect();
        encoder.write_header()?.write_image_data(&bytes)?;
        Ok(())
    }

    /// Reads a PNG file of 8-bit red, green and blue, as [`Screen::save`] writes it. What shines through is not looked at.
    pub fn from_png(bytes: &[u8]) -> Result<Self> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
        let mut data = vec![0; reader.output_buffer_size().context("the picture is too large")?];
        let info = reader.next_frame(&mut data)?;
        ensure!(info.bit_depth == png::BitDepth::Eight, "the picture has not 8 bits of each colour");
        let channels = match info.color_type {
            png::ColorType::Rgb => 3,
            png::ColorType::Rgba => 4,
            other => bail!("the picture is not one of red, green and blue, but {other:?}"),
        };
        let pixel =
            |channels: &[u8]| channels.iter().take(3).fold(0, |pixel, channel| pixel << 8 | u32::from(*channel));
        let pixels = data[..info.buffer_size()].chunks_exact(channels).map(pixel).collect();
        Ok(Self { width: info.width, height: info.height, pixels })
    }

    /// Whether all of it has one colour.
    pub fn is_blank(&self) -> bool {
        self.pixels.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// The answer to a challenge (RFC 6143, 7.2.2): the key is the password, with the bits of each byte the other way round.
fn response(password: &str, mut challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0; 8];
    for (byte, letter) in key.iter_mut().zip(password.bytes()) {
        *byte = letter.reverse_bits();
    }
    let des = des::Des::new(&key.into());
    let (halves, _) = challenge.as_chunks_mut::<8>();
    for half in halves {
        let mut block = (*half).into();
        des.encrypt_block(&mut block);
        *half = block.into();
    }
    challenge
}

/// A connection to a VNC server.
#[derive(Debug)]
pub struct Viewer<S> {
    server: S,
    screen: Screen,
}

impl<S: Read + Write> Viewer<S> {
    /// Agrees with a server that wants no password on the protocol; other viewers may stay.
    pub fn open(server: S) -> Result<Self> {
        Self::open_with(server, None)
    }

    /// The same with a server that may want a password.
    pub fn open_with(mut server: S, password: Option<&str>) -> Result<Self> {
        let version: [u8; 12] = read(&mut server).context("the VNC server says nothing")?;
        ensure!(version.starts_with(b"RFB 003."), "not a VNC server: {version:?}");
        server.write_all(b"RFB 003.008\n")?;
        let [count] = read(&mut server)?;
        let mut types = vec![0; usize::from(count)];
        server.read_exact(&mut types)?;
        match password {
            Some(password) => {
                ensure!(types == [2], "the VNC server wants no password, but lets in by {types:?}");
                server.write_all(&[2])?;
                let challenge: [u8; 16] = read(&mut server)?;
                server.write_all(&response(password, challenge))?;
            }
            None => {
                ensure!(types.contains(&1), "the VNC server wants a password");
                server.write_all(&[1])?;
            }
        }
        ensure!(read(&mut server)? == [0; 4], "the VNC server refuses the connection");
        // ClientInit: shared.
        server.write_all(&[1])?;
        let [w0, w1, h0, h1] = read(&mut server)?;
        let _pixel_format: [u8; 16] = read(&mut server)?;
        let name_length = u32::from_be_bytes(read(&mut server)?);
        skip(&mut server, u64::from(name_length))?;
        // SetPixelFormat: 32 bits with a depth of 24, little-endian, true colour, blue in the lowest byte.
        server.write_all(&[0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0])?;
        // SetEncodings: raw and DesktopSize.
        server.write_all(&[2, 0, 0, 2, 0, 0, 0, 0])?;
        server.write_all(&DESKTOP_SIZE.to_be_bytes())?;
        let mut viewer = Self { server, screen: Screen::default() };
        viewer.resize(u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]))?;
        Ok(viewer)
    }

    /// Asks for the whole screen, whether it changed or not, and does not wait for it.
    pub fn ask(&mut self) -> Result<()> {
        self.ask_for(false)
    }

    /// FramebufferUpdateRequest.
    fn ask_for(&mut self, changes: bool) -> Result<()> {
        let [_, _, w0, w1] = self.screen.width.to_be_bytes();
        let [_, _, h0, h1] = self.screen.height.to_be_bytes();
        self.server.write_all(&[3, u8::from(changes), 0, 0, 0, 0, w0, w1, h0, h1])?;
        Ok(self.server.flush()?)
    }

    /// What it is connected by.
    pub fn stream(&mut self) -> &mut S {
        &mut self.server
    }

    /// Asks for the whole screen and waits for it.
    pub fn picture(&mut self) -> Result<&Screen> {
        loop {
            let (width, height) = (self.screen.width, self.screen.height);
            self.ask()?;
            let mut drawn: u64 = 0;
            while drawn < u64::from(width) * u64::from(height) {
                let (pixels, is_new_size) = self.message()?;
                if is_new_size {
                    drawn = 0;
                    break;
                }
                drawn += pixels;
            }
            if drawn > 0 {
                return Ok(&self.screen);
            }
        }
    }

    /// Asks for what has changed since it was told, and waits for that.
    pub fn change(&mut self) -> Result<()> {
        self.ask_for(true)?;
        while self.message()?.0 == 0 {}
        Ok(())
    }

    /// Presses or releases a key.
    pub fn key(&mut self, keysym: u32, pressed: bool) -> Result<()> {
        self.server.write_all(&[4, u8::from(pressed), 0, 0])?;
        self.server.write_all(&keysym.to_be_bytes())?;
        Ok(self.server.flush()?)
    }

    /// Types characters of ASCII; a line feed is the return key. An upper-case letter is for the server to make of its keys.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        for character in text.chars() {
            let keysym = if character == '\n' { RETURN } else { u32::from(character) };
            let needs_shift = character.is_ascii_uppercase() || "~!@#$%^&*()_+{}|:\"<>?".contains(character);
            if needs_shift {
                self.key(SHIFT_LEFT, true)?;
            }
            self.key(keysym, true)?;
            self.key(keysym, false)?;
            if needs_shift {
                self.key(SHIFT_LEFT, false)?;
            }
        }
        Ok(())
    }

    /// Types Ctrl-Alt-1, by which QEMU binds its VNC server to its first console.
    pub fn choose_first_console(&mut self) -> Result<()> {
        let keys = [CONTROL_LEFT, ALT_LEFT, u32::from('1')];
        for key in keys {
            self.key(key, true)?;
        }
        for key in keys.into_iter().rev() {
            self.key(key, false)?;
        }
        Ok(())
    }

    /// Moves the pointer; the lowest bit of `buttons` is the left one.
    pub fn point(&mut self, x: u16, y: u16, buttons: u8) -> Result<()> {
        let ([x0, x1], [y0, y1]) = (x.to_be_bytes(), y.to_be_bytes());
        self.server.write_all(&[5, buttons, x0, x1, y0, y1])?;
        Ok(self.server.flush()?)
    }

    /// Takes one message of the server. Gives the number of pixels that it drew, and whether the screen has a new size.
    fn message(&mut self) -> Result<(u64, bool)> {
        let [kind] = read(&mut self.server)?;
        match kind {
            0 => {
                let [_, c0, c1] = read(&mut self.server)?;
                let (mut drawn, mut is_new_size) = (0, false);
                for _ in 0..u16::from_be_bytes([c0, c1]) {
                    match self.rectangle()? {
                        Some(pixels) => drawn += pixels,
                        None => is_new_size = true,
                    }
                }
                Ok((drawn, is_new_size))
            }
            // SetColourMapEntries: there is none in true colour.
            1 => {
                let [_, _, _, c0, c1] = read(&mut self.server)?;
                skip(&mut self.server, u64::from(u16::from_be_bytes([c0, c1])) * 6)?;
                Ok((0, false))
            }
            // Bell.
            2 => Ok((0, false)),
            // ServerCutText.
            3 => {
                let [_, _, _, l0, l1, l2, l3] = read(&mut self.server)?;
                skip(&mut self.server, u64::from(u32::from_be_bytes([l0, l1, l2, l3])))?;
                Ok((0, false))
            }
            _ => bail!("the VNC server sends a message of unknown type {kind}"),
        }
    }

    /// Takes one rectangle. Gives the number of its pixels, or nothing when it is a new size of the screen.
    fn rectangle(&mut self) -> Result<Option<u64>> {
        let header: [u8; 12] = read(&mut self.server)?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (x, y, width, height) = (field(0), field(2), field(4), field(6));
        let encoding = i32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        if encoding == DESKTOP_SIZE {
            self.resize(width, height)?;
            return Ok(None);
        }
        ensure!(encoding == 0, "the VNC server uses encoding {encoding}, which was not offered");
        let (right, bottom) = (u32::from(x) + u32::from(width), u32::from(y) + u32::from(height));
        ensure!(right <= self.screen.width && bottom <= self.screen.height, "a rectangle lies outside of the screen");
        let mut line = vec![0; usize::from(width) * 4];
        let stride = usize::try_from(self.screen.width)?;
        for row in y..y + height {
            self.server.read_exact(&mut line)?;
            let start = usize::from(row) * stride + usize::from(x);
            let pixels = &mut self.screen.pixels[start..start + usize::from(width)];
            for (pixel, bytes) in pixels.iter_mut().zip(line.chunks_exact(4)) {
                *pixel = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
            }
        }
        Ok(Some(u64::from(width) * u64::from(height)))
    }

    fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        ensure!(
            (1..=LARGEST_SIDE).contains(&width) && (1..=LARGEST_SIDE).contains(&height),
            "a screen of {width} by {height}"
        );
        let pixels = vec![0; usize::from(width) * usize::from(height)];
        self.screen = Screen { width: width.into(), height: height.into(), pixels };
        Ok(())
    }
}

/// The pseudo-encoding that carries a new size of the screen.
const DESKTOP_SIZE: i32 = -223;
/// XK_Return.
const RETURN: u32 = 0xff0d;
/// XK_Shift_L.
const SHIFT_LEFT: u32 = 0xffe1;
/// XK_Control_L.
const CONTROL_LEFT: u32 = 0xffe3;
/// XK_Alt_L.
const ALT_LEFT: u32 = 0xffe9;

fn read<const LENGTH: usize>(server: &mut impl Read) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    server.read_exact(&mut bytes).context("the VNC server ended the connection")?;
    Ok(bytes)
}

fn skip(server: &mut impl Read, length: u64) -> Result<()> {
    let skipped = std::io::copy(&mut server.take(length), &mut std::io::sink())?;
    ensure!(skipped == length, "the VNC server ended the connection");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// A server whose whole part was written beforehand.
    struct Recorded<'a> {
        says: &'a [u8],
        hears: Vec<u8>,
    }

    impl Read for Recorded<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Recorded<'_> {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.hears.write(buffer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Greeting of a server with a screen of the given size.
    fn greeting(width: u8, height: u8) -> Vec<u8> {
        let mut bytes = b"RFB 003.008\n\x01\x01\0\0\0\0".to_vec();
        bytes.extend([0, width, 0, height]);
        bytes.extend([0; 16]);
        bytes.extend(b"\0\0\0\x02me");
        bytes
    }

    #[test]
    fn a_picture_is_made_of_raw_rectangles() {
        let mut says = greeting(2, 1);
        says.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0]);
        says.extend([0x33, 0x22, 0x11, 0xff, 1, 2, 3, 0]);
        let mut viewer = Viewer::open(Recorded { says: &says, hears: Vec::new() }).unwrap();
        let screen = viewer.picture().unwrap();
        assert_eq!((screen.width, screen.height), (2, 1));
        assert_eq!(screen.pixels, [0x0011_2233, 0x0003_0201]);
    }

    #[test]
    fn a_new_size_is_asked_for_again() {
        let mut says = greeting(2, 1);
        says.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1]);
        says.extend(DESKTOP_SIZE.to_be_bytes());
        says.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 4, 5, 6, 0]);
        let mut viewer = Viewer::open(Recorded { says: &says, hears: Vec::new() }).unwrap();
        assert_eq!(viewer.picture().unwrap().pixels, [0x0006_0504]);
        let asks = viewer.server.hears.windows(10).filter(|bytes| bytes.starts_with(&[3, 0, 0, 0, 0, 0, 0])).count();
        assert_eq!(asks, 2);
    }

    #[test]
    fn a_rectangle_outside_of_the_screen_is_an_error() {
        let mut says = greeting(2, 1);
        says.extend([0, 0, 0, 1, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0]);
        let mut viewer = Viewer::open(Recorded { says: &says, hears: Vec::new() }).unwrap();
        assert!(viewer.picture().is_err());
    }

    #[test]
    fn an_upper_case_letter_is_typed_with_shift() {
        let says = greeting(1, 1);
        let mut viewer = Viewer::open(Recorded { says: &says, hears: Vec::new() }).unwrap();
        viewer.server.hears.clear();
        viewer.type_text("A\n").unwrap();
        let keys: Vec<_> =
            viewer.server.hears.chunks(8).map(|key| (key[1], u16::from_be_bytes([key[6], key[7]]))).collect();
        assert_eq!(keys, [(1, 0xffe1), (1, 0x41), (0, 0x41), (0, 0xffe1), (1, 0xff0d), (0, 0xff0d)]);
    }
}
