//! PCI-to-ISA bridge of the PIIX3, at 00:01.0: the routes of the four PCI interrupt links.
//!
//! Source: Intel 82371FB/82371SB data sheet, section 2.2 (PIRQRCA to PIRQRCD at 0x60 to 0x63).
//! Not modelled: ISA timing, chip selects, DMA aliasing and the other chip set registers, which are storage.

use crate::host::IsaIrq;
use crate::pci::config::{ConfigSpace, Identity};

/// Offset of PIRQRCA.
const FIRST_ROUTE: usize = 0x60;
/// PIRQRC: the link is not routed.
const ROUTE_DISABLED: u8 = 1 << 7;
/// ISA lines that a link can be routed to: "0, 1, 2, 8 and 13 are reserved".
const ROUTABLE: u16 = 0b1101_1110_1111_1000;

/// Configuration space of the ISA bridge.
#[must_use]
pub fn isa_bridge() -> ConfigSpace {
    ConfigSpace::new(Identity {
        vendor: 0x8086,
        device: 0x7000,
        revision: 0,
        class: 0x06_01_00,
        subsystem: (0x1af4, 0x1100),
        multifunction: true,
        interrupt_pin: 0,
    })
    // IORT and XBCS.
    .with_registers(0x4c, &[0x4d, 0x00, 0x03, 0x00], &[0xff; 4])
    // PIRQRCA to PIRQRCD: not routed.
    .with_registers(0x60, &[ROUTE_DISABLED; 4], &[0x8f; 4])
    // TOM, MSTAT, MBIRQ, APIC base, and the registers of the DMA and of system management.
    .with_registers(0x69, &[0x02, 0x00, 0x00], &[0xff; 3])
    .with_registers(0x70, &[0x80, 0x00], &[0xff; 2])
    .with_registers(0x76, &[0x0c, 0x0c, 0x02, 0x00], &[0xff; 4])
    .with_registers(0x80, &[0x00], &[0x7f])
    .with_registers(0x82, &[0x00], &[0xff])
    .with_registers(0xa0, &[0x08, 0, 0, 0, 0, 0, 0, 0, 0x0f], &[0xff; 9])
}

/// Where link `link` (0 is PIRQA#) is routed to.
#[must_use]
pub fn link_route(bridge: &ConfigSpace, link: u8) -> Option<IsaIrq> {
    let route = bridge.byte(FIRST_ROUTE.saturating_add(usize::from(link & 3)));
    let irq = route & 0x0f;
    let routable = ROUTABLE >> irq & 1 != 0;
    (route & ROUTE_DISABLED == 0 && routable).then_some(IsaIrq(irq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Width;

    /// hvmloader writes 5, 10, 11 and 5 to the four registers.
    #[test]
    fn links_go_where_their_registers_say() {
        let mut bridge = isa_bridge();
        assert_eq!([0, 1, 2, 3].map(|link| link_route(&bridge, link)), [None; 4]);
        bridge.write(0x60, Width::Dword, 0x050b_0a05);
        let expected = [5, 10, 11, 5].map(|irq| Some(IsaIrq(irq)));
        assert_eq!([0, 1, 2, 3].map(|link| link_route(&bridge, link)), expected);
    }

    #[test]
    fn reserved_lines_are_no_route() {
        let mut bridge = isa_bridge();
        for irq in [0, 1, 2, 8, 13, 0x85] {
            bridge.write(0x60, Width::Byte, irq);
            assert_eq!(link_route(&bridge, 0), None, "{irq}");
        }
    }
}
