//! The rest of the PC: PCI configuration, fw_cfg, CMOS, the UART's registers, the timer's interrupts.

use super::screen;
use crate::report::{Outcome, Report};
use crate::time::Deadline;
use crate::{bail, ensure, interrupts, line, memory, pci, port, serial};

/// Prints `PCI slot.function vendor:device class` for every function of bus 0.
pub(crate) fn pci_list(report: &mut Report) {
    for function in pci::functions() {
        let [low, high] = [function.id() & 0xffff, function.id() >> 16];
        line!("PCI {:02x}.{} {low:04x}:{high:04x} {:04x}", function.slot, function.number, function.class());
    }
    let run = || -> Outcome {
        ensure!(pci::functions().count() > 1, "nothing on bus 0");
        // Every width reads the same register.
        let bridge = pci::Function { slot: 0, number: 0 };
        let id = bridge.id().to_le_bytes();
        ensure!([bridge.read8(0), bridge.read8(1), bridge.read8(2), bridge.read8(3)] == id, "bytes differ");
        ensure!(bridge.read16(2).to_le_bytes() == id[2..], "words differ");
        // No device: all ones. Not enabled: not the configuration space.
        ensure!(pci::Function { slot: 31, number: 7 }.id() == 0xffff_ffff, "an absent function answers");
        port::out32(0xcf8, 0x8000_0000);
        ensure!(port::in32(0xcf8) == 0x8000_0000, "0xcf8 does not read back");
        // Vendor and device are read-only.
        bridge.write32(0, 0);
        ensure!(bridge.id().to_le_bytes() == id, "the device id can be written");
        Ok(())
    };
    report.check("pci-list", run());
}

/// Base address registers size and move.
pub(crate) fn pci_bars(report: &mut Report) {
    report.check("pci-vga-bar", vga_bar());
    report.check("pci-ide-bar", ide_bar());
}

/// A free place for the frame buffer: behind what firmware hands out, both hvmloader and SeaBIOS.
const ELSEWHERE: u32 = 0xf600_0000;

fn vga_bar() -> Outcome {
    let Some(vga) = pci::find_class(pci::VGA) else { bail!("no VGA card") };
    let Some(base) = screen::frame_buffer() else { bail!("no frame buffer") };
    let old = vga.base_address(0);
    let command = vga.read16(4);
    vga.write16(4, command & !3);
    vga.write32(0x10, u32::MAX);
    let mask = vga.base_address(0) & 0xffff_fff0;
    let size = !mask.wrapping_sub(1);
    vga.write32(0x10, ELSEWHERE);
    let moved = vga.base_address(0) & 0xffff_fff0;
    vga.write32(0x10, old);
    vga.write16(4, command | 2);
    ensure!(mask == 0xff00_0000, "16 MiB size as {mask:#x}");
    ensure!(moved == ELSEWHERE, "moved to {moved:#x}");
    ensure!(size != 0, "no size");
    let far = 8 << 20;
    memory::write32(base + far, 0x1234_5678);
    memory::write32(base + far + 4096, 0x9abc_def0);
    vga.write32(0x10, ELSEWHERE);
    let there = u64::from(ELSEWHERE) + far;
    let seen = (memory::read32(there), memory::read32(there + 4096));
    let left = memory::read32(base + far);
    memory::write32(there, 0x0bad_cafe);
    vga.write32(0x10, old);
    ensure!(seen == (0x1234_5678, 0x9abc_def0), "content did not move: {seen:x?}");
    // What nobody claims reads as all ones on a PC's bus and under Xen, and as zero under plain QEMU.
    ensure!(left == u32::MAX || left == 0, "the old place reads {left:#x}");
    ensure!(memory::read32(base + far) == 0x0bad_cafe, "content did not move back");
    // Memory space off: nothing answers.
    vga.write16(4, command & !2);
    let hidden = memory::read32(base + far);
    vga.write16(4, command | 2);
    ensure!(hidden == u32::MAX || hidden == 0, "a card without memory space reads {hidden:#x}");
    ensure!(memory::read32(base + far) == 0x0bad_cafe, "content was lost");
    Ok(())
}

fn ide_bar() -> Outcome {
    let Some(ide) = pci::find_class(pci::IDE) else { bail!("no IDE controller") };
    let old = ide.base_address(4);
    ensure!(old & 1 == 1, "base address register 4 is {old:#x}");
    let place = |value: u32| u16::try_from(value & 0xfff0).unwrap_or(0);
    ide.write16(4, ide.read16(4) | 1);
    ide.write32(0x20, u32::MAX);
    let mask = ide.base_address(4);
    ide.write32(0x20, 0xe801);
    let moved = ide.base_address(4);
    port::out32(0xe804, 0x0012_3454);
    let there = port::in32(0xe804);
    ide.write32(0x20, old);
    let back = port::in32(place(old) + 4);
    ensure!(mask & 0xffff == 0xfff1, "16 ports size as {mask:#x}");
    ensure!(moved == 0xe801, "moved to {moved:#x}");
    ensure!(there == 0x0012_3454, "the descriptor table pointer reads {there:#x}");
    ensure!(back == 0x0012_3454, "after moving back it reads {back:#x}");
    ensure!(port::in32(0xe804) == u32::MAX, "the place it left still answers");
    Ok(())
}

/// The signature of fw_cfg, and its directory of files.
pub(crate) fn fw_cfg(report: &mut Report) {
    let run = || -> Result<u64, crate::report::Failure> {
        port::out16(0x510, 0);
        let signature = [0; 4].map(|_: u8| port::in8(0x511));
        ensure!(signature == *b"QEMU", "signature {signature:x?}");
        port::out16(0x510, 0x19);
        let files = u32::from_be_bytes([0; 4].map(|_: u8| port::in8(0x511)));
        ensure!(files < 256, "{files} files");
        for _ in 0..files {
            // Size, selector, reserved, name.
            let mut entry = [0; 64];
            entry.iter_mut().for_each(|byte| *byte = port::in8(0x511));
            ensure!(entry[8].is_ascii_graphic() && entry[63] == 0, "an entry without a name");
        }
        Ok(u64::from(files))
    };
    match run() {
        Ok(files) => {
            report.check("fw-cfg", Ok(()));
            report.value("fw-cfg-files", files, "files");
        }
        Err(why) => report.check("fw-cfg", Err(why)),
    }
}

/// The bytes that firmware leaves in CMOS memory add up, and the clock is sane. Nothing is written.
pub(crate) fn cmos(report: &mut Report) {
    let read = |register: u8| {
        port::out8(0x70, register);
        port::in8(0x71)
    };
    let run = || -> Outcome {
        let base = u16::from_le_bytes([read(0x15), read(0x16)]);
        ensure!(base == 640, "{base} KiB of base memory");
        let above_16m = u16::from_le_bytes([read(0x34), read(0x35)]);
        ensure!(above_16m > 0, "no memory above 16 MiB");
        // Register B says how numbers are written: BCD, or binary with bit 2.
        let month = if read(0x0b) & 4 == 0 { (read(8) >> 4) * 10 + (read(8) & 0x0f) } else { read(8) };
        ensure!((1..=12).contains(&month), "month {month}");
        // Valid RAM and time.
        ensure!(read(0x0d) & 0x80 != 0, "the battery is empty");
        Ok(())
    };
    report.check("cmos", run());
}

/// Registers of COM1: scratch, divisor latch, loopback of data and modem lines.
pub(crate) fn uart(report: &mut Report) {
    let base = serial::BASE;
    // What was sent has to leave before the divisor and the loopback change what happens to it.
    let wait = || while port::in8(base + 5) & 0x40 == 0 {};
    wait();
    let run = || -> Outcome {
        for value in [0x00, 0x55, 0xaa, 0xff] {
            port::out8(base + 7, value);
            ensure!(port::in8(base + 7) == value, "the scratch register loses {value:#04x}");
        }
        port::out8(base + 3, 0x83);
        port::out8(base, 0x34);
        port::out8(base + 1, 0x12);
        let divisor = (port::in8(base), port::in8(base + 1));
        port::out8(base, 1);
        port::out8(base + 1, 0);
        port::out8(base + 3, 0x03);
        ensure!(divisor == (0x34, 0x12), "the divisor latch reads {divisor:x?}");
        // MCR bit 4: loopback. Bits 3:0 come back as DCD, RI, DSR, CTS.
        port::out8(base + 4, 0x1a);
        let lines = port::in8(base + 6) & 0xf0;
        port::out8(base, 0x5a);
        let deadline = Deadline::milliseconds(1000);
        while port::in8(base + 5) & 1 == 0 && !deadline.passed() {}
        let back = port::in8(base);
        port::out8(base + 4, 0x0b);
        ensure!(lines == 0x90, "modem lines in loopback {lines:#04x}");
        ensure!(back == 0x5a, "loopback gives {back:#04x}");
        ensure!(port::in8(base + 2) & 0xc0 == 0xc0, "no FIFO");
        Ok(())
    };
    let outcome = run();
    serial::start();
    report.check("uart", outcome);
}

/// The timer interrupts about 18 times a second.
pub(crate) fn timer(report: &mut Report) {
    let seen = interrupts::count(0);
    let in_time = interrupts::wait_until(Deadline::milliseconds(5000), || interrupts::count(0) >= seen + 5);
    report
        .check("timer", if in_time { Ok(()) } else { Err(crate::report::Failure::new(format_args!("no interrupts"))) });
}
