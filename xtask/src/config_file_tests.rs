use super::*;

const CONFIG: &str = r#"
name = "win"   # a comment
type = "hvm"
memory = 512
disk = [ '/images/a]b.img,raw,xvda,rw',
         'format=qcow2, vdev=hdb, access=ro, target=sub/b.qcow2',
         'file:c.img,hdc,w', ',,hdd:cdrom,r' ]
device_model_version = "qemu-xen"
"#;

#[test]
fn disk_images_become_disks_of_the_testbed() {
    let file = prepare(CONFIG, DeviceModel::Stubdom, 1, |target| Ok(target.into())).unwrap();
    assert_eq!(file.name, "win");
    let disks: Vec<_> = file.disks.iter().map(|disk| (disk.file.to_str().unwrap(), disk.format, disk.writes)).collect();
    let expected = [
        ("/images/a]b.img", Format::Raw, Writes::Kept),
        ("sub/b.qcow2", Format::Qcow2, Writes::Refused),
        ("c.img", Format::Raw, Writes::Kept),
    ];
    assert_eq!(disks, expected);
    assert!(file.text.contains("'format=raw,vdev=hdb,access=ro,target=/dev/testbed/disk1'"));
    // An empty drive stays as it is written.
    assert!(file.text.contains("',,hdd:cdrom,r'"));
}

#[test]
fn lines_for_the_stub_domain_are_added_when_they_are_absent() {
    let file = prepare(CONFIG, DeviceModel::Stubdom, 1, |target| Ok(target.into())).unwrap();
    assert_eq!(file.text.matches("device_model_version").count(), 1);
    assert!(file.text.contains("stubdomain_memory = 16"));
    let file = prepare(CONFIG, DeviceModel::Qemu, 1, |target| Ok(target.into())).unwrap();
    assert!(file.text.ends_with("device_model_stubdomain_override = 0\n"));
}

#[test]
fn a_guest_without_device_model_is_refused() {
    let error = prepare("name='a'\ntype='pvh'\n", DeviceModel::Stubdom, 1, |target| Ok(target.into())).err().unwrap();
    assert!(error.to_string().contains("type = \"hvm\""));
}

#[test]
fn a_remote_disk_is_refused() {
    assert!(XlDisk::parse("rbd:pool/image,raw,hda,rw").is_err());
    assert!(XlDisk::parse("/a,raw").is_err());
}
