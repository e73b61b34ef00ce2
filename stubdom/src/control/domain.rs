//! A domain that runs, up to its end.

use alloc::format;
use alloc::string::{String, ToString};

use log::{error, info, warn};
use minios::hypercall::{XenError, domctl};
use stubdom::xl::DomainConfig;
use xen_abi::DomId;
use xen_abi::domctl::{XEN_DOMINF_SHUTDOWN, XEN_DOMINF_SHUTDOWNSHIFT};
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND, SHUTDOWN_WATCHDOG};

use crate::{Control, building, records};

/// A domain.
pub(crate) struct Domain {
    id: DomId,
    config: DomainConfig,
}

impl Domain {
    /// Makes it and lets it run.
    pub(crate) async fn start(config: DomainConfig, control: &Control) -> Result<Self, String> {
        let failed = |error: String| format!("{}: {error}", config.name);
        let built = building::build(&config, &control.files).map_err(failed)?;
        records::write(&control.store, &built, &config).await.map_err(|error| failed(error.to_string()))?;
        control.daemon.introduce(built.id, built.store).map_err(failed)?;
        control.consoles.add(built.id, built.console, &control.spawner);
        domctl::unpause(built.id).map_err(|error| failed(format!("it does not run: {error}")))?;
        info!("{} is {} with {} MiB", config.name, built.id, config.memory);
        Ok(Self { id: built.id, config })
    }

    /// What becomes of it: nothing, if it has ended for good.
    pub(crate) async fn look(self, control: &Control) -> Result<Option<Self>, String> {
        let Ok(found) = domctl::info(self.id) else { return Ok(None) };
        if found.flags & XEN_DOMINF_SHUTDOWN == 0 {
            return Ok(Some(self));
        }
        let reason = found.flags >> XEN_DOMINF_SHUTDOWNSHIFT & 0xff;
        let (name, restarts) = match reason {
            SHUTDOWN_POWEROFF => ("power off", self.config.restarts.on_poweroff),
            SHUTDOWN_REBOOT => ("reboot", self.config.restarts.on_reboot),
            SHUTDOWN_SUSPEND => ("suspend", false),
            SHUTDOWN_CRASH => ("crash", self.config.restarts.on_crash),
            SHUTDOWN_WATCHDOG => ("watchdog", self.config.restarts.on_crash),
            _ => ("an unknown reason", false),
        };
        info!("{} ({}) has ended: {name}", self.config.name, self.id);
        control.daemon.shut_down(self.id);
        control.consoles.remove(self.id);
        if let Err(error) = domctl::destroy(self.id) {
            let error: XenError = error;
            error!("{}: it cannot be taken apart: {error}", self.config.name);
        }
        control.daemon.destroyed(self.id);
        if let Err(error) = records::remove(&control.store, self.id).await {
            warn!("{}: {error}", self.config.name);
        }
        if restarts { Self::start(self.config, control).await.map(Some) } else { Ok(None) }
    }
}
