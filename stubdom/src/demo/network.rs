//! A station on the virtual interface, and what it serves.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;

use devmodel::host::InputEvent;
use log::{info, warn};
use minios::boot;
use minios::clock::{self, Instant};
use minios::exec::Spawner;
use minios::front::XenDomain;
use minios::front::net::{Net, Options};
use minios::net::Stack;
use minios::random;
use minios::xenstore::Xenstore;
use stubdom::config::{CommandLine, mac};
use stubdom::keymap::Keymap;
use stubdom::picture::Picture;
use stubdom::vnc::{self, Console, Server};

use crate::page::Pages;
use crate::pointer;
use crate::status::Shared;

/// The station and its servers.
pub(crate) struct Network {
    stack: Stack<XenDomain>,
    vnc: Option<Server>,
    pages: Option<Pages>,
}

impl Network {
    /// Opens what the command line asks for, if it asks for anything.
    pub(crate) async fn open(
        store: &Xenstore,
        spawner: &Spawner,
        platform: &Rc<XenDomain>,
        name: &str,
    ) -> Result<Option<Self>, String> {
        let mut port = None;
        let line = CommandLine::parse_with(boot::command_line(), &mut [("http", &mut port)]);
        let line = line.map_err(|refusal| format!("{refusal}"))?;
        let path = format!("device/vif/{}", line.vif.unwrap_or(0));
        let Some(address) = store.read_optional(&format!("{path}/mac")).await.map_err(|error| format!("{error}"))?
        else {
            if line.vnc.is_some() || port.is_some() || line.vif.is_some() {
                warn!("there is no {path}: nothing is served");
            }
            return Ok(None);
        };
        let address = mac(&address).map_err(|_| format!("{path}/mac is no Ethernet address"))?;
        let net = Net::new(platform.clone(), store, &path, Options::default());
        let net = net.map_err(|shortage| format!("{path}: {shortage}"))?;
        spawner.spawn(net.clone().run());
        let mut stack = Stack::new(net, address, true, &line.addresses, random::next(), clock::now());
        let vnc = match &line.vnc {
            Some(vnc) => {
                let password = vnc::password(store, &line, vnc, None).await.map_err(|error| format!("{error}"))?;
                info!("VNC: port {}", vnc.port);
                let title = format!("{name} on miniOS");
                let mut server = Server::new(&mut stack, &title, vnc, password, Keymap::default());
                server.set_pointer(pointer::cross());
                Some(server)
            }
            None => None,
        };
        let pages = port.map(|port| Pages::new(&mut stack, port));
        Ok(Some(Self { stack, vnc, pages }))
    }

    /// Moves what there is to move, and says when to do it again at the latest.
    pub(crate) fn serve(&mut self, picture: &mut Picture<XenDomain>, status: &Shared, now: Instant) -> Option<Instant> {
        self.stack.poll(now);
        if let Some(vnc) = &mut self.vnc {
            vnc.serve(&mut self.stack, picture, &mut Person(status), now);
        }
        if let Some(pages) = &mut self.pages {
            pages.serve(&mut self.stack, &status.borrow(), now);
        }
        self.stack.poll(now);
        let figures = &mut status.borrow_mut().network;
        figures.traffic = self.stack.traffic();
        figures.addresses = self.stack.addresses();
        let vnc = self.vnc.as_ref().and_then(|vnc| vnc.deadline(now));
        let pages = self.pages.as_ref().and_then(Pages::deadline);
        [vnc, pages, self.stack.next_deadline(now)].into_iter().flatten().min()
    }
}

/// Whoever sits at a viewer.
struct Person<'a>(&'a Shared);

impl Console for Person<'_> {
    fn input(&mut self, event: InputEvent) {
        self.0.borrow_mut().input(Some(event));
    }

    fn has_unread_keys(&self) -> bool {
        false
    }

    fn keyboard_leds(&self) -> u8 {
        0
    }

    fn takes_positions(&self) -> bool {
        true
    }
}
