//! Which encodings a viewer understands.
//!
//! Source: RFC 6143 section 7.5.2; rfbproto.rst, Encodings.

/// How pixels can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// RFC 6143 section 7.7.1. Every viewer understands it.
    #[default]
    Raw,
    /// RFC 6143 section 7.7.4.
    Hextile,
    /// rfbproto.rst, zlib Encoding.
    Zlib,
    /// rfbproto.rst, Tight Encoding.
    Tight,
    /// RFC 6143 section 7.7.6.
    Zrle,
}

impl Encoding {
    /// Its encoding-type.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::Raw => 0,
            Self::Hextile => 5,
            Self::Zlib => 6,
            Self::Tight => 7,
            Self::Zrle => 16,
        }
    }

    const fn of_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            5 => Some(Self::Hextile),
            6 => Some(Self::Zlib),
            7 => Some(Self::Tight),
            16 => Some(Self::Zrle),
            _ => None,
        }
    }
}

/// CopyRect, RFC 6143 section 7.7.2.
pub(crate) const COPY_RECT: i32 = 1;
/// Cursor, RFC 6143 section 7.8.1.
pub(crate) const CURSOR: i32 = -239;
/// DesktopSize, RFC 6143 section 7.8.2.
pub(crate) const DESKTOP_SIZE: i32 = -223;
/// rfbproto.rst, QEMU Pointer Motion Change Pseudo-encoding.
pub(crate) const POINTER_MOTION: i32 = -257;
/// rfbproto.rst, QEMU Extended Key Event Pseudo-encoding.
pub(crate) const EXTENDED_KEY: i32 = -258;
/// rfbproto.rst, QEMU LED State Pseudo-encoding.
pub(crate) const LED_STATE: i32 = -261;
/// rfbproto.rst, ExtendedDesktopSize Pseudo-encoding.
pub(crate) const EXTENDED_DESKTOP_SIZE: i32 = -308;
/// rfbproto.rst, Fence Pseudo-encoding.
pub(crate) const FENCE: i32 = -312;
/// rfbproto.rst, ContinuousUpdates Pseudo-encoding.
pub(crate) const CONTINUOUS_UPDATES: i32 = -313;
/// rfbproto.rst, ExtendedMouseButtons Pseudo-encoding.
pub(crate) const MOUSE_BUTTONS: i32 = -316;
/// rfbproto.rst, Compression Level Pseudo-encoding: level 0.
const COMPRESSION_LOWEST: i32 = -256;
/// Level 9.
const COMPRESSION_HIGHEST: i32 = -247;
/// rfbproto.rst, JPEG Quality Level Pseudo-encoding: level 0.
const QUALITY_LOWEST: i32 = -32;
/// Level 9.
const QUALITY_HIGHEST: i32 = -23;

/// What a SetEncodings message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encodings {
    /// The first that we know of those that stand for pixels; none is Raw.
    preferred: Option<Encoding>,
    pub(crate) copy_rect: bool,
    pub(crate) cursor: bool,
    pub(crate) desktop_size: bool,
    pub(crate) extended_desktop_size: bool,
    pub(crate) pointer_motion: bool,
    pub(crate) extended_key: bool,
    pub(crate) led_state: bool,
    pub(crate) fence: bool,
    pub(crate) continuous_updates: bool,
    pub(crate) mouse_buttons: bool,
    /// Compression level, 0 to 9.
    pub(crate) compression: Option<u8>,
    /// JPEG quality level, 0 to 9.
    pub(crate) quality: Option<u8>,
}

impl Encodings {
    /// Takes the next encoding-type of the list. The first one of a kind counts; unknown ones do not.
    pub(crate) fn add(&mut self, number: i32) {
        let level = |lowest: i32| u8::try_from(number.wrapping_sub(lowest)).ok();
        match number {
            COPY_RECT => self.copy_rect = true,
            CURSOR => self.cursor = true,
            DESKTOP_SIZE => self.desktop_size = true,
            EXTENDED_DESKTOP_SIZE => self.extended_desktop_size = true,
            POINTER_MOTION => self.pointer_motion = true,
            EXTENDED_KEY => self.extended_key = true,
            LED_STATE => self.led_state = true,
            FENCE => self.fence = true,
            CONTINUOUS_UPDATES => self.continuous_updates = true,
            MOUSE_BUTTONS => self.mouse_buttons = true,
            COMPRESSION_LOWEST..=COMPRESSION_HIGHEST => {
                self.compression = self.compression.or(level(COMPRESSION_LOWEST));
            }
            QUALITY_LOWEST..=QUALITY_HIGHEST => self.quality = self.quality.or(level(QUALITY_LOWEST)),
            _ => self.preferred = self.preferred.or(Encoding::of_number(number)),
        }
    }

    /// How pixels are sent.
    pub(crate) fn preferred(&self) -> Encoding {
        self.preferred.unwrap_or_default()
    }

    /// Whether the viewer can show a picture of another size.
    pub(crate) fn resizes(&self) -> bool {
        self.desktop_size || self.extended_desktop_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_encoding_is_preferred() {
        let mut encodings = Encodings::default();
        assert_eq!(encodings.preferred(), Encoding::Raw);
        [1, -239, 12345, 16, 7, 0, -250, -247, -28].into_iter().for_each(|number| encodings.add(number));
        assert_eq!(encodings.preferred(), Encoding::Zrle);
        assert!(encodings.copy_rect && encodings.cursor && !encodings.fence && !encodings.resizes());
        assert_eq!((encodings.compression, encodings.quality), (Some(6), Some(4)));
    }
}
