//! `-drive`, `-hda` to `-hdd` and `-cdrom`: the IDE drives, and the media in them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use devmodel::ahci::PORTS;

use crate::devices::Ide;
use crate::media::{self, Media, path, zeros};
use crate::options::Options;
use crate::plan::{Backing, Drive, FaultPlan, Medium};

/// Everything said of drives.
#[derive(Debug, Default)]
pub(crate) struct Drives {
    /// Writes to any of them are kept in memory only.
    pub(crate) snapshot: bool,
    /// Media that a `-device` can name.
    pub(crate) media: Media,
    /// Drives, and the option each comes from: the place, if there is one of its own.
    drives: Vec<(Option<Place>, String, Drive)>,
    /// The name of the AHCI controller, if there is one.
    pub(crate) ahci: Option<String>,
    /// What is in the flash memory of the firmware. It is not written to.
    pub(crate) flash: Option<PathBuf>,
    /// Drives that nobody gave a controller go to the AHCI controller.
    pub(crate) prefers_ahci: bool,
}

/// Where a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Channel × 2 + unit of the IDE controller.
    Ide(usize),
    /// The port of the AHCI controller.
    Sata(usize),
    /// The number of the drive, on whichever controller is the machine's own.
    Index(usize),
}

impl Drives {
    /// `-drive`.
    pub(crate) fn drive(&mut self, value: &str) -> Result<()> {
        let mut options = Options::parse("-drive", value, None);
        let text = options.text().to_owned();
        options.ignore(media::IGNORED);
        let interface = options.take("if");
        let cd = match options.take("media").as_deref() {
            None | Some("disk") => false,
            Some("cdrom") => true,
            Some(other) => bail!("\"{text}\": media is disk or cdrom, not {other}"),
        };
        let (file, format, driver) = (options.take("file"), options.take("format"), options.take("driver"));
        let file = file.or_else(|| options.take("file.filename"));
        let size = options.take("size").or_else(|| options.take("file.size"));
        let kind = format.or(driver);
        let (file, script) = match file.as_deref().and_then(|file| file.strip_prefix("blkdebug:")) {
            Some(rest) => {
                let (script, file) =
                    rest.split_once(':').with_context(|| format!("\"{text}\": it is blkdebug:SCRIPT:FILE"))?;
                (Some(file.to_owned()), Some(PathBuf::from(script)).filter(|_| !script.is_empty()))
            }
            None => (file, None),
        };
        let mut stops = |key| match options.take(key).as_deref() {
            None | Some("report" | "enospc" | "ignore") => Ok(false),
            Some("stop") => Ok(true),
            Some(other) => bail!("\"{text}\": {key} is report or stop, not {other}"),
        };
        let (read_stops, write_stops) = (stops("rerror")?, stops("werror")?);
        let backing = match (kind.as_deref(), file) {
            (None | Some("raw" | "file"), Some(file)) if file.starts_with("null-co://") => Some(zeros(&text, size)?),
            (Some("null-co" | "null-aio"), None) => Some(zeros(&text, size)?),
            (None | Some("raw" | "file" | "host_device"), Some(file)) if file.is_empty() => None,
            (None | Some("raw" | "file" | "host_device"), Some(file)) => Some(Backing::File(path(&text, &file)?)),
            (None | Some("raw"), None) => None,
            (Some(kind), _) => bail!("\"{text}\": the format {kind} is not supported: only raw is"),
        };
        let read_only = options.take_bool("readonly")?.or(options.take_bool("read-only")?).unwrap_or(cd);
        let snapshot = options.take_bool("snapshot")?.unwrap_or(false);
        let id = options.take("id");
        let write_rate = options.take_number("throttling.bps-write")?.filter(|rate| *rate > 0);
        let faults = FaultPlan { node: id.clone().unwrap_or_default(), script, read_stops, write_stops, write_rate };
        let medium = backing.map(|backing| Medium { backing, read_only, snapshot, faults });
        let serial = options.take("serial").unwrap_or_default();
        let place = match (options.take_number("index")?, options.take_number("bus")?, options.take_number("unit")?) {
            (Some(index), None, None) => Some(index),
            (None, bus, Some(unit)) => Some(bus.unwrap_or(0) * 2 + unit),
            (None, Some(bus), None) => Some(bus * 2),
            (None, None, None) => None,
            _ => bail!("\"{text}\": either index, or bus and unit"),
        };
        match interface.as_deref() {
            Some("none") => {
                let id = id.with_context(|| format!("\"{text}\" needs an id"))?;
                self.media.add(&text, id, medium)?;
            }
            None | Some("ide") => {
                let place = place.map(|place| place_of(&text, place)).transpose()?;
                ensure!(cd || medium.is_some(), "\"{text}\": a disk needs a file");
                let name = id.unwrap_or_default();
                let drive = Drive { name, cd, medium, serial, ..Drive::default() };
                self.drives.push((place.map(Place::Index), text, drive));
            }
            Some("pflash") => match medium.map(|medium| medium.backing) {
                Some(Backing::File(path)) => self.flash = Some(path),
                _ => bail!("\"{text}\" needs a file"),
            },
            Some(other) => bail!("\"{text}\": if={other} is not supported: only ide, pflash and none are"),
        }
        options.finish()
    }

    /// `-hda` to `-hdd`, and an argument that is no option.
    pub(crate) fn ide(&mut self, place: Option<usize>, file: &str) -> Result<()> {
        let medium = Medium::new(Backing::File(path(file, file)?), false);
        let place = place.map(Place::Index);
        self.drives.push((place, file.to_owned(), Drive { medium: Some(medium), ..Drive::default() }));
        Ok(())
    }

    /// `-cdrom`.
    pub(crate) fn cdrom(&mut self, file: &str) -> Result<()> {
        let medium = Medium::new(Backing::File(path(file, file)?), true);
        let drive = Drive { cd: true, medium: Some(medium), ..Drive::default() };
        self.drives.push((Some(Place::Index(2)), file.to_owned(), drive));
        Ok(())
    }

    /// `-device ide-hd` or `ide-cd`.
    pub(crate) fn attach(&mut self, ide: Ide) -> Result<()> {
        let Ide { text, id, cd, drive, bus, unit, serial, model, firmware } = ide;
        let medium = match &drive {
            Some(name) => match self.media.take(name) {
                Some(medium) => medium,
                None => bail!("\"{text}\": there is no free drive with the id {name}"),
            },
            None => None,
        };
        let name = drive.unwrap_or_default();
        ensure!(cd || medium.is_some(), "\"{text}\": a disk needs a drive with a file");
        let place = match (bus, unit) {
            (None, None) => None,
            (None, Some(unit)) => Some(Place::Ide(unit.into())),
            (Some(bus), unit) => {
                let place = self.place_on(&bus, unit.unwrap_or(0).into());
                Some(place.with_context(|| format!("\"{text}\": there is no bus {bus}"))?)
            }
        };
        self.drives.push((place, text, Drive { id, name, cd, medium, serial, model, firmware }));
        Ok(())
    }

    /// A place by the name of a channel, `ide.N`, or of a port, `CONTROLLER.N`.
    fn place_on(&self, bus: &str, unit: usize) -> Option<Place> {
        let (controller, number) = bus.rsplit_once('.')?;
        let number: usize = number.parse().ok()?;
        let is_ahci = if controller == "ide" { self.prefers_ahci } else { self.ahci.as_deref() == Some(controller) };
        match is_ahci {
            true => Some(Place::Sata(number)).filter(|_| unit == 0),
            false => Some(Place::Ide(number * 2 + unit)).filter(|_| controller == "ide" && number < 2),
        }
    }

    /// `-global`: what drives are that nobody said anything else of.
    pub(crate) fn default(&mut self, cd: bool, key: &str, value: &str) -> bool {
        let drives = self.drives.iter_mut().map(|(.., drive)| drive).filter(|drive| drive.cd == cd);
        for drive in drives {
            let field = match key {
                "serial" => &mut drive.serial,
                "model" => &mut drive.model,
                "ver" => &mut drive.firmware,
                _ => return false,
            };
            if field.is_empty() {
                value.clone_into(field);
            }
        }
        true
    }

    /// Puts every drive into its place; those that have none of their own take what is left, CD drives from the second
    /// channel on. With `defaults` there is an empty CD drive where QEMU has one, unless there is another.
    pub(crate) fn place(
        &mut self,
        ide: &mut [Option<Drive>; 4],
        sata: &mut [Option<Drive>; PORTS],
        defaults: bool,
    ) -> Result<()> {
        let has_cd = self.drives.iter().any(|(_, _, drive)| drive.cd);
        let (fixed, free): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.drives).into_iter().partition(|(place, ..)| place.is_some());
        for (place, text, mut drive) in fixed.into_iter().chain(free) {
            let first = if drive.cd { 2 } else { 0 };
            let (places, place) = match place {
                Some(Place::Ide(place)) => (&mut ide[..], Some(place)),
                Some(Place::Sata(place)) => (&mut sata[..], Some(place)),
                Some(Place::Index(place)) if self.prefers_ahci => (&mut sata[..], Some(place)),
                Some(Place::Index(place)) => (&mut ide[..], Some(place)),
                None if self.prefers_ahci => (&mut sata[..], None),
                None => (&mut ide[..], None),
            };
            let count = places.len();
            let next = || (0..count).map(|index| (first + index) % count).find(|index| places[*index].is_none());
            let index = place.or_else(next);
            let place = index.and_then(|place| places.get_mut(place)).filter(|place| place.is_none());
            let place = place.with_context(|| format!("\"{text}\": there is no place for it"))?;
            if drive.name.is_empty() {
                // What QEMU calls drives that nobody named.
                let (index, kind) = (index.unwrap_or(0), if drive.cd { "cd" } else { "hd" });
                drive.name = format!("ide{}-{kind}{}", index / 2, index % 2);
            }
            if let Some(medium) = &mut drive.medium {
                medium.snapshot |= self.snapshot;
                drive.name.clone_into(&mut medium.faults.node);
            }
            *place = Some(drive);
        }
        let third = if self.prefers_ahci { &mut sata[2] } else { &mut ide[2] };
        if defaults && !has_cd && third.is_none() {
            *third = Some(Drive { name: "ide1-cd0".to_owned(), cd: true, ..Drive::default() });
        }
        Ok(())
    }
}

fn place_of(text: &str, place: u64) -> Result<usize> {
    let place = usize::try_from(place).ok().filter(|place| *place < 4);
    place.with_context(|| format!("\"{text}\": IDE has four places"))
}
