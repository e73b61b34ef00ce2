//! Cases of the virtio devices of the machine, which domain 0 has: `virtio` on the command line. The disks are overwritten.
//!
//! A Xen of the testbed starts this image as its domain 0, too:
//!
//! ```text
//! qemu-system-x86_64 -machine q35 -cpu max -m 512 -display none -serial stdio -kernel xen \
//!     -append "console=com1 dom0_mem=128M" -initrd "selftest.gz virtio" \
//!     -drive file=DISK,if=none,id=d,format=raw,discard=unmap -device virtio-blk-pci,drive=d,disable-legacy=on \
//!     -netdev user,id=n -device virtio-net-pci,netdev=n,disable-legacy=on,romfile=
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use minios::back::block::Medium;
use minios::back::buffer::Buffer;
use minios::back::net::{Frame, Wire};
use minios::exec::{self, Spawner};
use minios::front::net::Checksum;
use minios::virtio::{self, Card, Disk};
use minios::{boot, clock};

use crate::report::{Outcome, Report, equal};

/// Bytes of the longest transfer.
const MEBIBYTE: usize = 1 << 20;

/// Runs all cases for the devices that there are.
pub(crate) async fn all(report: &mut Report, spawner: &Spawner) {
    let devices = match virtio::find() {
        Ok(devices) => devices,
        Err(error) => return report.case("virtio: ports", Err(format!("{error}"))),
    };
    log::info!("virtio: {devices:?}");
    report.case("virtio: there is a disk", equal(&devices.disks.is_empty(), &false));
    for disk in devices.disks {
        let looked_after = disk.clone();
        spawner.spawn(async move { looked_after.run(None).await });
        log::info!("disk: {:?}", disk.geometry());
        report.case("disk: lengths of all kinds", lengths(&disk).await);
        report.case("disk: side by side", side_by_side(&disk).await);
        report.case("disk: flush", disk.flush().await.map_err(|error| format!("{error}")));
        if disk.geometry().can_discard {
            report.case("disk: discard", disk.discard(4096, 2048).await.map_err(|error| format!("{error}")));
        }
        let beyond = disk.read(disk.geometry().sectors, buffer(512, 0)).await.1;
        report.case("disk: beyond its end", equal(&beyond.is_err(), &true));
        report.case("disk: speed", speed(&disk).await);
    }
    for card in devices.cards {
        let looked_after = card.clone();
        spawner.spawn(async move { looked_after.run(None).await });
        log::info!("card: {:02x?}", card.address());
        report.case("card: somebody answers", ask(&card).await);
    }
}

fn buffer(len: usize, seed: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(len).unwrap_or_default();
    for (at, byte) in buffer.bytes_mut().iter_mut().enumerate() {
        *byte = (at / 512 * 7 + at * 3 + seed).to_le_bytes()[0];
    }
    buffer
}

async fn write_and_read(disk: &Disk, sector: u64, len: usize) -> Outcome {
    let seed = len + usize::try_from(sector).unwrap_or(0);
    disk.write(sector, buffer(len, seed)).await.map_err(|error| format!("write of {len}: {error}"))?;
    let (read, result) = disk.read(sector, buffer(len, 1)).await;
    result.map_err(|error| format!("read of {len}: {error}"))?;
    equal(&(read.bytes() == buffer(len, seed).bytes()), &true).map_err(|why| format!("{len} bytes: {why}"))
}

async fn lengths(disk: &Disk) -> Outcome {
    for (sector, len) in [(0, 512), (1, 4096), (9, 4608), (100, 65_536), (300, 100 * 512), (2048, MEBIBYTE)] {
        write_and_read(disk, sector, len).await?;
    }
    write_and_read(disk, disk.geometry().sectors - 8, 4096).await
}

/// More than the queue has room for.
async fn side_by_side(disk: &Disk) -> Outcome {
    let transfers = (0..100).map(|index| write_and_read(disk, 5000 + index * 16, 8192));
    exec::join_all(transfers).await.into_iter().collect()
}

async fn speed(disk: &Disk) -> Outcome {
    let begin = clock::now();
    for _ in 0..16 {
        let (_, result) = disk.read(0, buffer(MEBIBYTE, 0)).await;
        result.map_err(|error| format!("{error}"))?;
    }
    let elapsed = clock::now().since(begin).max(1);
    log::info!("disk: {} MiB/s", 16_000_000_000 / elapsed);
    Ok(())
}

/// Asks who has an address: `virtio=10.0.2.2`, QEMU's own if it is not said.
async fn ask(card: &Card) -> Outcome {
    let wanted = boot::option("virtio").filter(|text| text.contains('.')).unwrap_or("10.0.2.2");
    let wanted: Vec<u8> = wanted.split('.').filter_map(|part| part.parse().ok()).collect();
    let own = card.address().ok_or("no address")?;
    // RFC 826: Ethernet and IPv4, a request.
    let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    let data = [&[0xff; 6], &own[..], &head, &own, &[10, 0, 2, 15], &[0; 6], &wanted, &[0; 18]].concat();
    let end = clock::now().after(20_000_000_000);
    loop {
        card.send(Frame { data: data.clone(), checksum: Checksum::Unknown });
        let coming = core::future::poll_fn(|context| card.poll_receive(context));
        let soon = clock::now().after(1_000_000_000);
        if let Some(frame) = exec::before(soon, coming).await {
            let is_answer = frame.data.get(20..22) == Some(&[0, 2]) && frame.data.get(28..32) == Some(&wanted);
            if is_answer {
                return Ok(());
            }
        }
        if clock::now() > end {
            return Err(String::from("nobody answers"));
        }
    }
}
