//! The registers of the CPU, and what they are called.

/// General registers by their number.
pub(super) const EAX: u8 = 0;
pub(super) const ECX: u8 = 1;
pub(super) const EDX: u8 = 2;
pub(super) const EBX: u8 = 3;
pub(super) const ESP: u8 = 4;
pub(super) const EBP: u8 = 5;
pub(super) const ESI: u8 = 6;
pub(super) const EDI: u8 = 7;

/// Segment registers by their number.
pub(super) const ES: u8 = 0;
pub(super) const CS: u8 = 1;
pub(super) const SS: u8 = 2;
pub(super) const DS: u8 = 3;

/// EFLAGS: carry.
pub(super) const CF: u32 = 1 << 0;
/// EFLAGS: always one.
pub(super) const ONE: u32 = 1 << 1;
/// EFLAGS: the low byte has an even number of ones.
pub(super) const PF: u32 = 1 << 2;
/// EFLAGS: carry out of bit 3.
pub(super) const AF: u32 = 1 << 4;
/// EFLAGS: zero.
pub(super) const ZF: u32 = 1 << 6;
/// EFLAGS: sign.
pub(super) const SF: u32 = 1 << 7;
/// EFLAGS: a trap after each instruction.
pub(super) const TF: u32 = 1 << 8;
/// EFLAGS: interrupts are taken.
pub(super) const IF: u32 = 1 << 9;
/// EFLAGS: strings go down.
pub(super) const DF: u32 = 1 << 10;
/// EFLAGS: signed overflow.
pub(super) const OF: u32 = 1 << 11;
/// EFLAGS: nested task.
pub(super) const NT: u32 = 1 << 14;
/// EFLAGS: no debug faults.
pub(super) const RF: u32 = 1 << 16;
/// EFLAGS: the flags that arithmetic sets.
pub(super) const ARITHMETIC: u32 = CF | PF | AF | ZF | SF | OF;
/// EFLAGS: what software can set: those, TF, IF, DF, IOPL, NT, AC and ID.
pub(super) const SETTABLE: u32 = ARITHMETIC | TF | IF | DF | 0x3000 | NT | 1 << 18 | 1 << 21;

/// CR0: protected mode.
pub(super) const PE: u32 = 1 << 0;
/// CR0: the bits that there are, but for paging.
pub(super) const CR0_BITS: u32 = 0x6005_003f;
/// CR0: extension type, always one.
pub(super) const ET: u32 = 1 << 4;
/// CR0: paging.
pub(super) const PG: u32 = 1 << 31;

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) selector: u16,
    pub(super) base: u32,
    /// The last offset that is in it; of one that grows down, the last that is not.
    pub(super) limit: u32,
    /// The descriptor's access byte; 0 is a null selector.
    pub(super) access: u8,
    /// D or B: 32 bits.
    pub(super) big: bool,
}

/// Access byte: there is something.
pub(super) const PRESENT: u8 = 0x80;
/// Access byte: code or data, no system segment.
pub(super) const ORDINARY: u8 = 0x10;
/// Access byte: code.
pub(super) const CODE: u8 = 0x08;
/// Access byte of code: any privilege; of data: grows down.
pub(super) const CONFORMING: u8 = 0x04;
/// Access byte of code: can be read; of data: can be written.
pub(super) const READ_WRITE: u8 = 0x02;
/// Access byte: was accessed.
pub(super) const ACCESSED: u8 = 0x01;

impl Segment {
    /// What real mode has: 64 KiB that can be read and written.
    pub(super) const fn real(selector: u16) -> Self {
        Self { selector, base: (selector as u32) << 4, limit: 0xffff, access: 0x93, big: false }
    }

    /// Whether `len` bytes from `offset` on are in it.
    pub(super) fn holds(&self, offset: u32, len: u32) -> bool {
        let Some(last) = offset.checked_add(len.wrapping_sub(1)) else { return false };
        if self.access & (ORDINARY | CODE | CONFORMING) == ORDINARY | CONFORMING {
            return offset > self.limit && last <= if self.big { u32::MAX } else { 0xffff };
        }
        last <= self.limit
    }

    /// Whether its content can be read.
    pub(super) const fn can_read(&self) -> bool {
        self.access & PRESENT != 0 && self.access & (CODE | READ_WRITE) != CODE
    }

    /// Whether its content can be written.
    pub(super) const fn can_write(&self) -> bool {
        self.access & PRESENT != 0 && self.access & (CODE | READ_WRITE) == READ_WRITE
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) base: u32,
    pub(super) limit: u16,
}

/// An exception: its vector, and the error code of those that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) vector: u8,
    pub(super) code: Option<u16>,
}

impl Fault {
    /// #DE: a quotient that does not fit, or a division by zero.
    pub(super) const DIVIDE: Self = Self { vector: 0, code: None };
    /// #BR.
    pub(super) const BOUND: Self = Self { vector: 5, code: None };
    /// #UD: there is no such instruction.
    pub(super) const UNDEFINED: Self = Self { vector: 6, code: None };

    /// #DF.
    pub(super) const DOUBLE: Self = Self { vector: 8, code: Some(0) };

    /// #TS: a task state segment that is none.
    pub(super) const fn task(selector: u16) -> Self {
        Self { vector: 10, code: Some(selector & !3) }
    }

    /// #NP: the segment is not present.
    pub(super) const fn not_present(selector: u16) -> Self {
        Self { vector: 11, code: Some(selector & !3) }
    }

    /// #SS: outside the stack.
    pub(super) const fn stack(selector: u16) -> Self {
        Self { vector: 12, code: Some(selector & !3) }
    }

    /// #GP: everything else that is not allowed.
    pub(super) const fn protection(selector: u16) -> Self {
        Self { vector: 13, code: Some(selector & !3) }
    }
}
