//! Interrupt lines on their way to the I/O APIC, what the client hears of them, and what interrupt controllers would see.
//!
//! The pin of the I/O APIC for an ISA line has the number of the line. A PCI link adds to the ISA line it is routed to.
//! Slots are wired to links as QEMU wires those of the i440FX: INTA# of slot 1 to PIRQA#, and one further for each slot
//! and each pin.
//!
//! Source: QEMU `system/qtest.c` (`qtest_irq_handler`), `hw/isa/piix.c`, `hw/i386/pc_piix.c`.

use devmodel::IsaIrq;

/// Pins of the I/O APIC.
const PINS: usize = 24;

/// The lines.
#[derive(Debug, Default)]
pub(crate) struct Irqs {
    /// Levels of ISA lines, one bit each.
    isa: u16,
    /// Levels of the pins of each slot, one bit each.
    slots: [u8; 32],
    /// Where the links go.
    routes: [Option<u8>; 4],
    /// The client wants to hear of changes.
    intercepted: bool,
    /// What the client has heard of each pin.
    heard: [bool; PINS],
    /// What it has to hear.
    news: Vec<(usize, bool)>,
    /// Levels of ISA lines with the links that are routed to them, one bit each.
    levels: u16,
    /// Those that have risen since somebody asked.
    rose: u16,
}

impl Irqs {
    /// The client wants to hear of changes from now on.
    pub(crate) fn intercept(&mut self) {
        self.intercepted = true;
    }

    /// A new client has heard nothing.
    pub(crate) fn forget(&mut self) {
        self.heard = [false; PINS];
        self.news.clear();
    }

    /// Takes what the client has to hear: pins and their levels.
    pub(crate) fn take_news(&mut self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.news)
    }

    /// Levels of the ISA lines, links included, and which of them have risen since somebody asked, one bit each.
    pub(crate) fn take_lines(&mut self) -> (u16, u16) {
        (self.levels, std::mem::take(&mut self.rose))
    }

    /// Sets an ISA line.
    pub(crate) fn set_isa(&mut self, irq: u8, high: bool) {
        let bit = 1 << (irq & 15);
        self.isa = if high { self.isa | bit } else { self.isa & !bit };
        self.report(irq & 15);
    }

    /// Sets a pin of a slot, 0 is INTA#.
    pub(crate) fn set_pin(&mut self, slot: u8, pin: u8, high: bool) {
        let bit = 1 << (pin & 3);
        let pins = &mut self.slots[usize::from(slot & 31)];
        *pins = if high { *pins | bit } else { *pins & !bit };
        if let Some(irq) = self.routes[link(slot & 31, pin)] {
            self.report(irq);
        }
    }

    /// Routes a link.
    pub(crate) fn set_route(&mut self, link: u8, irq: Option<IsaIrq>) {
        let old = std::mem::replace(&mut self.routes[usize::from(link & 3)], irq.map(|irq| irq.0 & 15));
        for irq in [old, irq.map(|irq| irq.0 & 15)].into_iter().flatten() {
            self.report(irq);
        }
    }

    /// The client itself sets a pin of the I/O APIC. `false`: there is no such pin.
    pub(crate) fn force(&mut self, pin: usize, high: bool) -> bool {
        if pin < PINS {
            self.hear(pin, high);
        }
        pin < PINS
    }

    fn report(&mut self, irq: u8) {
        let links = |wanted: usize| {
            (0..32_u8)
                .zip(self.slots)
                .any(|(slot, pins)| (0..4).any(|pin| pins >> pin & 1 != 0 && link(slot, pin) == wanted))
        };
        let routed = self.routes.iter().enumerate().any(|(link, route)| *route == Some(irq) && links(link));
        let (bit, high) = (1 << irq, routed || self.isa >> irq & 1 != 0);
        if high {
            self.rose |= bit & !self.levels;
            self.levels |= bit;
        } else {
            self.levels &= !bit;
        }
        self.hear(usize::from(irq), high);
    }

    fn hear(&mut self, pin: usize, high: bool) {
        if self.intercepted && self.heard[pin] != high {
            self.heard[pin] = high;
            self.news.push((pin, high));
        }
    }
}

/// The link that a pin of a slot is wired to.
fn link(slot: u8, pin: u8) -> usize {
    usize::from((slot.wrapping_sub(1)).wrapping_add(pin) & 3)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn only_changes_are_heard_and_only_when_somebody_listens() {
        let mut irqs = Irqs::default();
        irqs.set_isa(4, true);
        assert_eq!(irqs.take_news(), []);
        irqs.intercept();
        irqs.set_isa(4, false);
        irqs.set_isa(14, true);
        irqs.set_isa(14, true);
        irqs.set_isa(14, false);
        assert_eq!(irqs.take_news(), [(14, true), (14, false)]);
    }

    #[test]
    fn a_pulse_has_risen_even_if_it_is_over() {
        let mut irqs = Irqs::default();
        irqs.set_isa(4, true);
        assert_eq!(irqs.take_lines(), (0x10, 0x10));
        irqs.set_isa(4, false);
        irqs.set_isa(4, true);
        irqs.set_isa(4, false);
        assert_eq!(irqs.take_lines(), (0, 0x10));
        assert_eq!(irqs.take_lines(), (0, 0));
    }

    #[test]
    fn links_add_to_the_line_they_are_routed_to() {
        let mut irqs = Irqs::default();
        irqs.intercept();
        irqs.set_route(2, Some(IsaIrq(11)));
        // INTA# of slot 3 is wired to PIRQC#.
        irqs.set_pin(3, 0, true);
        irqs.set_isa(11, true);
        irqs.set_pin(3, 0, false);
        assert_eq!(irqs.take_news(), [(11, true)]);
        irqs.set_isa(11, false);
        irqs.set_pin(3, 0, true);
        irqs.set_route(2, Some(IsaIrq(10)));
        assert_eq!(irqs.take_news(), [(11, false), (11, true), (11, false), (10, true)]);
    }
}
