//! The captured stores, every form of every argument, and texts that nobody should write.

use super::disk::{Family, Vdev};
use super::table::{DEVICES, Effect, options};
use super::{
    Cache, CommandLine, Config, Contract, DriveBus, DrivePlan, MachinePlan, Media, NicModel, NicPlan, Reason, Refusal,
    SerialPlan, Slot, Vbd, Vcpus, VideoKind, VideoModel, VideoPlan,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use devmodel::machine::BootOrder;
use devmodel::usb::UsbDevice;
use log::LevelFilter;

const QEMU_XEN_STORE: &str = include_str!("testdata/xenstore-qemu-xen.txt");
const TRADITIONAL_STORE: &str = include_str!("testdata/xenstore-traditional.txt");

/// The keys directly below `directory` in a captured store, with their values.
fn below(store: &str, directory: &str) -> Vec<(String, String)> {
    store
        .lines()
        .filter_map(|line| line.strip_prefix(directory)?.strip_prefix('/'))
        .filter_map(|line| line.split_once(" = \""))
        .filter(|(name, _)| !name.contains('/'))
        .map(|(name, rest)| (name.to_string(), rest.rsplit_once("\"   (").unwrap().0.to_string()))
        .collect()
}

fn value(store: &str, directory: &str, key: &str) -> String {
    below(store, directory).into_iter().find(|(name, _)| name == key).unwrap().1
}

/// Numbers words as libxl does.
fn dm_argv(words: &[&str]) -> Vec<(String, String)> {
    words.iter().enumerate().map(|(at, word)| (format!("{:03}", at + 1), word.to_string())).collect()
}

/// What libxl writes for every HVM guest, then `words`.
fn qemu_xen(words: &[&str]) -> Result<Config, Refusal> {
    let mut all =
        vec!["-xen-domid", "7", "-no-shutdown", "-nodefaults", "-no-user-config", "-name", "g", "-display", "none"];
    all.extend(["-net", "none", "-m", "120"]);
    if !words.contains(&"-machine") {
        all.extend(["-machine", "xenfv,suppress-vmdesc=on"]);
    }
    all.extend(words);
    Config::from_dm_argv(&dm_argv(&all))
}

fn traditional(words: &str) -> Result<Config, Refusal> {
    Config::from_dmargs(&format!(" -d 3 -domain-name t -nographic -videoram 8 {words}"))
}

/// The line that a user sees.
fn line<T: core::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.unwrap_err().to_string()
}

fn vbd(number: u32) -> Vbd {
    Vbd { number, media: Media::Disk, read_only: false }
}

const HDA: &str = "file=/dev/xvda,if=ide,index=0,media=disk,format=host_device,cache=writeback";

// The captured stores.

#[test]
fn the_captured_qemu_xen_store_is_understood_whole() {
    let entries = below(QEMU_XEN_STORE, "/vm/fc8e4ac2-31f4-4e6e-82f9-ba540b3259e1/image/dm-argv");
    assert_eq!(entries.len(), 32);
    let config = Config::from_store(Some(&entries), None).unwrap();
    assert_eq!(config.contract, Contract::QemuXen);
    assert_eq!(config.guest, 1);
    assert_eq!(config.check_target(&value(QEMU_XEN_STORE, "/local/domain/2", "target")), Ok(()));
    assert_eq!(config.name.as_deref(), Some("h"));
    assert!(config.machine.xen_platform && config.acpi);
    assert_eq!(config.memory_mib, Some(120));
    assert_eq!(config.vcpus, Vcpus { online: 1, max: 1 });
    assert_eq!(config.boot, BootOrder::parse("cda").unwrap());
    assert_eq!(config.serials.iter().map(|serial| serial.console).collect::<Vec<_>>(), [3]);
    assert_eq!(config.video.as_ref().map(|video| (video.kind, video.memory_mib)), Some((VideoKind::Cirrus, 8)));
    assert!(config.usb);
    assert_eq!(config.usb_devices, ["tablet"]);
    let nic = config.nics.first().unwrap();
    assert_eq!((nic.model.as_str(), nic.mac, nic.vif), ("e1000", [0x00, 0x16, 0x3e, 0x11, 0x22, 0x33], 0));
    let places: Vec<_> = config.disks.iter().map(|d| (d.slot, d.media, d.image, d.number, d.read_only)).collect();
    assert_eq!(
        places,
        [(Slot::Ide(0), Media::Disk, Some(0), None, false), (Slot::Ide(2), Media::Cdrom, Some(2), Some(5632), true),]
    );
}

#[test]
fn the_drives_of_the_captured_store_are_found_among_its_virtual_block_devices() {
    let entries = below(QEMU_XEN_STORE, "/vm/fc8e4ac2-31f4-4e6e-82f9-ba540b3259e1/image/dm-argv");
    let config = Config::from_dm_argv(&entries).unwrap();
    let mut vbds = Vec::new();
    for (directory, backend) in [("768", "vbd"), ("5632", "qdisk")] {
        let front = format!("/local/domain/2/device/vbd/{directory}");
        let mode = value(QEMU_XEN_STORE, &format!("/local/domain/0/backend/{backend}/2/{directory}"), "mode");
        let (virtual_device, device_type) =
            (value(QEMU_XEN_STORE, &front, "virtual-device"), value(QEMU_XEN_STORE, &front, "device-type"));
        vbds.push(Vbd::from_store(directory, &virtual_device, &device_type, &mode).unwrap());
    }
    let found: Vec<_> = config.disks.iter().map(|disk| disk.find(&vbds).unwrap().number).collect();
    assert_eq!(found, [768, 5632]);
}

#[test]
fn the_captured_qemu_xen_store_is_planned() {
    let entries = below(QEMU_XEN_STORE, "/vm/fc8e4ac2-31f4-4e6e-82f9-ba540b3259e1/image/dm-argv");
    let config = Config::from_dm_argv(&entries).unwrap();
    let cdrom = Vbd { media: Media::Cdrom, read_only: true, ..vbd(5632) };
    let plan = config.plan(&[vbd(768), cdrom]).unwrap();
    assert_eq!(plan.nics, [NicPlan { model: NicModel::E1000, mac: [0x00, 0x16, 0x3e, 0x11, 0x22, 0x33], vif: 0 }]);
    assert_eq!(plan.usb, Some(vec![UsbDevice::Tablet]));
    assert_eq!(plan.video, Some(VideoPlan { model: VideoModel::Cirrus, memory_mib: 8 }));
    assert_eq!(plan.drives.iter().map(|drive| drive.slot).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn the_captured_traditional_store_is_understood_whole() {
    let text = value(TRADITIONAL_STORE, "/vm/1e575f69-f673-4df4-8a0c-ca1bce6730cb/image", "dmargs");
    let config = Config::from_store::<&str, &str>(None, Some(&text)).unwrap();
    assert_eq!(config.contract, Contract::Traditional);
    assert_eq!((config.guest, config.name.as_deref()), (3, Some("t")));
    assert_eq!(config.vcpus, Vcpus { online: 1, max: 1 });
    assert_eq!(config.video.as_ref().map(|video| (video.kind, video.memory_mib)), Some((VideoKind::Std, 8)));
    assert_eq!(config.boot, BootOrder::parse("cda").unwrap());
    assert!(config.acpi && config.serials.is_empty());
    let nic = config.nics.first().unwrap();
    assert_eq!((nic.model.as_str(), nic.mac, nic.vif), ("e1000", [0x00, 0x16, 0x3e, 0x11, 0x22, 0x33], 0));
    let plan = config.plan(&[]).unwrap();
    assert_eq!(plan.nics, [NicPlan { model: NicModel::E1000, mac: nic.mac, vif: 0 }]);
}

// Machines that can be built.

#[test]
fn a_guest_with_everything_that_is_modelled_is_planned() {
    let words = ["-serial", "/dev/hvc3", "-serial", "/dev/hvc4", "-device", "VGA,vgamem_mb=16", "-boot", "order=dc"];
    let mut words = Vec::from(words);
    words.extend(["-smp", "2,maxcpus=4", "-k", "de", "-drive", HDA, "-drive"]);
    words.push("file=/dev/xvdb,if=ide,index=1,media=disk,format=host_device,cache=writeback");
    let config = qemu_xen(&words).unwrap();
    assert_eq!(config.keymap.as_deref(), Some("de"));
    let read_only = Vbd { read_only: true, ..vbd(51728) };
    assert_eq!(
        config.plan(&[read_only, vbd(768), vbd(51952)]),
        Ok(MachinePlan {
            guest: 7,
            name: Some("g".into()),
            keymap: Some("de".into()),
            memory_mib: Some(120),
            vcpus: Vcpus { online: 2, max: 4 },
            acpi: true,
            xen_platform: true,
            boot: BootOrder::parse("dc").unwrap(),
            video: Some(VideoPlan { model: VideoModel::Std, memory_mib: 16 }),
            nics: vec![],
            usb: None,
            serials: vec![SerialPlan { port: 0, console: 3 }, SerialPlan { port: 1, console: 4 }],
            drives: vec![
                DrivePlan { bus: DriveBus::Ide, slot: 0, media: Media::Disk, vbd: 768, empty: false, read_only: false },
                DrivePlan {
                    bus: DriveBus::Ide,
                    slot: 1,
                    media: Media::Disk,
                    vbd: 51728,
                    empty: false,
                    read_only: true
                }
            ],
            ahci: 0,
            vnc: None,
            kernel: None,
        })
    );
}

#[test]
fn the_smallest_guest_is_planned() {
    let plan = qemu_xen(&[]).unwrap().plan(&[]).unwrap();
    assert_eq!((plan.video, plan.drives.len(), plan.serials.len()), (None, 0, 0));
    let plan = traditional("-vga none -vcpu_avail 0x01 -net none").unwrap().plan(&[]).unwrap();
    assert_eq!((plan.video, plan.acpi), (None, false));
}

#[test]
fn a_traditional_guest_takes_its_disks_from_the_store() {
    let config = traditional("-std-vga -boot c -acpi -vcpus 4 -vcpu_avail 0x07 -serial pty -serial tcp:x -vnc 127.0.0.1:0 -vncunused -net none").unwrap();
    let plan = config.plan(&[vbd(5696), vbd(51712), Vbd { read_only: true, ..vbd(832) }, vbd(51776)]).unwrap();
    assert_eq!(
        plan.drives,
        [
            DrivePlan { bus: DriveBus::Ide, slot: 0, media: Media::Disk, vbd: 51712, empty: false, read_only: false },
            DrivePlan { bus: DriveBus::Ide, slot: 1, media: Media::Disk, vbd: 832, empty: false, read_only: true },
            DrivePlan { bus: DriveBus::Ide, slot: 3, media: Media::Disk, vbd: 5696, empty: false, read_only: false },
        ]
    );
    assert_eq!(plan.vcpus, Vcpus { online: 3, max: 4 });
    assert_eq!(plan.serials, [SerialPlan { port: 0, console: 3 }, SerialPlan { port: 1, console: 4 }]);
    assert_eq!(plan.video, Some(VideoPlan { model: VideoModel::Std, memory_mib: 8 }));
    assert!(line(config.plan(&[vbd(768), vbd(51712)])).contains("device/vbd/51712"));
    assert!(line(config.plan(&[vbd(2048)])).contains("SCSI"));
    assert!(line(config.plan(&[vbd(769)])).contains("partitions"));
    assert!(line(config.plan(&[vbd(1)])).contains("device/vbd/1"));
    let cdrom = Vbd { media: Media::Cdrom, ..vbd(5632) };
    assert!(line(config.plan(&[cdrom])).contains("\"device/vbd/5632\" is not supported: CD drives"));
}

#[test]
fn a_cd_drive_has_the_disc_that_its_drive_names_or_none() {
    let device = "ide-cd,id=ide-5632,drive=ide-5632,bus=ide.1,unit=0";
    let disc = "if=none,readonly=on,id=ide-5632,file=/dev/xvdc,format=host_device";
    let cdrom = Vbd { media: Media::Cdrom, read_only: true, ..vbd(5632) };
    for (drive, empty) in [(disc, false), ("if=none,readonly=on,id=ide-5632", true)] {
        let plan = qemu_xen(&["-drive", drive, "-device", device]).unwrap().plan(&[cdrom]).unwrap();
        assert_eq!(
            plan.drives,
            [DrivePlan { bus: DriveBus::Ide, slot: 2, media: Media::Cdrom, vbd: 5632, empty, read_only: true }]
        );
    }
    let config = qemu_xen(&["-drive", disc, "-device", device]).unwrap();
    assert!(line(config.plan(&[])).contains("no such disk in device/vbd"));
    assert!(line(config.plan(&[vbd(5632)])).contains("device-type"));
}

// Every form of every argument.

#[test]
fn every_argument_that_says_nothing_to_a_stub_domain_is_ignored() {
    let plain = qemu_xen(&[]).unwrap();
    let words = [
        "-nographic",
        "-xen-domid-restrict",
        "-chroot",
        "/var/run/xen/qemu-root-7",
        "-runas",
        "xen:7",
        "-run-with",
        "chroot=/var/run/xen/qemu-root-7",
        "-run-with",
        "user=xen:7",
        "-no-shutdown",
    ];
    assert_eq!(qemu_xen(&words).unwrap(), plain);
    assert_eq!(traditional("-disable-opengl -vncunused -nographic"), traditional(""));
}

#[test]
fn every_refused_argument_is_named_with_advice() {
    let scsi = "file=/dev/xvda,id=scsi0-hd0,format=host_device,if=none,readonly=off,cache=writeback";
    let ahci = "file=/dev/xvda,if=none,id=ahcidisk-0,format=host_device,cache=writeback";
    let colo = "if=ide,index=0,media=disk,cache=writeback,driver=quorum,id=e,children.0.file.filename=/dev/xvda,\
                children.0.driver=host_device,read-pattern=fifo,vote-threshold=1";
    let cases: &[(&[&str], &str)] = &[
        (&["-device", "qxl-vga,vram_size_mb=64,ram_size_mb=64"], "vga=\"stdvga\""),
        (&["-device", "VGA,vgamem_mb=512"], "videoram=16"),
        (&["-device", "VGA,vgamem_mb=12"], "videoram=16"),
        (&["-device", "e1000e,id=nic0,netdev=net0,mac=00:16:3e:11:22:33"], "model=e1000"),
        (&["-device", "some-card,id=nic1,netdev=net1,mac=00:16:3e:11:22:33"], "type=vif"),
        (&["-device", "lsi53c895a"], "SCSI"),
        (&["-drive", scsi, "-device", "scsi-hd,drive=scsi0-hd0,scsi-id=0"], "SCSI"),
        (
            &["-device", "ahci,id=ahci0", "-drive", ahci, "-device", "ide-hd,bus=ahci0.6,unit=0,drive=ahcidisk-0"],
            "six ports",
        ),
        (&["-drive", colo], "COLO"),
        (&["-drive", "if=none,driver=host_device,file=/dev/xvda,id=e"], "COLO"),
        (&["-object", "filter-mirror,id=m1,netdev=net0,queue=tx,outdev=mirror0"], "COLO"),
        (&["-chardev", "pty,id=libxl-channel0"], "channel"),
        (&["-chardev", "socket,id=libxl-channel1,path=/a,server=on,wait=off"], "channel"),
        (&["-usbdevice", "braille"], "usbdevice"),
        (&["-device", "ich9-usb-ehci1,id=usb,addr=0x1d.0x7,multifunction=on"], "usbversion"),
        (&["-device", "ich9-usb-uhci1,masterbus=usb.0,firstport=0,addr=0x1d.0,multifunction=on"], "usbversion"),
        (&["-device", "ich9-usb-uhci3,masterbus=usb.0,firstport=4,addr=0x1d.0x2,multifunction=on"], "usbversion"),
        (&["-device", "nec-usb-xhci,id=usb"], "usbversion"),
        (&["-chardev", "spicevmc,name=usbredir,id=usbrc1"], "channel"),
        (&["-device", "usb-redir,chardev=usbrc1,id=usbrc1"], "spice=0"),
        (&["-spice", "port=6000,tls-port=0,disable-ticketing=on,agent-mouse=on"], "spice=0"),
        (&["-device", "virtio-serial"], "spice=0"),
        (&["-device", "virtserialport,chardev=vdagent,name=com.redhat.spice.0"], "spice=0"),
        (&["-device", "intel-hda"], "soundhw"),
        (&["-device", "hda-duplex"], "soundhw"),
        (&["-device", "sb16"], "soundhw"),
        (&["-device", "xen-pvdevice,device-id=0xc000"], "vendor_device"),
        (&["-machine", "xenfv,suppress-vmdesc=on,igd-passthru=on"], "gfx_passthru"),
        (&["-incoming", "$STUBDOM_RESTORE_INCOMING_ARG"], "cannot be restored"),
        (&["-drive", "file=/dev/xvda,if=ide,index=0,media=disk,cache=unsafe"], "device_model_args"),
    ];
    for (words, advice) in cases {
        let config = qemu_xen(words).unwrap_or_else(|refusal| panic!("{words:?}: {refusal}"));
        let refusal = line(config.plan(&[vbd(768), vbd(2048), vbd(5632)]));
        let last = words.last().unwrap();
        assert!(refusal.contains("is not supported: ") && refusal.contains(advice), "{refusal}");
        assert!(refusal.contains(&last.chars().take(60).collect::<String>()), "{refusal}");
    }
    for (words, advice) in [
        ("-std-vga -usbdevice host:1.2", "usbdevice"),
        ("-std-vga -net nic,vlan=0,macaddr=00:16:3e:11:22:33,model=ne2k_pci", "model=e1000"),
        ("-std-vga -soundhw ac97", "soundhw"),
        ("-std-vga -gfx_passthru", "gfx_passthru"),
        ("-std-vga -loadvm /var/lib/xen/qemu-resume.3", "cannot be restored"),
    ] {
        let refusal = line(traditional(words).unwrap().plan(&[]));
        assert!(refusal.contains(advice), "{refusal}");
    }
}

#[test]
fn a_kernel_is_started_with_its_ramdisk_and_command_line() {
    let plan = |words: &[&str]| qemu_xen(words).unwrap().plan(&[]);
    assert_eq!(plan(&[]).unwrap().kernel, None);
    let words = ["-kernel", "/boot/vmlinuz", "-initrd", "/boot/initrd.img", "-append", "root=/dev/xvda1 quiet"];
    let kernel = plan(&words).unwrap().kernel.unwrap();
    assert_eq!(kernel.kernel, "/boot/vmlinuz");
    assert_eq!(kernel.initrd.as_deref(), Some("/boot/initrd.img"));
    assert_eq!(kernel.command_line, "root=/dev/xvda1 quiet");
    assert_eq!(plan(&words[..2]).unwrap().kernel.unwrap().command_line, "");
    let refusal = line(plan(&words[2..4]));
    assert!(refusal.contains("-initrd /boot/initrd.img") && refusal.contains("no -kernel"), "{refusal}");
    let refusal = line(plan(&words[4..]));
    assert!(refusal.contains("-append root=/dev/xvda1 quiet") && refusal.contains("no -kernel"), "{refusal}");
}

#[test]
fn network_cards_usb_and_cirrus_are_planned() {
    let nic = |model, vif: u32| format!("{model},id=nic{vif},netdev=net{vif},mac=00:16:3e:11:22:0{vif}");
    let (first, second) = (nic("rtl8139", 0), nic("e1000", 1));
    let words =
        ["-device", &first, "-device", &second, "-usb", "-usbdevice", "tablet", "-device", "cirrus-vga,vgamem_mb=8"];
    let plan = qemu_xen(&words).unwrap().plan(&[]).unwrap();
    let planned = |model, vif| NicPlan { model, mac: [0, 0x16, 0x3e, 0x11, 0x22, vif], vif: vif.into() };
    assert_eq!(plan.nics, [planned(NicModel::Rtl8139, 0), planned(NicModel::E1000, 1)]);
    assert_eq!(plan.usb.as_deref(), Some(&[UsbDevice::Tablet][..]));
    assert_eq!(plan.video, Some(VideoPlan { model: VideoModel::Cirrus, memory_mib: 8 }));
    let twice = qemu_xen(&["-device", &first, "-device", &first]).unwrap().plan(&[]);
    assert!(line(twice).contains("another card has the same network"));
    let plan = traditional("-net nic,vlan=2,macaddr=00:16:3e:11:22:02,model=rtl8139 -usb").unwrap().plan(&[]).unwrap();
    assert_eq!(plan.nics, [planned(NicModel::Rtl8139, 2)]);
    assert_eq!((plan.usb, plan.video.map(|video| video.model)), (Some(vec![]), Some(VideoModel::Cirrus)));
}

#[test]
fn drives_of_an_ahci_controller_come_behind_those_of_ide() {
    let ahci = "file=/dev/xvda,if=none,id=ahcidisk-0,format=host_device,cache=writeback";
    let config = qemu_xen(&[
        "-device",
        "ahci,id=ahci0",
        "-drive",
        ahci,
        "-device",
        "ide-hd,bus=ahci0.0,unit=0,drive=ahcidisk-0",
    ]);
    let plan = config.unwrap().plan(&[vbd(768)]).unwrap();
    let drive =
        DrivePlan { bus: DriveBus::Ahci, slot: 0, media: Media::Disk, vbd: 768, empty: false, read_only: false };
    assert_eq!((plan.ahci, plan.drives), (1, vec![drive]));
}

/// As `device_model_args_hvm` of xl.cfg can ask for it.
#[test]
fn there_is_a_controller_for_every_six_of_26_disks() {
    let mut words = Vec::new();
    for controller in 0..5 {
        words.extend(["-device".to_string(), format!("ahci,id=ahci{controller}")]);
    }
    for (disk, letter) in ('a'..='z').enumerate() {
        words.extend(["-drive".to_string(), format!("file=/dev/xvd{letter},if=none,id=d{disk},format=host_device")]);
        words.extend(["-device".to_string(), format!("ide-hd,bus=ahci{}.{},drive=d{disk}", disk / 6, disk % 6)]);
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let numbers: Vec<_> =
        (0..26).map(|disk| if disk < 16 { 51712 + disk * 16 } else { (1 << 28) + disk * 256 }).collect();
    let vbds: Vec<_> = numbers.iter().copied().map(vbd).collect();
    let plan = qemu_xen(&words).unwrap().plan(&vbds).unwrap();
    assert_eq!(plan.ahci, 5);
    let drives: Vec<_> = plan.drives.iter().map(|drive| (drive.bus, drive.slot.into(), drive.vbd)).collect();
    let expected: Vec<_> = numbers.iter().zip(0_u32..).map(|(number, slot)| (DriveBus::Ahci, slot, *number)).collect();
    assert_eq!(drives, expected);

    let refused = |device: &str| line(qemu_xen(&[&words[..10], &["-device", device]].concat()).unwrap().plan(&[]));
    assert!(refused("ahci,id=ahci5").contains("at most five"));
}

/// Both kinds of drives sit on both kinds of controllers.
#[test]
fn a_cd_drive_can_be_on_ahci_and_a_disk_be_named_on_ide() {
    let config = qemu_xen(&[
        "-device",
        "ich9-ahci,id=sata",
        "-drive",
        "file=/dev/xvdc,if=none,readonly=on,id=ide-5632,format=host_device",
        "-device",
        "ide-cd,drive=ide-5632,bus=sata.4",
        "-drive",
        "file=/dev/xvda,if=none,id=root",
        "-device",
        "ide-hd,drive=root,bus=ide.1,unit=1",
    ]);
    let disc = Vbd { media: Media::Cdrom, read_only: true, ..vbd(5632) };
    let plan = config.unwrap().plan(&[vbd(768), disc]).unwrap();
    let places: Vec<_> = plan.drives.iter().map(|drive| (drive.bus, drive.slot, drive.media)).collect();
    assert_eq!(places, [(DriveBus::Ide, 3, Media::Disk), (DriveBus::Ahci, 4, Media::Cdrom)]);
    let nowhere = qemu_xen(&["-drive", "file=/dev/xvda,if=none,id=a", "-device", "ide-hd,drive=a,bus=ahci0.0"]);
    assert!(nowhere.unwrap_err().to_string().contains("no such place"));
}

#[test]
fn machines_are_xenfv_and_pc() {
    let machine = |text: &str| qemu_xen(&["-machine", text]).map(|config| config.machine);
    assert!(machine("xenfv,suppress-vmdesc=on").unwrap().xen_platform);
    assert!(!machine("pc,accel=xen,suppress-vmdesc=on").unwrap().xen_platform);
    assert_eq!(
        machine("xenfv,suppress-vmdesc=on,max-ram-below-4g=3221225472").unwrap().max_ram_below_4g,
        Some(3 << 30)
    );
    assert!(machine("xenfv,igd-passthru=on").unwrap().igd_passthrough);
    for wrong in [
        "",
        "q35",
        "pc,accel=kvm",
        "xenfv,suppress-vmdesc=maybe",
        "xenfv,max-ram-below-4g=-1",
        "xenfv,usb=on",
        "xenfv,",
    ] {
        assert!(machine(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn malformed_arguments_are_named() {
    let cases: &[(&[&str], &str)] = &[
        (&["-m"], "\"-m\" lacks its value"),
        (&["-m", "1"], "\"-m 1\" is given twice"),
        (&["-smp", "99999999999"], "\"-smp 99999999999\" is malformed: a number is too large"),
        (&["-smp", "+2"], "\"-smp +2\" is malformed"),
        (&["-smp", "2,sockets=2"], "\"-smp 2,sockets=2\" has the unknown property \"sockets\""),
        (&["-boot", "order=cdx"], "\"-boot order=cdx\" is malformed"),
        (&["-boot", "order=cc"], "each once"),
        (&["-boot", "order=c,menu=on"], "unknown property \"menu\""),
        (&["-serial", "pty"], "\"-serial pty\" is malformed"),
        (&["-serial", "/dev/hvc4"], "\"-serial /dev/hvc4\" is malformed"),
        (&["-serial", "/dev/hvc"], "\"-serial /dev/hvc\" is malformed"),
        (&["-device", "VGA"], "\"-device VGA\" lacks the property \"vgamem_mb\""),
        (&["-device", "VGA,vgamem_mb=16,rombar=0"], "unknown property \"rombar\""),
        (&["-device", "floppy"], "\"-device floppy\" is unknown"),
        (&["-device", ""], "\"-device\" is unknown"),
        (&["-device", "e1000,netdev=net0,mac=00:16:3e:11:22"], "this is no Ethernet address"),
        (&["-device", "e1000,netdev=net0,mac=00:16:3e:11:22:+3"], "this is no Ethernet address"),
        (&["-device", "e1000,netdev=tap,mac=00:16:3e:11:22:33"], "netdev is not net0"),
        (&["-netdev", "user,id=net0"], "the type is not tap"),
        (&["-net", "user"], "the type is none of"),
        (&["-drive", "if=ide,index=4,file=/dev/xvda"], "index is not 0 to 3"),
        (&["-drive", "if=ide,index=0"], "lacks the property \"file\""),
        (&["-drive", "if=floppy,file=/dev/xvda"], "if is neither"),
        (&["-drive", "if=ide,index=0,file=/etc/passwd"], "file is not"),
        (&["-drive", "if=ide,index=0,file=/dev/xvdaa"], "file is not"),
        (&["-drive", "if=ide,index=0,file=/dev/xvda,format=qcow2"], "format is not"),
        (&["-drive", "if=ide,index=0,file=/dev/xvda,readonly=1"], "neither on nor off"),
        (&["-drive", "if=ide,index=0,file=/dev/xvda,cache=x"], "no such cache"),
        (&["-drive", "if=ide,index=0,file=/dev/xvda,discard=x"], "no such discard"),
        (&["-drive", "if=ide,index=0,file=/dev/xvda,media=cdrom"], "media is not disk"),
        (&["-drive", "if=ide,index=0,file=/dev/xvda,index=1"], "a property is given twice"),
        (&["-drive", "if=none,id=d,file=/dev/xvda"], "no device uses this drive"),
        (&["-drive", HDA, "-drive", HDA], "another drive is in the same place"),
        (&["-device", "ide-cd,drive=ide-5632,bus=ide.1,unit=0"], "no -drive has this name"),
        (&["-drive", "if=none,id=x", "-device", "ide-cd,drive=x,bus=ide.1,unit=0"], "not named after"),
        (&["-drive", "if=none,id=ide-9", "-device", "ide-cd,drive=ide-9,bus=ide.2,unit=0"], "no such place"),
        (&["-drive", "if=none,id=x", "-device", "scsi-hd,drive=x,scsi-id=0"], "lacks the property \"file\""),
        (&["-display", "sdl"], "\"-display sdl\" is not supported"),
        (&["-foo"], "device-model argument \"-foo\" is unknown"),
        (&["stray"], "device-model argument \"stray\" is unknown"),
        (&[""], "device-model argument \"\" is unknown"),
    ];
    for (words, expected) in cases {
        let text = line(qemu_xen(words));
        assert!(text.starts_with("device-model argument ") && text.contains(expected), "{words:?}: {text}");
    }
    for (words, expected) in [
        ("-d 4", "\"-d 4\" is given twice"),
        ("-vcpu_avail 1", "no mask"),
        ("-vcpu_avail 0x", "no mask"),
        ("-vcpu_avail 0xg", "no mask"),
        ("-vga cirrus", "it is not none"),
        ("-vga none -std-vga", "given twice"),
        ("-net nic,vlan=0,model=e1000", "lacks the property \"macaddr\""),
        ("-xen-domid 3", "\"-xen-domid\" is unknown"),
        ("-videoram", "\"-videoram\" lacks its value"),
    ] {
        let text = line(traditional(words));
        assert!(text.contains(expected), "{words}: {text}");
    }
}

#[test]
fn numbers_of_virtual_cpus_are_checked_when_the_machine_is_planned() {
    for wrong in ["0", "129", "5,maxcpus=4", "0,maxcpus=4"] {
        let text = line(qemu_xen(&["-smp", wrong]).unwrap().plan(&[]));
        assert!(text.contains("virtual CPUs"), "{text}");
    }
    assert_eq!(qemu_xen(&["-smp", "128"]).unwrap().plan(&[]).unwrap().vcpus, Vcpus { online: 128, max: 128 });
}

#[test]
fn sizes_of_memory_that_no_guest_has_are_refused() {
    for (mib, fits) in
        [("0", false), ("1", true), ("4294967296", true), ("4294967297", false), ("18446744073709551615", false)]
    {
        let config = Config::from_dm_argv(&dm_argv(&["-xen-domid", "7", "-machine", "xenfv", "-m", mib])).unwrap();
        assert_eq!(config.plan(&[]).is_ok(), fits, "{mib}");
    }
}

#[test]
fn a_fifth_serial_port_is_refused() {
    let words: Vec<String> = (3..8).flat_map(|console| ["-serial".to_string(), format!("/dev/hvc{console}")]).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(line(qemu_xen(&words).unwrap().plan(&[])).contains("\"-serial /dev/hvc7\" is not supported"));
}

#[test]
fn the_guest_has_to_be_named_and_has_to_be_the_target() {
    let words = |domain: &str| Config::from_dm_argv(&dm_argv(&["-machine", "xenfv", "-xen-domid", domain]));
    assert_eq!(words("32751").unwrap().guest, 0x7fef);
    for wrong in ["0", "32752", "65536", "-1", "x", ""] {
        assert!(words(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        line(Config::from_dm_argv(&dm_argv(&["-machine", "xenfv"]))),
        "device-model argument \"-xen-domid\" is missing"
    );
    assert_eq!(line(Config::from_dmargs("")), "device-model argument \"-d\" is missing");
    assert_eq!(
        line(Config::from_dm_argv(&dm_argv(&["-xen-domid", "7"]))),
        "device-model argument \"-machine\" is missing"
    );
    let config = words("7").unwrap();
    assert_eq!(config.check_target("7"), Ok(()));
    for wrong in ["8", "", "07x", "seven"] {
        assert!(line(config.check_target(wrong)).starts_with("xenstore key \"target\" is malformed"), "{wrong}");
    }
}

#[test]
fn exactly_one_contract_has_to_be_in_the_store() {
    let argv = dm_argv(&["-machine", "xenfv", "-xen-domid", "7"]);
    assert_eq!(
        line(Config::from_store::<&str, &str>(None, None)),
        "xenstore key \"image/dm-argv\" is missing: and so is image/dmargs"
    );
    assert!(Config::from_store(Some(&argv), Some(" -d 7")).is_err());
    assert!(Config::from_store(Some(&argv), None).is_ok());
}

#[test]
fn the_keys_of_dm_argv_are_put_in_order_and_may_have_no_gap() {
    let mut entries = dm_argv(&["-xen-domid", "7", "-machine", "xenfv"]);
    entries.reverse();
    assert_eq!(Config::from_dm_argv(&entries).unwrap().guest, 7);
    let with = |names: &[&str]| {
        let entries: Vec<_> = names.iter().map(|name| (*name, "-usb")).collect();
        line(Config::from_dm_argv(&entries))
    };
    assert_eq!(with(&["001", "003"]), "xenstore key \"image/dm-argv/002\" is missing");
    assert_eq!(with(&["002"]), "xenstore key \"image/dm-argv/001\" is missing");
    assert!(with(&["001", "000"]).starts_with("xenstore key \"image/dm-argv/000\" is malformed"));
    assert!(with(&["001", "001"]).starts_with("xenstore key \"image/dm-argv/001\" is malformed"));
    for junk in ["1", "0001", "x", "", "-01", "+01", "01 ", "99999999999999999999999", "001/x"] {
        assert!(
            with(&["001", junk]).starts_with(&format!("xenstore key \"image/dm-argv/{junk}\" is malformed")),
            "{junk}"
        );
    }
    let many: Vec<_> = (1..=1025).map(|number| (format!("{number:03}"), "-usb")).collect();
    assert!(line(Config::from_dm_argv(&many)).contains("too many"));
    let long: Vec<_> = (1..=1024).map(|number| (format!("{number:03}"), "-usb")).collect();
    assert!(line(Config::from_dm_argv(&long)).contains("-machine"));
}

// Disks.

#[test]
fn numbers_of_virtual_block_devices_are_those_of_xen_vbd_interface_7() {
    for (number, family, disk, partition) in [
        (768, Family::Hd, 0, 0),
        (832, Family::Hd, 1, 0),
        (5632, Family::Hd, 2, 0),
        (5696, Family::Hd, 3, 0),
        (769, Family::Hd, 0, 1),
        (2048, Family::Sd, 0, 0),
        (2064, Family::Sd, 1, 0),
        (51712, Family::Xvd, 0, 0),
        (51729, Family::Xvd, 1, 1),
        (51952, Family::Xvd, 15, 0),
        (268_439_552, Family::Xvd, 16, 0),
    ] {
        assert_eq!(Vdev::decode(number), Some(Vdev { family, disk, partition }), "{number}");
        assert_eq!(Vdev::whole(family, disk), Some(number - partition), "{number}");
    }
    for number in [0, 1, 3 * 256 + 128, 22 * 256 + 192, 1 << 29, u32::MAX] {
        assert_eq!(Vdev::decode(number), None, "{number}");
    }
    assert_eq!(Vdev::whole(Family::Hd, 4), None);
    assert_eq!(Vdev::whole(Family::Xvd, u32::MAX), None);
}

#[test]
fn a_letter_is_looked_for_as_hd_and_as_xvd() {
    let config = qemu_xen(&["-drive", HDA]).unwrap();
    let disk = config.disks.first().unwrap();
    assert_eq!((disk.cache, disk.discard), (Cache::Writeback, None));
    assert_eq!(disk.vbd_candidates().collect::<Vec<_>>(), [768, 51712]);
    assert_eq!(disk.find(&[vbd(51712)]).map(|found| found.number), Ok(51712));
    assert!(line(disk.find(&[vbd(2048)])).contains("the stub domain has no such disk"));
    assert!(line(disk.find(&[vbd(768), vbd(51712)])).contains("different letters"));
    assert!(line(disk.find(&[Vbd { media: Media::Cdrom, ..vbd(768) }])).contains("device-type"));
}

#[test]
fn odd_keys_of_a_virtual_block_device_are_named() {
    let vbd = |d: &str, v: &str, t: &str, m: &str| line(Vbd::from_store(d, v, t, m));
    assert!(vbd("7x", "7x", "disk", "w").starts_with("xenstore key \"device/vbd/7x\" is malformed"));
    assert!(vbd("768", "769", "disk", "w").starts_with("xenstore key \"device/vbd/768/virtual-device\" is malformed"));
    assert!(vbd("768", "768", "tape", "w").starts_with("xenstore key \"device/vbd/768/device-type\" is malformed"));
    assert!(
        vbd("768", "768", "disk", "!").starts_with("xenstore key \"device/vbd/768 (backend's mode)\" is malformed")
    );
}

// The stub domain's own command line.

#[test]
fn the_command_line_sets_the_level_of_the_log() {
    for text in ["", "console=hvc0 debug=1", "  debug "] {
        assert_eq!(CommandLine::parse(text), Ok(CommandLine::default()));
    }
    assert_eq!(CommandLine::parse("console=hvc0 loglevel=trace").unwrap().log_level, LevelFilter::Trace);
    assert_eq!(line(CommandLine::parse("fast")), "command-line option \"fast\" is unknown");
    assert!(line(CommandLine::parse("loglevel=7")).starts_with("command-line option \"loglevel=7\" is malformed"));
    assert_eq!(
        line(CommandLine::parse("loglevel=info loglevel=warn")),
        "command-line option \"loglevel=warn\" is given twice"
    );
}

#[test]
fn the_command_line_asks_for_a_screen_on_the_network() {
    let line_of = |text| CommandLine::parse(text).unwrap();
    let asked = line_of("ip=10.0.0.2/24,10.0.0.1 ip=fd00::2/64 vif=3 vnc=:1,websocket=on vncpasswd=a=b");
    assert!(!asked.addresses.is_empty());
    assert_eq!((asked.vif, asked.vnc_password.as_deref()), (Some(3), Some("a=b")));
    assert_eq!(asked.vnc.map(|vnc| (vnc.port, vnc.websocket)), Some((5901, Some(5701))));
    assert!(line_of("loglevel=info").addresses.is_empty());
    for (text, refusal) in [
        ("ip=dhcp ip=dhcp", "command-line option \"ip=dhcp\" is given twice"),
        ("ip=10.0.0.2", "command-line option \"ip=10.0.0.2\" is malformed: ip is one of"),
        ("ip=224.0.0.1/24", "command-line option \"ip=224.0.0.1/24\" is malformed: no station"),
        ("vif=x", "command-line option \"vif=x\" is malformed"),
        ("vnc=:1 vnc=:2", "command-line option \"vnc=:2\" is given twice"),
        ("vnc=:1,sasl", "command-line option \"vnc=:1,sasl\""),
        // What somebody means to be secret does not get into the log.
        ("vncpasswd=one vncpasswd=two", "command-line option \"vncpasswd=...\" is given twice"),
        ("vncpasswd=", "command-line option \"vncpasswd=...\" is malformed"),
    ] {
        let said = line(CommandLine::parse(text));
        assert!(said.starts_with(refusal), "{said}");
    }
}

#[test]
fn the_argument_vnc_asks_for_the_same() {
    let plan = |words: &[&str]| qemu_xen(words).unwrap().plan(&[]).unwrap();
    assert_eq!(plan(&["-vnc", "none"]).vnc, None);
    assert_eq!(plan(&["-vnc", "none", "-vnc", ":2,password=on"]).vnc.map(|vnc| vnc.port), Some(5902));
    assert!(line(qemu_xen(&["-vnc", ":1", "-vnc", ":2"])).contains("is given twice"));
    assert!(line(qemu_xen(&["-vnc", "127.0.0.1:0,to=99"])).contains("is malformed"));
}

// The tables, and hostile text.

#[test]
fn the_tables_name_everything_once_and_always_say_why() {
    for contract in [Contract::QemuXen, Contract::Traditional] {
        let lines = options(contract);
        for (at, line) in lines.iter().enumerate() {
            assert!(line.option.starts_with('-'));
            assert!(lines.iter().skip(at + 1).all(|other| other.option != line.option), "{}", line.option);
            assert!(!matches!(line.effect, Effect::Ignore("") | Effect::Refuse(_, "")), "{}", line.option);
        }
    }
    for (at, line) in DEVICES.iter().enumerate() {
        assert!(DEVICES.iter().skip(at + 1).all(|other| other.driver != line.driver), "{}", line.driver);
    }
}

#[test]
fn a_doubled_comma_belongs_to_the_value() {
    let config = qemu_xen(&["-chardev", "socket,id=a,,b,path=/x=y,server"]).unwrap();
    let chardev = config.chardevs.first().unwrap();
    assert_eq!(
        (chardev.get("id"), chardev.get("path"), chardev.get("server")),
        (Some("a,b"), Some("/x=y"), Some("on"))
    );
}

#[test]
fn no_text_is_too_hostile_for_any_argument() {
    let long = "x".repeat(4096);
    let commas = ",".repeat(4096);
    let pairs: String = (0..1000).map(|n| format!("k{n}={n},")).collect();
    let hostile = [
        "",
        " ",
        ",",
        "=",
        ",,",
        ",,,",
        "==",
        "a=",
        "=a",
        "-",
        "--",
        "\u{0}",
        "\u{fffd}\u{fffd}",
        "\u{1f4a9}",
        "\n",
        "\"\\",
        "18446744073709551616",
        "4294967296",
        "-1",
        "0x10",
        "9999999999999999999999999999999999999999",
        "/dev/hvc4294967296",
        "/dev/hvc3\u{0}",
        "/dev/xvd\u{e9}",
        "xenfv,max-ram-below-4g=99999999999999999999",
        "VGA,vgamem_mb=4294967296",
        "qxl-vga,vram_size_mb=4294967295,ram_size_mb=4294967295",
        "type",
        "nic,vlan=0,macaddr=:::::,model=",
        &long,
        &commas,
        &pairs,
    ];
    for contract in [Contract::QemuXen, Contract::Traditional] {
        for option in options(contract).iter().map(|line| line.option).chain(["-unknown"]) {
            for text in hostile {
                let result = match contract {
                    Contract::QemuXen => qemu_xen(&[option, text]),
                    Contract::Traditional => traditional(&format!("{option} {text}")),
                };
                let result = result.and_then(|config| config.plan(&[vbd(768)]));
                if let Err(refusal) = result {
                    let text = refusal.to_string();
                    assert!(text.len() <= 2400 && !text.contains(char::is_control), "{text}");
                }
            }
        }
    }
    for driver in DEVICES.iter().map(|line| line.driver) {
        for text in hostile {
            for property in ["drive", "bus", "unit", "scsi-id", "mac", "netdev", "vgamem_mb"] {
                let _ = qemu_xen(&["-device", &format!("{driver},{property}={text}")]);
            }
        }
    }
    for text in hostile {
        let _ = CommandLine::parse(text);
        let _ = Vbd::from_store(text, text, text, text);
        let _ = Config::from_dm_argv(&[(text, text)]);
    }
}

#[test]
fn a_refusal_is_one_bounded_line() {
    let refusal = Refusal::argument(&format!("a\n\"{}", "b".repeat(4096)), Reason::Unknown).to_string();
    assert!(
        refusal.starts_with("device-model argument \"a\\n\\\"bbb") && refusal.ends_with("bbb...\" is unknown"),
        "{refusal}"
    );
    assert!(refusal.len() < 220);
}
