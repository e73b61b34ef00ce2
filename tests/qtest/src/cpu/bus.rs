//! What the CPU is connected to.

use devmodel::access::Width;

/// The bus, the clock and the interrupt controller, as the CPU sees them.
pub(crate) trait Bus {
    /// Reads memory at a physical address: one, two or four bytes, wherever they lie.
    fn read(&mut self, addr: u32, width: Width) -> u32;
    /// Writes memory.
    fn write(&mut self, addr: u32, width: Width, value: u32);
    /// Reads a port.
    fn port_read(&mut self, port: u16, width: Width) -> u32;
    /// Writes a port.
    fn port_write(&mut self, port: u16, width: Width, value: u32);
    /// Reads code, as memory.
    fn fetch(&mut self, addr: u32, code: &mut [u8]);
    /// Whether the code at an address may be kept: then [`Self::take_changed`] tells of every change.
    fn watch(&mut self, addr: u32, len: usize) -> bool;
    /// Takes what has changed of the code that is watched.
    fn take_changed(&mut self) -> Changed;
    /// Nanoseconds since the machine was switched on.
    fn now(&self) -> u64;
    /// Lets so many nanoseconds pass.
    fn spend(&mut self, nanoseconds: u64);
    /// The CPU has to stop at this time at the latest, to let others do their work.
    fn until(&self) -> u64;
    /// The mask of address line 20: all ones, or all but that.
    fn a20_mask(&self) -> u32;
    /// Somebody asks for an interrupt.
    fn interrupt(&self) -> bool;
    /// The CPU takes it: its vector.
    fn acknowledge(&mut self) -> u8;
    /// Somebody asks for system management, once.
    fn take_system_management(&mut self) -> bool;
    /// The CPU is in system management mode from now on, or no more.
    fn set_system_management(&mut self, is_in: bool);
}

/// Code that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// None of it.
    Nothing,
    /// The blocks of [`BLOCK`] bytes with these numbers.
    Blocks(Vec<u32>),
    /// Everything may be something else.
    Everything,
}

/// Bytes of a block of watched code.
pub(crate) const BLOCK: u32 = 64;
