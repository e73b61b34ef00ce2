//! Where things are in the project.

use std::path::{Path, PathBuf};

/// The top folder of the project.
pub(crate) fn project() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Everything that is made, whatever folder cargo builds in.
pub(crate) fn target() -> PathBuf {
    project().join("target")
}

/// The images that users install.
pub(crate) fn images() -> PathBuf {
    target().join("images")
}

/// Logs of a command.
pub(crate) fn logs(command: &str) -> PathBuf {
    target().join("logs").join(command)
}
