//! The PHY: the registers of an 88E1000 inside of the controller, and MDIC, the way to them.
//!
//! The partner at the other end can do everything, so that negotiation always ends with 1000 Mb/s, full duplex. It takes
//! a tenth of a second, during which the link is down: drivers wait for the interrupt that says that it is up.
//!
//! Source: SDM, PHY functionality, MDIC and the PHY's registers; Marvell 88E1000 data sheet.
//! Not modelled: other speeds (what software forces is storage), that BMSR's link bit is latched low, master and slave
//! resolution, cable tests, interrupts of the PHY. Registers that are not listed read as zero.

use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// How long negotiation takes, in nanoseconds.
const NEGOTIATION: u64 = 100_000_000;
/// Which PHY on the bus this one is.
const ADDRESS: u32 = 1;

/// MDIC: read.
const OP_READ: u32 = 2 << 26;
/// MDIC: write.
const OP_WRITE: u32 = 1 << 26;
/// MDIC: the operation.
const OP: u32 = 3 << 26;
/// MDIC.R, ready.
const READY: u32 = 1 << 28;
/// MDIC.I, interrupt when ready.
const INTERRUPT: u32 = 1 << 29;
/// MDIC.E, nobody answers.
const ERROR: u32 = 1 << 30;

/// PCTRL, reset, clears itself.
const CONTROL_RESET: u16 = 1 << 15;
/// PCTRL, loopback.
const CONTROL_LOOPBACK: u16 = 1 << 14;
/// PCTRL, negotiate.
const CONTROL_NEGOTIATE: u16 = 1 << 12;
/// PCTRL, begin to negotiate anew, clears itself.
const CONTROL_RESTART: u16 = 1 << 9;
/// PCTRL: bits that are reserved.
const CONTROL_RESERVED: u16 = 0x3f;

/// Registers that can be written: number, value after a reset.
const WRITABLE: [(u8, u16); 9] = [
    // PCTRL: 1000 Mb/s, full duplex, negotiate.
    (0, 0x1140),
    // ANA: 10 and 100 Mb/s in both duplexes, pause, asymmetric pause.
    (4, 0x0de1),
    // ANX: the next page.
    (7, 0x2001),
    // GCON: 1000 Mb/s full duplex.
    (9, 0x0e00),
    // PSCON, PINTE, EPSCON1.
    (16, 0x0360),
    (18, 0),
    (20, 0x0d60),
    // Page and value of what vendors keep to themselves.
    (29, 0),
    (30, 0),
];

/// The registers, and whether negotiation goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Phy {
    writable: [u16; WRITABLE.len()],
    mdic: u32,
    /// When negotiation will have ended.
    negotiating: Option<Instant>,
    negotiated: bool,
}

impl Default for Phy {
    /// After power on, when negotiation ended long ago.
    fn default() -> Self {
        Self { writable: WRITABLE.map(|(_, value)| value), mdic: READY, negotiating: None, negotiated: true }
    }
}

impl Phy {
    /// A reset by pin: registers as after power on, and negotiation begins.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Self { mdic: self.mdic, ..Self::default() };
        self.restart(now);
    }

    /// Whether it lets frames through, if there is a partner.
    pub(super) const fn link_up(&self) -> bool {
        self.negotiating.is_none()
    }

    /// Whether what is sent comes back.
    pub(super) fn loopback(&self) -> bool {
        self.control() & CONTROL_LOOPBACK != 0
    }

    /// When [`Self::expire`] has something to do.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.negotiating
    }

    /// Ends negotiation, if it is time. Says whether it did.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let ended = self.negotiating.is_some_and(|at| at <= now);
        if ended {
            (self.negotiating, self.negotiated) = (None, true);
        }
        ended
    }

    /// MDIC, when it is read.
    pub(super) const fn read_mdic(&self) -> u32 {
        self.mdic
    }

    /// MDIC, when it is written. Says whether an interrupt is asked for. `partner`: there is one at the other end.
    pub(super) fn write_mdic(&mut self, value: u32, partner: bool, now: Instant) -> bool {
        let [low, high, select, _] = value.to_le_bytes();
        let register = select & 0x1f;
        let data = u16::from_le_bytes([low, high]);
        let asked = value & (0x3fff_ffff ^ READY);
        self.mdic = if value >> 21 & 0x1f != ADDRESS {
            asked | ERROR
        } else {
            match value & OP {
                OP_READ => asked & !0xffff | u32::from(self.read(register, partner)),
                OP_WRITE => {
                    self.write(register, data, now);
                    asked
                }
                _ => asked | ERROR,
            }
        } | READY;
        value & INTERRUPT != 0
    }

    fn control(&self) -> u16 {
        self.writable.first().copied().unwrap_or(0)
    }

    fn read(&self, register: u8, partner: bool) -> u16 {
        let link = partner && self.link_up() || self.loopback();
        let complete = partner && self.negotiated && self.link_up();
        match register {
            // PSTATUS: 10 and 100 Mb/s in both duplexes, extended status, no preamble, can negotiate.
            1 => 0x7949 | if link { 1 << 2 } else { 0 } | if complete { 1 << 5 } else { 0 },
            // The identification of an 88E1011, as this controller has inside.
            2 => 0x0141,
            3 => 0x0c20,
            // LPA: the partner can do 10 and 100 Mb/s in both duplexes, and has seen our page.
            5 if complete => 0x41e1,
            // ANE: the partner negotiates.
            6 if complete => 0x0001,
            // GSTATUS: both receivers are well, the partner can do 1000 Mb/s in both duplexes.
            10 if complete => 0x3c00,
            // ESTATUS: 1000BASE-T in both duplexes.
            15 => 0x3000,
            // PSSTAT: 1000 Mb/s, full duplex, resolved, link.
            17 if link => 0xac00,
            17 => 0x8000,
            _ => {
                let place = WRITABLE.iter().position(|(number, _)| *number == register);
                place.and_then(|place| self.writable.get(place)).copied().unwrap_or(0)
            }
        }
    }

    fn write(&mut self, register: u8, data: u16, now: Instant) {
        for ((number, _), stored) in WRITABLE.iter().zip(&mut self.writable) {
            if *number == register {
                *stored = data;
            }
        }
        if register == 0 {
            if let Some(control) = self.writable.first_mut() {
                *control = data & !(CONTROL_RESET | CONTROL_RESTART | CONTROL_RESERVED);
            }
            if data & CONTROL_NEGOTIATE == 0 {
                (self.negotiating, self.negotiated) = (None, false);
            } else if data & (CONTROL_RESET | CONTROL_RESTART) != 0 || !self.negotiated && self.link_up() {
                self.restart(now);
            }
        }
    }

    fn restart(&mut self, now: Instant) {
        (self.negotiating, self.negotiated) = (Some(now.after(NEGOTIATION)), false);
    }
}
