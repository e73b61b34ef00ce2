//! The dashboard.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Point, Size};
use embedded_graphics::mono_font::ascii::{FONT_7X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, MonoTextStyleBuilder};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor, WebColors};
use embedded_graphics::primitives::{Circle, Line, Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use minios::boot;
use minios::clock;
use minios::front::XenDomain;
use minios::heap;
use stubdom::picture::Picture;

use crate::canvas::Canvas;
use crate::status::{SAMPLES, Sample, Status};

const BACKGROUND: Rgb888 = Rgb888::new(0x10, 0x14, 0x1c);
const PANEL: Rgb888 = Rgb888::new(0x1c, 0x22, 0x2e);
const TITLE: Rgb888 = Rgb888::CSS_GOLDENROD;
const TEXT: Rgb888 = Rgb888::CSS_LIGHT_GRAY;
const FIRST: Rgb888 = Rgb888::CSS_MEDIUM_SEA_GREEN;
const SECOND: Rgb888 = Rgb888::CSS_CORNFLOWER_BLUE;

/// Where things are.
const LEFT: i32 = 16;
const RIGHT: i32 = 416;
const COLUMN: u32 = 368;
const GRAPH: Size = Size::new(COLUMN, 64);
const MEMORY: i32 = 56;
const DISK: i32 = 128;
const NETWORK: i32 = 272;
const INPUT: i32 = 416;
const PAD: Size = Size::new(160, 120);
const EVENTS: i32 = 56;
const EVENT_LINES: usize = 32;
const EVENT_HEIGHT: i32 = 16;

/// What is on the screen, so that only what differs is drawn.
#[derive(Default)]
pub(crate) struct Dashboard {
    texts: Vec<String>,
    free: Option<usize>,
    pointer: Option<((u16, u16), u8)>,
    /// How many samples there had been.
    sampled: Option<u64>,
}

impl Dashboard {
    /// Draws what has changed.
    pub(crate) fn draw(&mut self, picture: &mut Picture<XenDomain>, status: &Status) {
        // A canvas cannot fail.
        let Ok(()) = self.try_draw(picture, status);
    }

    fn try_draw(&mut self, picture: &mut Picture<XenDomain>, status: &Status) -> Result<(), Infallible> {
        if self.texts.is_empty() {
            Canvas::new(picture).clear(BACKGROUND)?;
        }
        let rates = status.rates();
        let (total, free) = (boot::memory_pages() << 12, heap::free_bytes());
        let input = &status.input;
        let mut place = 0;
        let mut text = |picture: &mut _, font, color, x, y, columns, text: String| {
            if self.texts.len() == place {
                self.texts.push(String::new());
            }
            if let Some(known) = self.texts.get_mut(place)
                && *known != text
            {
                let mut canvas = Canvas::new(picture);
                line(&mut canvas, font, color, Point::new(x, y), columns, &text)?;
                *known = text;
            }
            place += 1;
            Ok::<(), Infallible>(())
        };
        let seconds = clock::now().0 / 1_000_000_000;
        let uptime = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        text(picture, &FONT_10X20, TITLE, LEFT, 12, 40, format!("{} on miniOS", status.name))?;
        text(picture, &FONT_10X20, TITLE, RIGHT, 12, 36, format!("{uptime:>36}"))?;
        let headings =
            [(LEFT, MEMORY, "Memory"), (LEFT, DISK, "Disk"), (LEFT, NETWORK, "Network"), (LEFT, INPUT, "Input")];
        for (x, y, heading) in headings.into_iter().chain([(RIGHT, EVENTS, "Events")]) {
            text(picture, &FONT_10X20, TITLE, x, y, 10, heading.to_string())?;
        }
        let memory = format!("{} of {} KiB free", free >> 10, total >> 10);
        text(picture, &FONT_7X13, TEXT, LEFT + 110, MEMORY + 4, 36, memory)?;
        let disk = match status.disk.bytes {
            0 => "none".to_string(),
            bytes => format!("{} MiB, {}", bytes >> 20, status.disk.check),
        };
        text(picture, &FONT_7X13, TEXT, LEFT + 110, DISK + 4, 36, disk)?;
        let (read, written) = (rate(rates.disk_read), rate(rates.disk_written));
        text(picture, &FONT_7X13, FIRST, LEFT, DISK + 24, 24, format!("read    {read}"))?;
        text(picture, &FONT_7X13, SECOND, LEFT + 184, DISK + 24, 24, format!("written {written}"))?;
        let address = if status.network.addresses.is_empty() { "no address" } else { &status.network.addresses };
        text(picture, &FONT_7X13, TEXT, LEFT + 110, NETWORK + 4, 36, address.to_string())?;
        let (received, sent) = (rate(rates.network_in), rate(rates.network_out));
        text(picture, &FONT_7X13, FIRST, LEFT, NETWORK + 24, 24, format!("in      {received}"))?;
        text(picture, &FONT_7X13, SECOND, LEFT + 184, NETWORK + 24, 24, format!("out     {sent}"))?;
        text(picture, &FONT_7X13, TEXT, LEFT, INPUT + 24, 42, format!("> {}_", input.typed))?;
        let (x, y) = input.pointer;
        let pointer = format!("pointer {x:5} {y:5}");
        text(picture, &FONT_7X13, TEXT, LEFT + 184, INPUT + 48, 20, pointer)?;
        for index in 0..EVENT_LINES {
            let shown = status.events.get(index).map_or_else(String::new, |(at, event)| {
                let milliseconds = at.0 / 1_000_000;
                format!("{:4}.{:03} {event}", milliseconds / 1000, milliseconds % 1000)
            });
            let below = EVENT_HEIGHT * i32::try_from(index).unwrap_or(0);
            text(picture, &FONT_7X13, TEXT, RIGHT, EVENTS + 24 + below, 52, shown)?;
        }

        if self.free.replace(free) != Some(free) {
            let used = total.saturating_sub(free) * COLUMN as usize / total.max(1);
            let used = u32::try_from(used).unwrap_or(COLUMN);
            let mut canvas = Canvas::new(picture);
            bar(&mut canvas, Rectangle::new(Point::new(LEFT, MEMORY + 28), Size::new(COLUMN, 16)), used)?;
        }
        if self.sampled.replace(status.sampled) != Some(status.sampled) {
            let at = |y| Rectangle::new(Point::new(LEFT, y), GRAPH);
            let disk = |sample: &Sample| (sample.disk_read, sample.disk_written);
            let network = |sample: &Sample| (sample.network_in, sample.network_out);
            graph(&mut Canvas::new(picture), at(DISK + 44), status.samples.iter().map(disk))?;
            graph(&mut Canvas::new(picture), at(NETWORK + 44), status.samples.iter().map(network))?;
        }
        if self.pointer.replace((input.pointer, input.buttons)) != Some((input.pointer, input.buttons)) {
            pad(&mut Canvas::new(picture), input.pointer, input.buttons)?;
        }
        Ok(())
    }
}

/// A line of text, with blanks up to `columns`.
fn line(
    canvas: &mut Canvas<'_>,
    font: &'static MonoFont<'static>,
    color: Rgb888,
    at: Point,
    columns: usize,
    text: &str,
) -> Result<(), Infallible> {
    let style: MonoTextStyle<'_, Rgb888> =
        MonoTextStyleBuilder::new().font(font).text_color(color).background_color(BACKGROUND).build();
    let text: String = text.chars().chain(core::iter::repeat(' ')).take(columns).collect();
    Text::with_baseline(&text, at, style, Baseline::Top).draw(canvas).map(drop)
}

fn bar(canvas: &mut Canvas<'_>, area: Rectangle, used: u32) -> Result<(), Infallible> {
    canvas.fill_solid(&area, PANEL)?;
    canvas.fill_solid(&Rectangle::new(area.top_left, Size::new(used, area.size.height)), FIRST)
}

/// Two curves over the last minute.
fn graph(
    canvas: &mut Canvas<'_>,
    area: Rectangle,
    samples: impl Iterator<Item = (u64, u64)> + Clone,
) -> Result<(), Infallible> {
    canvas.fill_solid(&area, PANEL)?;
    let most = samples.clone().map(|(first, second)| first.max(second)).max().unwrap_or(0).max(1);
    let height = u64::from(area.size.height - 3);
    let step = i32::try_from(area.size.width as usize / SAMPLES).unwrap_or(1);
    let bottom = area.top_left.y + i32::try_from(area.size.height).unwrap_or(0) - 2;
    for (pick, color) in [(0, FIRST), (1, SECOND)] {
        let points = samples.clone().zip(0..).map(|((first, second), index)| {
            let value = if pick == 0 { first } else { second };
            let above = u128::from(value) * u128::from(height) / u128::from(most);
            Point::new(area.top_left.x + 1 + index * step, bottom - i32::try_from(above).unwrap_or(0))
        });
        for (from, to) in points.clone().zip(points.skip(1)) {
            Line::new(from, to).into_styled(PrimitiveStyle::with_stroke(color, 1)).draw(canvas)?;
        }
    }
    Ok(())
}

/// Where the pointer is, on a picture of the screen.
fn pad(canvas: &mut Canvas<'_>, (x, y): (u16, u16), buttons: u8) -> Result<(), Infallible> {
    const DOT: u32 = 7;
    let area = Rectangle::new(Point::new(LEFT, INPUT + 48), PAD);
    canvas.fill_solid(&area, PANEL)?;
    let place = |at: u16, of: u32| i32::try_from(u32::from(at) * (of - DOT) / 0x7fff).unwrap_or(0);
    let corner = area.top_left + Point::new(place(x, PAD.width), place(y, PAD.height));
    let color = if buttons == 0 { Rgb888::WHITE } else { TITLE };
    let dot = Circle::new(corner, DOT);
    dot.into_styled(PrimitiveStyle::with_fill(color)).draw(canvas)
}

/// Bytes in a second, for people.
fn rate(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B/s"),
        10_000..10_000_000 => format!("{} KiB/s", bytes >> 10),
        _ => format!("{} MiB/s", bytes >> 20),
    }
}
