//! What a viewer sees, pixel by pixel.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::domain::{DeviceModel, Guest};
use crate::guest_image;
use crate::guest_screen::{self, Picture};
use crate::suite::{Case, Context};
use crate::testbed::Stream;
use crate::vnc::Viewer;

pub(super) const CASES: &[Case] = &[
    Case::new("text-and-graphics-are-shown-as-drawn", 400, every_kind),
    Case::new("palette-colours-are-shown-as-drawn", 300, |context| linear(context, 640, 480, 8)),
    Case::new("high-colours-are-shown-as-drawn", 300, |context| linear(context, 800, 600, 16)),
];

const LIMIT: Duration = Duration::from_secs(120);
/// How long a viewer may have to wait until the screen is as it was drawn.
const SETTLED: Duration = Duration::from_secs(15);

/// A check of what is seen.
type Check<'a> = &'a dyn Fn(Picture<'_>) -> Result<()>;

fn every_kind(context: &Context) -> Result<()> {
    let cases: [(&str, Check<'_>); 5] = [
        ("text", &|picture| guest_screen::check_text(picture)),
        ("mode-12h", &|picture| guest_screen::check_mode_12h(picture)),
        ("mode-13h", &|picture| guest_screen::check_mode_13h(picture)),
        ("vbe", &|picture| guest_screen::check_vbe(picture, 1024, 768, 32)),
        ("vbe-banked", &|picture| guest_screen::check_vbe(picture, 640, 480, 32)),
    ];
    let names: Vec<_> = cases.iter().map(|(name, _)| *name).collect();
    run(context, &format!("run={}", names.join(",")), &cases)
}

fn linear(context: &Context, width: u32, height: u32, bits: u32) -> Result<()> {
    let check = |picture: Picture<'_>| guest_screen::check_vbe(picture, width, height, bits);
    let words = format!("run=vbe,vbe-banked width={width} height={height} bits={bits}");
    run(context, &words, &[("vbe", &check), ("vbe-banked", &check)])
}

/// Looks at each picture that the guest draws. One viewer stays from the first to the last.
fn run(context: &Context, words: &str, cases: &[(&str, Check<'_>)]) -> Result<()> {
    let guest = context.start(&context.test_guest("screen", DeviceModel::Stubdom, words)?)?;
    let mut viewer = None;
    for (name, check) in cases {
        guest.serial().wait_for(&format!("READY {name}\n"), LIMIT)?;
        let viewer = match &mut viewer {
            Some(viewer) => viewer,
            None => viewer.insert(guest.viewer()?),
        };
        look(context, name, viewer, check)?;
        // Somebody who comes now sees the same.
        if *name == "vbe" {
            look(context, name, &mut late(&guest)?, check)?;
        }
        guest.serial().send(b"\n")?;
    }
    guest_image::judge(&guest.serial().wait_for("DONE", LIMIT)?)?;
    guest.wait_for_end(Duration::from_secs(60))?;
    Ok(())
}

fn late(guest: &Guest) -> Result<Viewer<Stream>> {
    guest.viewer()
}

/// Looks until the check passes. What was wrong to the end is saved as a picture.
fn look(context: &Context, name: &str, viewer: &mut Viewer<Stream>, check: Check<'_>) -> Result<()> {
    let end = Instant::now() + SETTLED;
    loop {
        let screen = viewer.picture()?;
        let picture = Picture { width: screen.width, height: screen.height, pixels: &screen.pixels };
        let Err(error) = check(picture) else { return Ok(()) };
        if Instant::now() > end {
            let file = context.logs.join(format!("{name}.png"));
            screen.save(&file)?;
            return Err(error.context(format!("{name} is shown as in {}", file.display())));
        }
        thread::sleep(Duration::from_millis(300));
    }
}
