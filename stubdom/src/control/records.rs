//! What xenstore has of a domain, as `libxl` writes it for a paravirtualised one.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use minios::xenstore::{Access, Permission, Xenstore, XenstoreError};
use stubdom::xl::{DomainConfig, device_number};
use xen_abi::DomId;

use crate::building::Built;

/// This domain.
const OWN: DomId = DomId(0);

/// The domain reads.
fn readable(domain: DomId) -> [Permission; 2] {
    [Permission { domain: OWN, access: Access::None }, Permission { domain, access: Access::Read }]
}

/// It is the domain's own.
fn owned(domain: DomId) -> [Permission; 2] {
    [Permission { domain, access: Access::None }, Permission { domain: OWN, access: Access::Read }]
}

/// The directory of a domain.
fn home(domain: DomId) -> String {
    format!("/local/domain/{}", domain.0)
}

/// What this domain has of itself.
pub(crate) async fn write_own(store: &Xenstore) -> Result<(), XenstoreError> {
    let own = home(OWN);
    store.write(&format!("{own}/domid"), "0").await?;
    store.write(&format!("{own}/name"), "Domain-0").await
}

/// Writes everything of a domain that is complete.
pub(crate) async fn write(store: &Xenstore, built: &Built, config: &DomainConfig) -> Result<(), XenstoreError> {
    let (domain, home) = (built.id, home(built.id));
    // Whatever was of an earlier one with its number.
    remove(store, domain).await?;
    let vm = format!("/vm/{}", uuid(domain));
    let directories = [(String::new(), readable(domain)), ("/device".into(), readable(domain))];
    let own = ["/data", "/drivers", "/feature", "/attr", "/error", "/control/shutdown", "/control/feature-suspend"];
    let own = own.map(|name| (name.to_string(), owned(domain)));
    for (name, permissions) in directories.into_iter().chain(own) {
        let path = format!("{home}{name}");
        store.make_directory(&path).await?;
        store.set_permissions(&path, &permissions).await?;
    }
    let memory = config.memory << 10;
    let keys = [
        (format!("{vm}/name"), config.name.clone()),
        (format!("{vm}/uuid"), uuid(domain)),
        (format!("{home}/vm"), vm.clone()),
        (format!("{home}/name"), config.name.clone()),
        (format!("{home}/domid"), domain.0.to_string()),
        (format!("{home}/cpu/0/availability"), "online".into()),
        (format!("{home}/memory/static-max"), memory.to_string()),
        (format!("{home}/memory/target"), memory.to_string()),
        (format!("{home}/store/port"), built.store.1.to_string()),
        (format!("{home}/store/ring-ref"), built.store.0.number().to_string()),
        (format!("{home}/console/port"), built.console.1.to_string()),
        (format!("{home}/console/ring-ref"), built.console.0.number().to_string()),
        (format!("{home}/console/limit"), (1 << 20).to_string()),
        (format!("{home}/console/type"), "xenconsoled".into()),
        (format!("{home}/control/platform-feature-multiprocessor-suspend"), "1".into()),
        (format!("{home}/control/platform-feature-xs_reset_watches"), "1".into()),
    ];
    for (path, value) in keys {
        store.write(&path, &value).await?;
    }
    store.set_permissions(&vm, &readable(domain)).await?;
    for disk in &config.disks {
        let Some(number) = device_number(&disk.device) else { continue };
        let mode = if disk.read_only { "r" } else { "w" };
        let front = [("virtual-device", number.to_string()), ("device-type", "disk".into())];
        let back = [
            ("params", disk.target.clone()),
            ("dev", disk.device.clone()),
            ("mode", mode.into()),
            ("type", "phy".into()),
            ("device-type", "disk".into()),
            ("removable", "0".into()),
            ("bootable", "1".into()),
        ];
        write_device(store, domain, ("vbd", number), &front, &back).await?;
    }
    for (number, vif) in (0..).zip(&config.vifs) {
        let mac = vif.mac.unwrap_or([0, 0x16, 0x3e, 0, u8::try_from(domain.0 & 0xff).unwrap_or(0), number]);
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let front = [("handle", number.to_string()), ("mac", mac.clone())];
        let back = [("handle", number.to_string()), ("mac", mac)];
        write_device(store, domain, ("vif", number.into()), &front, &back).await?;
    }
    Ok(())
}

/// A device has two directories, which name each other.
async fn write_device(
    store: &Xenstore,
    domain: DomId,
    (kind, number): (&str, u32),
    front: &[(&str, String)],
    back: &[(&str, String)],
) -> Result<(), XenstoreError> {
    let frontend = format!("{}/device/{kind}/{number}", home(domain));
    let backend = format!("{}/backend/{kind}/{}/{number}", home(OWN), domain.0);
    let of_front = [("backend", backend.clone()), ("backend-id", OWN.0.to_string()), ("state", "1".into())];
    let of_back = [
        ("frontend", frontend.clone()),
        ("frontend-id", domain.0.to_string()),
        ("online", "1".into()),
        ("state", "1".into()),
    ];
    // In one: a backend that sees its directory finds it complete.
    store
        .transaction(async |store| {
            for (path, permissions, keys) in [
                (&frontend, owned(domain), [front, &of_front].concat()),
                (&backend, readable(domain), [back, &of_back].concat()),
            ] {
                store.make_directory(path).await?;
                store.set_permissions(path, &permissions).await?;
                for (key, value) in keys {
                    store.write(&format!("{path}/{key}"), &value).await?;
                }
            }
            Ok(())
        })
        .await
}

/// Removes everything of a domain.
pub(crate) async fn remove(store: &Xenstore, domain: DomId) -> Result<(), XenstoreError> {
    let mut paths: Vec<String> = Vec::from([home(domain), format!("/vm/{}", uuid(domain))]);
    paths.extend(["vbd", "vif"].map(|kind| format!("{}/backend/{kind}/{}", home(OWN), domain.0)));
    for path in paths {
        match store.remove(&path).await {
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What a domain has instead of a random number: nothing outlives this machine.
fn uuid(domain: DomId) -> String {
    format!("00000000-0000-0000-0000-{:012x}", domain.0)
}
