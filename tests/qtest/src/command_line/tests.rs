use super::*;
use crate::plan::{Backing, Medium};

fn plan(arguments: &str) -> Result<Plan> {
    let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
    match parse(&arguments)? {
        Wish::Machine(plan) => Ok(*plan),
        Wish::Version => panic!("a machine was asked for"),
    }
}

fn problem(arguments: &str) -> String {
    format!("{:#}", plan(arguments).expect_err(arguments))
}

/// What libqtest puts before and behind what a test says.
#[test]
fn the_command_line_of_libqtest_is_understood() {
    let plan = plan(
        "-qtest unix:/tmp/q.sock -qtest-log /dev/null -chardev socket,path=/tmp/q.qmp,id=char0 \
         -mon chardev=char0,mode=control -display none -audio none -machine pc -accel qtest",
    )
    .unwrap();
    let socket =
        |path: &str| Endpoint::Socket(Socket { address: Address::Unix(path.into()), listen: false, wait: true });
    assert_eq!(plan.qtest, socket("/tmp/q.sock"));
    assert_eq!(plan.qtest_log, Log::None);
    assert_eq!(plan.monitors, [socket("/tmp/q.qmp")]);
    assert_eq!(plan.ram_bytes, 128 << 20);
    assert_eq!(plan.video_bytes, Some(16 << 20));
    assert!(plan.drives[2].as_ref().is_some_and(|drive| drive.cd && drive.medium.is_none()), "QEMU's default CD drive");
    assert_eq!(plan.serial, [Endpoint::Null]);
}

#[test]
fn nodefaults_leaves_nothing_over() {
    let plan = plan("-accel qtest -nodefaults -m 2G -smp 4,sockets=1 -M pc-i440fx-7.2,usb=off").unwrap();
    assert_eq!((plan.video_bytes, plan.serial.len(), plan.drives), (None, 0, [const { None }; 4]));
    assert_eq!((plan.ram_bytes, plan.cpus), (2 << 30, 4));
}

#[test]
fn drives_find_their_places() {
    let plan = plan(
        "-accel qtest -drive file=/a,if=none,id=d,format=raw -device ide-hd,drive=d,bus=ide.1,unit=1,serial=s,model=m \
         -hda /b -drive file=/c,media=cdrom -drive driver=null-co,if=ide,index=1,size=64M,read-only=on",
    )
    .unwrap();
    let [a, b, c, d] = plan.drives.map(|drive| drive.expect("four drives"));
    let medium = |backing, read_only, node: &str| {
        let mut medium = Medium::new(backing, read_only);
        node.clone_into(&mut medium.faults.node);
        Some(medium)
    };
    let file = |path: &str, read_only, node| medium(Backing::File(path.into()), read_only, node);
    assert_eq!((a.cd, a.medium), (false, file("/b", false, "ide0-hd0")));
    assert_eq!(b.medium, medium(Backing::Zeros(64 << 20), true, "ide0-hd1"));
    assert_eq!((c.cd, c.medium), (true, file("/c", true, "ide1-cd0")));
    assert_eq!((d.medium, d.serial.as_str(), d.model.as_str()), (file("/a", false, "d"), "s", "m"));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (arguments, what) in [
        ("-accel kvm", "\"-accel kvm\" is not supported"),
        ("-accel qtest -machine isapc", "\"-machine isapc\" is not supported"),
        ("-accel qtest -kernel /x", "\"-kernel\" is not supported"),
        ("-accel qtest -vga qxl", "\"-vga qxl\" is not supported"),
        ("-accel qtest -device nvme,serial=1", "the device nvme is not supported"),
        ("-accel qtest -drive file=/x,format=qcow2", "the format qcow2 is not supported"),
        ("-accel qtest -drive file=nbd:localhost:1", "nbd: is not supported"),
        ("-accel qtest -drive file=/x,odd=1", "odd=1 is not supported"),
        ("-accel qtest -netdev tap,id=n", "the network tap is not supported"),
        ("-accel qtest -serial chardev:c", "there is no -chardev with the id c"),
        ("-accel qtest -device ide-hd,drive=none", "there is no free drive with the id none"),
        ("-accel qtest -hda /x -drive file=/y,index=0", "there is no place for it"),
        ("-accel qtest -m", "\"-m\" needs a value"),
        ("-nodefaults", "-accel tcg is needed"),
        ("-accel tcg -smp 2", "there is one CPU"),
        ("-accel tcg -incoming unix:/x", "the state of a CPU is not sent"),
    ] {
        let problem = problem(arguments);
        assert!(problem.contains(what), "{arguments}: {problem}");
    }
}

#[test]
fn the_first_accelerator_that_there_is_counts() {
    for (arguments, has_cpu) in [
        ("-accel qtest", false),
        ("-accel tcg -accel qtest", true),
        ("-accel kvm -accel tcg,thread=single -accel qtest", true),
        ("-accel kvm -accel qtest", false),
        ("-accel qtest -accel tcg", false),
        ("-machine pc,accel=kvm:tcg", true),
        ("-machine none -accel tcg", false),
        ("-qtest unix:/q", false),
    ] {
        assert_eq!(plan(arguments).unwrap().has_cpu, has_cpu, "{arguments}");
    }
}

#[test]
fn without_graphics_firmware_is_told_where_its_console_is() {
    let plan = plan("-accel tcg -M graphics=off").unwrap();
    assert_eq!(plan.firmware_files, [("etc/sercon-port", vec![0xf8, 0x03])]);
}

#[test]
fn user_networks_have_a_boot_file() {
    let arguments = "-accel qtest -netdev user,id=n,tftp=/t,bootfile=a/b,ipv4=on,ipv6=off -device e1000,netdev=n";
    let user = UserPlan { folder: Some("/t".into()), boot_file: Some("a/b".to_owned()) };
    assert_eq!(plan(arguments).unwrap().networks, [Network::User(user)]);
    let without = plan("-accel qtest -netdev user,id=n,ipv4=off -device e1000,netdev=n").unwrap();
    assert_eq!(without.networks, [Network::Nobody]);
}

#[test]
fn serial_ports_go_where_they_are_told() {
    let plan =
        plan("-accel qtest -serial none -chardev null,id=c -serial chardev:c -serial file:/s -serial none").unwrap();
    assert_eq!(plan.serial, [Endpoint::Null, Endpoint::Null, Endpoint::File("/s".into())]);
}

#[test]
fn sockets_connect_or_listen() {
    let plan = plan("-qtest unix:/q,server=on,wait=off -qmp tcp::4444,server,nowait -chardev stdio,id=x").unwrap();
    let socket = |address| Endpoint::Socket(Socket { address, listen: true, wait: false });
    assert_eq!(plan.qtest, socket(Address::Unix("/q".into())));
    assert_eq!(plan.monitors, [socket(Address::Tcp("localhost:4444".to_owned()))]);
}

/// What libqos says for its tests of AHCI, and what libxl does.
#[test]
fn drives_are_behind_ahci_where_they_are_asked_for() {
    let text = "-accel qtest -drive if=none,id=drive0,file=/a,format=raw -M q35 -device ide-hd,drive=drive0 \
                -global ide-hd.serial=s -global ide-hd.ver=v";
    let first = plan(text).unwrap().sata[0].clone().expect("a disk");
    assert_eq!((first.serial.as_str(), first.firmware.as_str()), ("s", "v"));
    let text =
        "-accel qtest -drive if=none,id=d,file=/a -device ahci,id=ahci0 -device ide-hd,bus=ahci0.3,unit=0,drive=d";
    assert!(plan(text).unwrap().sata[3].is_some());
    assert!(problem(&text.replace("ahci0.3", "ahci0.6")).contains("there is no place"));
    assert!(problem(&text.replace("ahci0.3", "ahci1.3")).contains("there is no bus ahci1.3"));
}
