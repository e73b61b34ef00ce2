//! The stub domain's own screen on the network: what was asked for by the arguments and the command line, and the station
//! that it is served from.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;

use log::{info, warn};
use minios::clock;
use minios::exec::Spawner;
use minios::front::XenDomain as Domain;
use minios::front::net::{Net, Options};
use minios::heap;
use minios::net::Stack;
use minios::random;
use minios::xenstore::Xenstore;
use stubdom::config::{CommandLine, MachinePlan, Vnc, mac};
use stubdom::keymap::Keymap;
use stubdom::vnc::{self, Server};

use super::firmware;
use super::start::Failure;

/// The station, and the server on it.
pub(super) struct OwnScreen {
    pub(super) stack: Stack<Domain>,
    pub(super) server: Server,
}

/// What an Ethernet address begins with that nobody has bought (IEEE 802, locally administered).
const LOCAL: u8 = 2;

/// The server that was asked for, if any.
pub(super) fn plan(plan: &MachinePlan, line: &CommandLine) -> Result<Option<Vnc>, Failure> {
    let vnc = match (&plan.vnc, &line.vnc) {
        (Some(_), Some(_)) => {
            return Err(Failure::of("VNC is asked for twice: by the argument -vnc, and by vnc= of the command line"));
        }
        (argument, word) => argument.as_ref().or(word.as_ref()).cloned(),
    };
    match &vnc {
        Some(_) if plan.video.is_none() => {
            Err(Failure::of("VNC is asked for, and the guest has no screen (vga=\"none\")"))
        }
        Some(_) if plan.nics.is_empty() && line.vif.is_none() => Err(Failure::of(
            "VNC needs a network: give the guest a card in vif=[ ] of xl.cfg, or the stub domain one of its own by vif=N of stubdomain_cmdline",
        )),
        _ => Ok(vnc),
    }
}

/// Opens it, and gives the Ethernet address that it has on the network of the guest's first card, if it shares that.
#[expect(clippy::too_many_arguments, reason = "it is the start's, and has a file of its own")]
pub(super) async fn open(
    store: &Xenstore,
    spawner: &Spawner,
    platform: &Rc<Domain>,
    plan: &MachinePlan,
    line: &CommandLine,
    vnc: &Vnc,
    vm: &str,
    nics: &[Net<Domain>],
) -> Result<(OwnScreen, Option<[u8; 6]>), Failure> {
    let password = vnc::password(store, line, vnc, Some(vm)).await.map_err(Failure::of)?;
    let (net, address, alone) = match (line.vif, nics.first(), plan.nics.first()) {
        (Some(vif), _, _) => {
            let (net, address) = own_interface(store, spawner, platform, plan, vif).await?;
            (net, address, true)
        }
        (None, Some(net), Some(card)) => (net.clone(), beside(card.mac), false),
        (None, ..) => return Err(Failure::of("VNC needs a network")),
    };
    let mut addresses = line.addresses.clone();
    if addresses.is_empty() {
        let _ = addresses.add("dhcp");
    }
    let free = heap::free_bytes();
    let mut stack = Stack::new(net, address, alone, &addresses, random::next(), clock::now());
    let name = plan.name.as_deref().unwrap_or("guest");
    let server = Server::new(&mut stack, &format!("{name} - Xen stub domain"), vnc, password, keymap(plan));
    let [a, b, c, d, e, f] = address;
    info!(
        "VNC: port {} of {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} ({}), with {} KiB of memory",
        vnc.port,
        if stack.addresses().is_empty() { String::from("an address by DHCP") } else { stack.addresses() },
        free.saturating_sub(heap::free_bytes()) >> 10
    );
    Ok((OwnScreen { stack, server }, (!alone).then_some(address)))
}

/// Where viewers' keys are.
fn keymap(plan: &MachinePlan) -> Keymap {
    let Some(name) = &plan.keymap else { return Keymap::default() };
    firmware::file(&format!("keymaps/{name}")).map_or_else(
        |error| {
            warn!("{error}: viewers have a US keyboard");
            Keymap::default()
        },
        Keymap::new,
    )
}

/// The address of a second station beside a card.
fn beside(card: [u8; 6]) -> [u8; 6] {
    let [first, b, c, d, e, f] = card;
    let local = [first & !3 | LOCAL, b, c, d, e, f];
    // The card may have such an address itself.
    if local == card { [first, b, c, d ^ 0x80, e, f] } else { local }
}

/// An interface that no card of the guest uses.
async fn own_interface(
    store: &Xenstore,
    spawner: &Spawner,
    platform: &Rc<Domain>,
    plan: &MachinePlan,
    vif: u32,
) -> Result<(Net<Domain>, [u8; 6]), Failure> {
    let path = format!("device/vif/{vif}");
    if plan.nics.iter().any(|card| card.vif == vif) {
        return Err(Failure(format!(
            "vif={vif}: a card of the guest uses {path}: give the guest's xl.cfg a vif with type=vif"
        )));
    }
    let text = store.read_optional(&format!("{path}/mac")).await?;
    let Some(text) = text else {
        return Err(Failure(format!("vif={vif}: there is no {path}")));
    };
    let address = mac(&text).map_err(|_| Failure(format!("{path}/mac is no Ethernet address")))?;
    let net = Net::new(platform.clone(), store, &path, Options::default())?;
    spawner.spawn(net.clone().run());
    super::start::ready(&path, net.session()).await?;
    Ok((net, address))
}
