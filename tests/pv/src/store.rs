//! Cases of the xenstore client against the toolstack's own daemon.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use minios::boot;
use minios::xen_abi::DomId;
use minios::xenstore::{Access, Permission, Refusal, Xenstore, XenstoreError};

use crate::report::{Outcome, Report, equal};

/// Entries of the large directory: its list is several messages long.
const MANY: usize = 600;

/// Runs all cases.
pub(crate) async fn all(report: &mut Report, store: &Xenstore) {
    report.case("store: write, read, remove", values(store).await);
    report.case("store: errors have names", errors(store).await);
    if let Some(path) = boot::option("many") {
        report.case("store: a directory of several messages", large_directory(store, path).await);
    }
    report.case("store: a quota", quota(store).await);
    report.case("store: many requests in flight", pipelining(store).await);
    report.case("store: permissions", permissions(store).await);
    report.case("store: domains", domains(store).await);
    report.case("store: watches", watches(store).await);
    report.case("store: transactions", transactions(store).await);
    report.case("store: a conflict is tried again", conflict(store).await);
}

fn text(error: XenstoreError) -> String {
    error.to_string()
}

async fn values(store: &Xenstore) -> Outcome {
    let long = "0123456789abcdef".repeat(120);
    store.write("data/a", "one").await.map_err(text)?;
    store.write("data/long", &long).await.map_err(text)?;
    store.make_directory("data/dir").await.map_err(text)?;
    equal(&store.read("data/a").await.map_err(text)?, &"one".to_string())?;
    equal(&store.read("data/long").await.map_err(text)?, &long)?;
    equal(&store.read("data/dir").await.map_err(text)?, &String::new())?;
    let mut names = store.directory("data").await.map_err(text)?;
    names.sort();
    equal(&names, &["a".to_string(), "dir".to_string(), "long".to_string()].to_vec())?;
    for name in names {
        store.remove(&format!("data/{name}")).await.map_err(text)?;
    }
    equal(&store.read_optional("data/a").await.map_err(text)?, &None)?;
    equal(&store.directory("data").await.map_err(text)?, &Vec::new())
}

async fn errors(store: &Xenstore) -> Outcome {
    let refusal = |error: Option<XenstoreError>| error.and_then(|error| error.refusal());
    equal(&refusal(store.read("data/none").await.err()), &Some(Refusal::ENOENT))?;
    equal(&refusal(store.write("/local/domain/0/name", "x").await.err()), &Some(Refusal::EACCES))?;
    equal(&refusal(store.read("data//x").await.err()), &Some(Refusal::EINVAL))
}

/// Domains without privilege cannot have so many entries in one directory, so dom0 makes it.
async fn large_directory(store: &Xenstore, path: &str) -> Outcome {
    let mut names = store.directory(path).await.map_err(text)?;
    names.sort();
    equal(&names.len(), &MANY)?;
    equal(&names[0], &"entry-0000".to_string())?;
    equal(&names[MANY - 1], &format!("entry-{:04}", MANY - 1))
}

/// The daemon's limit for one node is an error that has a name too.
async fn quota(store: &Xenstore) -> Outcome {
    let mut refusal = None;
    for number in 0..MANY {
        if let Err(error) = store.make_directory(&format!("data/many/entry-{number:04}")).await {
            refusal = error.refusal();
            break;
        }
    }
    store.remove("data/many").await.map_err(text)?;
    equal(&refusal, &Some(Refusal::ENOSPC))
}

async fn pipelining(store: &Xenstore) -> Outcome {
    let reads: Vec<_> = (0..100).map(|_| store.read("domid")).collect();
    let own = store.read("domid").await.map_err(text)?;
    for read in reads {
        equal(&read.await.map_err(text)?, &own)?;
    }
    Ok(())
}

async fn permissions(store: &Xenstore) -> Outcome {
    let own = DomId(store.read_number("domid").await.map_err(text)?);
    let wanted =
        [Permission { domain: own, access: Access::None }, Permission { domain: DomId(0), access: Access::ReadWrite }];
    store.write("data/p", "").await.map_err(text)?;
    store.set_permissions("data/p", &wanted).await.map_err(text)?;
    equal(&store.permissions("data/p").await.map_err(text)?, &wanted.to_vec())?;
    store.remove("data/p").await.map_err(text)
}

async fn domains(store: &Xenstore) -> Outcome {
    let own = DomId(store.read_number("domid").await.map_err(text)?);
    equal(&store.domain_path(own).await.map_err(text)?, &format!("/local/domain/{}", own.0))?;
    // Only dom0 may ask it of any but itself; C xenstored lets every domain ask.
    match store.is_domain_introduced(own).await {
        Ok(introduced) => equal(&introduced, &true),
        Err(error) => equal(&error.refusal(), &Some(Refusal::EACCES)),
    }
}

async fn watches(store: &Xenstore) -> Outcome {
    store.write("data/w", "0").await.map_err(text)?;
    let mut watch = store.watch("data/w").await.map_err(text)?;
    equal(&watch.next().await.map_err(text)?, &"data/w".to_string())?;
    equal(&watch.try_next(), &None)?;
    store.write("data/w/below", "1").await.map_err(text)?;
    equal(&watch.next().await.map_err(text)?, &"data/w/below".to_string())?;
    drop(watch);
    store.remove("data/w").await.map_err(text)
}

async fn transactions(store: &Xenstore) -> Outcome {
    let number = store.transaction(async |inside| {
        inside.write("data/t/a", "1").await?;
        inside.write("data/t/b", "2").await?;
        equal(&store.read_optional("data/t/a").await?, &None).map_err(|_| odd("data/t/a"))?;
        inside.read("data/t/a").await
    });
    equal(&number.await.map_err(text)?, &"1".to_string())?;
    equal(&store.read("data/t/b").await.map_err(text)?, &"2".to_string())?;
    let failed = store.transaction(async |inside| {
        inside.write("data/t/c", "3").await?;
        inside.read("data/t/missing").await
    });
    let error = failed.await.err().and_then(|error| error.refusal());
    equal(&error, &Some(Refusal::ENOENT))?;
    equal(&store.read_optional("data/t/c").await.map_err(text)?, &None)
}

/// An error that stands for an observation within a transaction that should not have been made.
fn odd(path: &str) -> XenstoreError {
    use minios::xenstore::{ErrorKind, Operation};
    XenstoreError { operation: Operation::Read, path: path.to_string(), kind: ErrorKind::Unexpected }
}

async fn conflict(store: &Xenstore) -> Outcome {
    store.write("data/count", "0").await.map_err(text)?;
    let rounds = core::cell::Cell::new(0);
    let work = store.transaction(async |inside| {
        rounds.set(rounds.get() + 1);
        let count: u32 = inside.read_number("data/count").await?;
        if rounds.get() == 1 {
            // Somebody else comes in between.
            store.write("data/count", "10").await?;
        }
        inside.write("data/count", &(count + 1).to_string()).await
    });
    work.await.map_err(text)?;
    equal(&store.read("data/count").await.map_err(text)?, &"11".to_string())?;
    equal(&rounds.get(), &2)?;
    store.remove("data/count").await.map_err(text)
}
