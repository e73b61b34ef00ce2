//! What our hypervisor core has to do in `cargo xtask test`: kernels alone on it, and the domains that `control` makes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tests::suite::Counts;
use tests::testbed::Emulator;
use tests::vnc::Viewer;

use super::{LIMIT, Machine, Program, demo, free_port, machine, perform};
use crate::build::Images;
use crate::{build, bzimage, emulator, guest, initrd, paths};

/// What a domain is started with, and what has to be printed.
struct Case {
    name: &'static str,
    memory: u32,
    command_line: &'static str,
    says: &'static [&'static str],
}

/// All of them run the checks of miniOS.
const CASES: &[Case] = &[
    Case {
        name: "the-core-runs-the-checks-of-minios",
        memory: 64,
        command_line: "loglevel=debug",
        says: &["debug: command line: loglevel=debug", "PASS idle", " 0\r\n(core) d0 has ended: power off"],
    },
    Case {
        name: "the-core-runs-them-in-8-mib",
        memory: 8,
        command_line: "",
        says: &["DONE ", "d0 has ended: power off"],
    },
    Case {
        name: "a-kernel-that-reads-nothing-says-so-and-ends",
        memory: 16,
        command_line: "die=null",
        says: &["DYING", "page fault", "d0 has ended: crash"],
    },
    Case {
        name: "a-kernel-without-a-stack-is-ended-by-the-core",
        memory: 16,
        command_line: "die=overflow",
        says: &["DYING", "its stack cannot take it", "d0 has ended: crash"],
    },
    Case {
        name: "a-kernel-that-does-what-is-no-instruction-says-so",
        memory: 16,
        command_line: "die=opcode",
        says: &["DYING", "invalid opcode", "d0 has ended: crash"],
    },
    Case {
        name: "too-little-memory-is-refused-by-the-core",
        memory: 2,
        command_line: "",
        says: &["there is no first domain: the domain has not enough memory for its kernel"],
    },
];

/// Cases with domains that `control` makes, on a machine with a disk and a card.
const OF_CONTROL: &[(&str, Act)] = &[
    ("the-demo-is-served-in-a-blink-and-keeps-its-disk", demo_is_served),
    ("a-domain-that-crashes-leaves-the-others-alone", others_go_on),
    ("what-cannot-be-made-is-named", refusals),
    ("debian-runs-on-the-core-with-disk-and-network", debian),
];

/// What a case of these does.
type Act = fn(&Stage<'_>) -> Result<()>;

/// Where it takes place.
struct Stage<'a> {
    emulator: &'a Emulator,
    images: &'a Images,
    /// For its files and its log.
    folder: PathBuf,
}

/// A machine with the core, and where its network is to be found.
struct Running {
    machine: Machine,
    log: PathBuf,
    ports: demo::Ports,
}

impl Stage<'_> {
    /// Starts a machine, whose domains are described by these texts.
    fn start(&self, configs: &[&str]) -> Result<Running> {
        let mut files = demo::files(self.images)[1..].to_vec();
        files.push(self.images.selftest.clone());
        for (number, text) in configs.iter().enumerate() {
            let file = self.folder.join(format!("{number}.cfg"));
            fs::write(&file, text)?;
            files.push(file);
        }
        let disk = self.folder.join("disk");
        if !disk.exists() {
            fs::File::create(&disk)?.set_len(demo::DISK)?;
        }
        let ports = demo::Ports::find()?;
        let program = Program {
            kernel: &self.images.control,
            files: &files,
            disks: &[(disk, demo::DISK_NAME)],
            ports: &ports.forwards(),
            ..Program::default()
        };
        let log = self.folder.join("serial.log");
        let mut command = machine(self.emulator, &self.images.hypervisor, &program);
        let child =
            command.stdin(Stdio::piped()).stdout(fs::File::create(&log)?).spawn().context("cannot start QEMU")?;
        Ok(Running { machine: Machine(child), log, ports })
    }
}

impl Running {
    /// Types on the machine's console.
    fn type_text(&mut self, text: &str) -> Result<()> {
        let input = self.machine.0.stdin.as_mut().context("no standard input")?;
        input.write_all(text.as_bytes())?;
        Ok(input.flush()?)
    }

    /// Waits until the console has said something.
    fn wait_for(&self, words: &str) -> Result<String> {
        let start = Instant::now();
        loop {
            let said = fs::read(&self.log)?;
            let said = String::from_utf8_lossy(&said);
            if said.contains(words) {
                return Ok(said.into_owned());
            }
            ensure!(start.elapsed() < LIMIT, "no {words:?} in:\n{said}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the demo serves.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.page))?;
        // QEMU answers for a station that is not there yet, and then there is nothing to hear.
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(answer.starts_with("HTTP/1.1 200 "), "GET {path}: {answer:?}");
        Ok(answer)
    }

    /// The same, once there is somebody.
    fn first_answer(&self, path: &str) -> Result<String> {
        let start = Instant::now();
        loop {
            match self.get(path) {
                Err(error) if start.elapsed() > LIMIT => bail!("{error:#}\n{}", fs::read_to_string(&self.log)?),
                Err(_) => thread::sleep(Duration::from_millis(50)),
                answer => return answer,
            }
        }
    }
}

/// The file that people have, unchanged: page, screen and disk, and the disk's content the next time.
fn demo_is_served(stage: &Stage<'_>) -> Result<()> {
    let config = fs::read_to_string(&demo::files(stage.images)[0])?;
    for check in ["disk: good, check 1", "disk: good, check 2"] {
        let mut running = stage.start(&[&config])?;
        ensure!(running.first_answer("/status.json")?.contains("\"name\":\"demo\""), "another's status");
        running.wait_for(check)?;
        let stream = TcpStream::connect(("127.0.0.1", running.ports.screen))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut viewer = Viewer::open_with(stream, Some(demo::PASSWORD))?;
        let screen = viewer.picture()?;
        ensure!((screen.width, screen.height) == (800, 600), "another screen");
        let first = screen.pixels.first();
        ensure!(screen.pixels.iter().any(|pixel| Some(pixel) != first), "nothing is drawn");
        // A prompt is no whole line; what is typed arrives at the shell.
        running.wait_for("(d1) > ")?;
        running.type_text("help\r")?;
        running.wait_for("(d1) net stat          addresses, frames and bytes")?;
        // More than the queues on the way hold.
        let zeros = running.get("/zeros?4096")?;
        ensure!(zeros.len() > 4 << 20, "{} bytes of 4 MiB", zeros.len());
    }
    Ok(())
}

fn others_go_on(stage: &Stage<'_>) -> Result<()> {
    let demo = fs::read_to_string(&demo::files(stage.images)[0])?;
    let other = |name: &str, line: &str, rest: &str| {
        format!("name='{name}'\nkernel='/boot/selftest.gz'\nmemory=16\nextra='{line}'\n{rest}")
    };
    let [null, opcode] = [other("null", "die=null", ""), other("opcode", "die=opcode", "on_crash='restart'")];
    let running = stage.start(&[&demo, &null, &opcode])?;
    running.first_answer("/status.json")?;
    let said = running.wait_for("opcode (d3) has ended: crash")?;
    ensure!(said.contains("null (d2) has ended: crash"), "{said}");
    // The one that starts again does so under other numbers, and what the earlier ones had is free again.
    let said = running.wait_for("opcode is d12 ")?;
    ensure!(!said.contains("cannot be"), "{said}");
    running.first_answer("/")?;
    Ok(())
}

fn refusals(stage: &Stage<'_>) -> Result<()> {
    for (config, words) in [
        ("name='a'\nkernel='/boot/selftest.gz'\nvcpus=7", "vcpus = 7 is not supported"),
        ("name='a'\nkernel='/boot/nothing'", "/boot/nothing: the boot loader brought no such file"),
        ("name='a'\nkernel='0.cfg'", "a: the kernel is no ELF file"),
        ("name='a'\nkernel='selftest.gz'\nmemory=2", "a: the domain has not enough memory for its kernel"),
        ("name='a'\nkernel='selftest.gz'\nmemory=4096", "a: memory: the machine has "),
        ("", "name is missing"),
    ] {
        let running = stage.start(&[config])?;
        let said = running.wait_for("d0 has ended: crash")?;
        ensure!(said.contains(words), "no {words:?} in:\n{said}");
    }
    Ok(())
}

/// What Debian does in place of its init: mounts what programs need, uses its disk and its network, and switches off.
const CHECK: &str = r#"#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
echo "check: $(uname -sr) on $(cat /sys/hypervisor/type) $(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)"
dd if=/dev/urandom of=/check bs=1M count=16 conv=fsync 2>/dev/null
sum=$(sha256sum </check); echo 3 >/proc/sys/vm/drop_caches
[ "$sum" = "$(sha256sum </check)" ] && echo "check: disk good"
modprobe -q xen-netfront; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
exec 3<>"/dev/tcp/10.0.2.2/$port"
head -c 1000000 /check >&3; read -r answer <&3
echo "check: network said $answer"
sync; echo o >/proc/sysrq-trigger; sleep 60
"#;

/// Debian's own kernel as a paravirtualised domain, to programs of its own, with our backends.
fn debian(stage: &Stage<'_>) -> Result<()> {
    const SENT: usize = 1_000_000;
    let media = guest::media()?;
    let kernel = stage.folder.join("vmlinux");
    fs::write(&kernel, bzimage::elf(&fs::read(&media.kernel)?)?)?;
    let ramdisk = stage.folder.join("initrd");
    let overlay = initrd::programs(&[("overlay/usr/sbin/check", CHECK.as_bytes())])?;
    fs::write(&ramdisk, [fs::read(&media.initrd)?, overlay].concat())?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = vec![0; SENT];
        stream.read_exact(&mut bytes)?;
        stream.write_all(format!("{} bytes\n", bytes.len()).as_bytes())
    });
    let config = stage.folder.join("debian.cfg");
    fs::write(
        &config,
        format!(
            "name='debian'\nkernel='vmlinux'\nramdisk='initrd'\nmemory=192\nvif=['']\n\
             disk=['format=raw,vdev=xvda,access=rw,target=debian.img']\n\
             root='/dev/xvda1'\nextra='console=hvc0 quiet init=/usr/sbin/check port={port}'\n"
        ),
    )?;
    let program = Program {
        kernel: &stage.images.control,
        files: &[config, kernel, ramdisk],
        memory: 192,
        machine_memory: 512,
        disks: &[(media.disk, "debian.img")],
        forgets: true,
        ports: &[(free_port(0)?, 80)],
        ..Program::default()
    };
    let log = stage.folder.join("serial.log");
    let said = perform(machine(stage.emulator, &stage.images.hypervisor, &program), &log)?;
    says(
        &said,
        &[
            "check: Linux 6.1",
            "on xen 4.17",
            "check: disk good",
            "check: network said 1000000 bytes",
            "debian (d1) has ended: power off",
            "d0 has ended: power off",
        ],
    )?;
    server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    Ok(())
}

/// Runs those of them whose names have one of these parts in them, or all.
pub(crate) fn test(names: Option<&str>) -> Result<Counts> {
    let mut counts = Counts::default();
    let is_wanted = |name: &str| names.is_none_or(|names| names.split(',').any(|part| name.contains(part)));
    let cases: Vec<_> = CASES.iter().filter(|case| is_wanted(case.name)).collect();
    let of_control: Vec<_> = OF_CONTROL.iter().filter(|(name, _)| is_wanted(name)).collect();
    if cases.is_empty() && of_control.is_empty() {
        return Ok(counts);
    }
    let images = build::core()?;
    let emulator = emulator::find()?;
    let logs = paths::target().join("tests/core");
    fs::create_dir_all(&logs)?;
    let mut judge = |name: &str, log: &Path, start: Instant, result: Result<()>| match result {
        Ok(()) => {
            counts.passed += 1;
            println!("ok      {name} ({:.1} s)", start.elapsed().as_secs_f64());
        }
        Err(error) => {
            counts.failed += 1;
            println!("FAILED  {name}: {error:#}\n        log: {}", log.display());
            counts.remarks.push(format!("FAILED  {name}"));
        }
    };
    for case in cases {
        let start = Instant::now();
        let log = logs.join(format!("{}.log", case.name));
        let program = Program {
            kernel: &images.selftest,
            memory: case.memory,
            command_line: case.command_line,
            ..Program::default()
        };
        let command = machine(&emulator, &images.hypervisor, &program);
        let result = perform(command, &log).and_then(|said| says(&said, case.says));
        judge(case.name, &log, start, result);
    }
    for (name, case) in of_control {
        let start = Instant::now();
        let folder = logs.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let result = case(&Stage { emulator: &emulator, images: &images, folder: folder.clone() });
        judge(name, &folder, start, result);
    }
    Ok(counts)
}

/// Names of the cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name).chain(OF_CONTROL.iter().map(|(name, _)| *name))
}

/// All is there, and no check has failed.
fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "no {word:?} in:\n{said}");
    }
    ensure!(!said.contains("FAIL "), "a check has failed:\n{said}");
    Ok(())
}
