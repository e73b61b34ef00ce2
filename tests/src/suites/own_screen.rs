//! The stub domain's own VNC server, on the network of the guest's card.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::debian::{console_for, entry, power_off};
use crate::suite::{Case, Context, Outcome};
use crate::testbed::{Agent, Stream};
use crate::vnc::Viewer;

pub(super) const CASES: &[Case] = &[Case::new("the-stub-domain-shows-its-screen-itself", 600, shows)];

/// Where it is, and what viewers have to know.
const ADDRESS: &str = "TCP:10.0.9.77:5901";
const PASSWORD: &str = "geheim";

fn viewer(agent: Agent, password: &str) -> Result<Viewer<Stream>> {
    let stream = agent.open(ADDRESS)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Viewer::open_with(stream, Some(password))
}

/// No framebuffer of the toolstack, and no network card of the stub domain's own: the guest's picture comes by the guest's
/// network, under another address.
fn shows(context: &Context) -> Result<Outcome> {
    let config = entry(context, "graphics")?
        .line("vif=['bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05']")
        .line("usb=1")
        .line("usbdevice='tablet'")
        .line("vnc=0")
        .line(format!("stubdomain_cmdline='ip=10.0.9.77/24 vnc=:1,websocket=on vncpasswd={PASSWORD}'"));
    let agent = context.agent;
    let guest = console_for(context, &config, |_| viewer(agent, PASSWORD))?;
    ensure!(viewer(agent, "falsch").is_err(), "a wrong password is let in");
    ensure!(viewer(agent, PASSWORD).is_err(), "there is no back-off");
    thread::sleep(Duration::from_secs(3));
    viewer(agent, PASSWORD)?.picture()?;
    power_off(&guest)
}
