//! Bits of the 16550A's registers.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

bitflags! {
    /// IER, which events interrupt.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct InterruptEnable: u8 {
        /// ERBFI: a byte was received, or waits.
        const RECEIVED = 1 << 0;
        /// ETBEI: the transmitter holding register is empty.
        const TRANSMITTER_EMPTY = 1 << 1;
        /// ELSI: an error or a break was received.
        const LINE_STATUS = 1 << 2;
        /// EDSSI: a modem status line changed.
        const MODEM_STATUS = 1 << 3;
    }

    /// FCR, control of the FIFOs. The two trigger bits are decoded by [`trigger_level`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct FifoControl: u8 {
        /// FIFOs are in use; the other bits count only beside it.
        const ENABLE = 1 << 0;
        /// Empties the receiver FIFO.
        const RESET_RECEIVER = 1 << 1;
        /// Empties the transmitter FIFO.
        const RESET_TRANSMITTER = 1 << 2;
    }

    /// LCR, format of characters. Bits 0 to 5 are plain storage here.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct LineControl: u8 {
        /// Holds the line at zero.
        const BREAK = 1 << 6;
        /// DLAB: the first two registers are the divisor.
        const DIVISOR_ACCESS = 1 << 7;
        const _ = !0;
    }

    /// MCR, lines to the modem.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct ModemControl: u8 {
        /// Data terminal ready.
        const DTR = 1 << 0;
        /// Request to send.
        const RTS = 1 << 1;
        /// Free use.
        const OUT1 = 1 << 2;
        /// On a PC, lets the interrupt through to the bus.
        const OUT2 = 1 << 3;
        /// Connects the transmitter to the receiver, and the outputs above to the inputs.
        const LOOPBACK = 1 << 4;
    }

    /// LSR.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct LineStatus: u8 {
        /// DR: a received byte can be read.
        const DATA_READY = 1 << 0;
        /// OE: a received byte found no room and was lost.
        const OVERRUN = 1 << 1;
        /// FE: the byte at the head had no stop bit.
        const FRAMING_ERROR = 1 << 3;
        /// BI: the byte at the head was a break.
        const BREAK = 1 << 4;
        /// THRE: the transmitter takes a byte.
        const HOLDING_EMPTY = 1 << 5;
        /// TEMT: everything was sent.
        const TRANSMITTER_EMPTY = 1 << 6;
        /// Some byte in the receiver FIFO has an error or a break.
        const FIFO_ERROR = 1 << 7;
    }

    /// MSR.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct ModemStatus: u8 {
        /// DCTS: clear to send changed since the last read.
        const DELTA_CTS = 1 << 0;
        /// DDSR: data set ready changed.
        const DELTA_DSR = 1 << 1;
        /// TERI: the ring indicator went off.
        const RING_ENDED = 1 << 2;
        /// DDCD: carrier detect changed.
        const DELTA_DCD = 1 << 3;
        /// Clear to send.
        const CTS = 1 << 4;
        /// Data set ready.
        const DSR = 1 << 5;
        /// Ring indicator.
        const RI = 1 << 6;
        /// Carrier detect.
        const DCD = 1 << 7;
    }
}

impl ModemStatus {
    /// The bits that are cleared when the register is read.
    pub(super) const DELTAS: Self =
        Self::DELTA_CTS.union(Self::DELTA_DSR).union(Self::RING_ENDED).union(Self::DELTA_DCD);
    /// What the other end of the cable shows: somebody is there and ready.
    pub(super) const CONNECTED: Self = Self::CTS.union(Self::DSR).union(Self::DCD);
}

/// What asks for the interrupt, by priority, with the code that IIR shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Line status: 0x06.
    LineStatus,
    /// Received data up to the trigger level: 0x04.
    Received,
    /// Received data that waits below the trigger level: 0x0c.
    CharacterTimeout,
    /// Transmitter holding register empty: 0x02.
    TransmitterEmpty,
    /// Modem status: 0x00.
    ModemStatus,
}

impl Cause {
    /// Bits 0 to 3 of IIR.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::LineStatus => 0x06,
            Self::Received => 0x04,
            Self::CharacterTimeout => 0x0c,
            Self::TransmitterEmpty => 0x02,
            Self::ModemStatus => 0x00,
        }
    }
}

/// IIR without an interrupt.
pub(super) const NO_INTERRUPT: u8 = 0x01;
/// IIR while the FIFOs are in use.
pub(super) const FIFOS_ENABLED: u8 = 0xc0;

/// How many bytes the receiver FIFO holds when it interrupts: FCR bits 6 and 7.
pub(super) const fn trigger_level(fcr: u8) -> usize {
    match fcr >> 6 {
        0 => 1,
        1 => 4,
        2 => 8,
        _ => 14,
    }
}
