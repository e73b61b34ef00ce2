//! Finding the way to switch off in the firmware's ACPI tables.
//!
//! Source: ACPI 2.0, 5.2.4 (RSDP), 5.2.6 (RSDT), 5.2.8 (FADT), 7.4.2 (`\_Sx`), 17.2 (AML).
//! Memory is read through a function, so that this runs on tables in a test as well.

/// How to enter the soft-off state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerOff {
    /// Port of PM1a_CNT.
    pub control: u16,
    /// SLP_TYPa of `\_S5`.
    pub sleep_type: u8,
    /// SMI_CMD and ACPI_ENABLE, where a write has to switch ACPI mode on first.
    pub enable: Option<(u16, u8)>,
}

/// Physical memory, byte by byte.
pub trait ReadByte: Fn(u64) -> u8 {}
impl<T: Fn(u64) -> u8> ReadByte for T {}

/// Looks for the tables where a PC's BIOS puts them. `None`: something is missing or does not add up.
pub fn find_power_off(read: &impl ReadByte) -> Option<PowerOff> {
    let root = (0xe_0000..0x10_0000_u64)
        .step_by(16)
        .find(|&at| matches(read, at, b"RSD PTR ") && sums_to_zero(read, at, 20))?;
    let rsdt = u64::from(read_u32(read, root + 16));
    let fadt = find_table(read, rsdt, *b"FACP")?;
    let dsdt = u64::from(read_u32(read, fadt + 40));
    let control = u16::try_from(read_u32(read, fadt + 64)).ok()?;
    let sleep_type = find_s5(read, dsdt)?;
    let command = u16::try_from(read_u32(read, fadt + 48)).ok()?;
    let value = read(fadt + 52);
    let enable = (command != 0 && value != 0).then_some((command, value));
    Some(PowerOff { control, sleep_type, enable })
}

/// The table with this signature that an RSDT names.
fn find_table(read: &impl ReadByte, rsdt: u64, signature: [u8; 4]) -> Option<u64> {
    let length = table_length(read, rsdt, *b"RSDT")?;
    (36..length.saturating_sub(3))
        .step_by(4)
        .map(|at| u64::from(read_u32(read, rsdt + at)))
        .find(|&table| matches(read, table, &signature))
}

/// SLP_TYPa: the first element of the package named `_S5_`.
fn find_s5(read: &impl ReadByte, dsdt: u64) -> Option<u8> {
    let length = table_length(read, dsdt, *b"DSDT")?;
    let name =
        (dsdt + 36..dsdt + length.saturating_sub(8)).find(|&at| matches(read, at, b"_S5_") && read(at + 4) == 0x12)?;
    // PkgLength: bits 7:6 of its first byte count the bytes that follow. Then the number of elements.
    let following = u64::from(read(name + 5) >> 6);
    let element = name + 5 + 1 + following + 1;
    match read(element) {
        small @ (0 | 1) => Some(small),
        0x0a => Some(read(element + 1) & 7),
        _ => None,
    }
}

/// Length of a table with this signature; nothing beyond 1 MiB is believed.
fn table_length(read: &impl ReadByte, table: u64, signature: [u8; 4]) -> Option<u64> {
    let length = u64::from(read_u32(read, table + 4));
    (matches(read, table, &signature) && (36..=1 << 20).contains(&length)).then_some(length)
}

fn matches(read: &impl ReadByte, at: u64, expected: &[u8]) -> bool {
    (at..).zip(expected).all(|(at, &byte)| read(at) == byte)
}

fn sums_to_zero(read: &impl ReadByte, at: u64, length: u64) -> bool {
    (at..at + length).fold(0_u8, |sum, at| sum.wrapping_add(read(at))) == 0
}

fn read_u32(read: &impl ReadByte, at: u64) -> u32 {
    u32::from_le_bytes([read(at), read(at + 1), read(at + 2), read(at + 3)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const BASE: u64 = 0xf_0000;

    /// RSDP at 0, RSDT at 0x100, FADT at 0x200, DSDT at 0x300 of a memory that starts at `BASE`.
    fn tables(name_and_package: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RSD PTR ");
        put(16, &0xf_0100_u32.to_le_bytes());
        put(0x100, b"RSDT");
        put(0x104, &40_u32.to_le_bytes());
        put(0x124, &0xf_0200_u32.to_le_bytes());
        put(0x200, b"FACP");
        put(0x204, &116_u32.to_le_bytes());
        put(0x228, &0xf_0300_u32.to_le_bytes());
        put(0x240, &0xb004_u32.to_le_bytes());
        put(0x300, b"DSDT");
        put(0x304, &0x80_u32.to_le_bytes());
        put(0x330, name_and_package);
        let sum = memory[..20].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        memory[8] = 0_u8.wrapping_sub(sum);
        memory
    }

    fn find(memory: &[u8]) -> Option<PowerOff> {
        find_power_off(&|at: u64| {
            at.checked_sub(BASE).and_then(|at| memory.get(usize::try_from(at).ok()?)).copied().unwrap_or(0xff)
        })
    }

    #[test]
    fn the_sleep_type_is_the_first_element_of_s5() {
        // Name (\_S5, Package (4) { 0, 0, 0, 0 }) as in Xen's tables.
        let zero = find(&tables(b"\x08\\_S5_\x12\x06\x04\x00\x00\x00\x00"));
        assert_eq!(zero, Some(PowerOff { control: 0xb004, sleep_type: 0, enable: None }));
        // A byte constant.
        let five = find(&tables(b"\x08_S5_\x12\x08\x04\x0a\x05\x00\x00\x00"));
        assert_eq!(five.map(|found| found.sleep_type), Some(5));
    }

    #[test]
    fn tables_that_do_not_add_up_are_not_believed() {
        assert_eq!(find(&[]), None);
        assert_eq!(find(&tables(b"nothing")), None);
        let mut wrong_sum = tables(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00");
        wrong_sum[8] = wrong_sum[8].wrapping_add(1);
        assert_eq!(find(&wrong_sum), None);
    }
}
