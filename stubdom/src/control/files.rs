//! What the boot loader brought.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minios::boot::{self, BootModule};
use stubdom::xl::{self, DomainConfig};

/// The files.
pub(crate) struct Files {
    modules: Vec<BootModule>,
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The name of a file, which what is said of it begins with.
fn name(module: &BootModule) -> &'static str {
    base(module.words.split(' ').next().unwrap_or_default())
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { modules: boot::modules() }
    }

    /// The file with a name, whatever folder it is said to be in.
    pub(crate) fn get(&self, path: &str) -> Result<&'static [u8], String> {
        let found = self.modules.iter().find(|module| name(module) == base(path));
        found.map(|module| module.bytes).ok_or_else(|| format!("{path}: the boot loader brought no such file"))
    }

    /// The domains that are described.
    pub(crate) fn configs(&self) -> Result<Vec<DomainConfig>, String> {
        let configs = self.modules.iter().filter(|module| name(module).ends_with(".cfg"));
        let read = |module: &BootModule| {
            let text = core::str::from_utf8(module.bytes).map_err(|_| format!("{}: it is no text", name(module)))?;
            xl::read(text).map_err(|error| format!("{}: {error}", name(module)))
        };
        configs.map(read).collect()
    }
}
