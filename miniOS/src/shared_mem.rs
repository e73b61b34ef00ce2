//! What the frontends and the xenstore client need of memory and signals that they share with a peer.
//!
//! Everything above these traits is safe code that runs in unit tests against a peer in the same process. In a domain
//! they are implemented by [`crate::frame::SharedPages`] and [`crate::event::EventChannel`].
//!
//! Invariant: there is never a Rust reference to shared memory. What a peer can write is copied out, then looked at.

use core::sync::atomic::Ordering;

use xen_abi::Port;

/// Memory that a peer reads and writes at the same time, accessed by copy only.
///
/// Offsets are bytes from its start. Callers stay within [`len`](Self::len) and align 32-bit accesses; an
/// implementation answers a violation with a panic, since only a bug of ours can cause one.
pub trait SharedMem {
    /// Bytes.
    fn len(&self) -> usize;

    /// Copies out. The peer may write meanwhile, so the copy may be a mix of old and new bytes.
    fn read(&self, offset: usize, data: &mut [u8]);

    /// Copies in.
    fn write(&self, offset: usize, data: &[u8]);

    /// Loads an index or a flag.
    fn load_u32(&self, offset: usize, ordering: Ordering) -> u32;

    /// Stores an index or a flag.
    fn store_u32(&self, offset: usize, value: u32, ordering: Ordering);

    /// Whether there is none of it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The way to wake a peer.
pub trait Notify {
    /// Our end of the channel.
    fn port(&self) -> Port;

    /// Signals the peer. Signals that it has not seen yet merge into one.
    fn notify(&self);
}

impl<T: SharedMem + ?Sized> SharedMem for alloc::rc::Rc<T> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        (**self).read(offset, data);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        (**self).write(offset, data);
    }

    fn load_u32(&self, offset: usize, ordering: Ordering) -> u32 {
        (**self).load_u32(offset, ordering)
    }

    fn store_u32(&self, offset: usize, value: u32, ordering: Ordering) {
        (**self).store_u32(offset, value, ordering);
    }
}

/// Memory and signals of unit tests: plain cells that the test plays the peer on.
#[cfg(test)]
pub(crate) mod fake {
    use super::{Notify, SharedMem};
    use core::cell::{Cell, RefCell};
    use core::sync::atomic::Ordering;
    use std::rc::Rc;
    use std::vec;
    use std::vec::Vec;
    use xen_abi::Port;

    /// Memory that frontend and test share.
    #[derive(Clone, Debug)]
    pub(crate) struct FakeMemory(Rc<RefCell<Vec<u8>>>);

    impl FakeMemory {
        pub(crate) fn new(len: usize) -> Self {
            Self(Rc::new(RefCell::new(vec![0; len])))
        }

        /// Whether this is the same memory.
        pub(crate) fn is(&self, other: &Self) -> bool {
            Rc::ptr_eq(&self.0, &other.0)
        }

        /// Bytes, as the peer sees them.
        pub(crate) fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
            self.0.borrow()[offset..offset + len].to_vec()
        }

        /// A number, as the peer sees it.
        pub(crate) fn get_u32(&self, offset: usize) -> u32 {
            self.load_u32(offset, Ordering::SeqCst)
        }

        /// Writes a number as the peer.
        pub(crate) fn set_u32(&self, offset: usize, value: u32) {
            self.store_u32(offset, value, Ordering::SeqCst);
        }
    }

    impl SharedMem for FakeMemory {
        fn len(&self) -> usize {
            self.0.borrow().len()
        }

        fn read(&self, offset: usize, data: &mut [u8]) {
            data.copy_from_slice(&self.0.borrow()[offset..offset + data.len()]);
        }

        fn write(&self, offset: usize, data: &[u8]) {
            self.0.borrow_mut()[offset..offset + data.len()].copy_from_slice(data);
        }

        fn load_u32(&self, offset: usize, _: Ordering) -> u32 {
            assert_eq!(offset % 4, 0);
            let mut bytes = [0; 4];
            self.read(offset, &mut bytes);
            u32::from_le_bytes(bytes)
        }

        fn store_u32(&self, offset: usize, value: u32, _: Ordering) {
            assert_eq!(offset % 4, 0);
            self.write(offset, &value.to_le_bytes());
        }
    }

    /// A channel that counts its signals.
    #[derive(Clone, Debug)]
    pub(crate) struct FakeChannel {
        port: u32,
        signals: Rc<Cell<u32>>,
    }

    impl FakeChannel {
        pub(crate) fn new(port: u32) -> Self {
            Self { port, signals: Rc::default() }
        }

        /// Signals since the last call.
        pub(crate) fn take_signals(&self) -> u32 {
            self.signals.take()
        }
    }

    impl Notify for FakeChannel {
        fn port(&self) -> Port {
            Port(self.port)
        }

        fn notify(&self) {
            self.signals.set(self.signals.get() + 1);
        }
    }
}
