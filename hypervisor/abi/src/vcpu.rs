//! `public/vcpu.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const VCPUOP_GET_RUNSTATE_INFO: u32 = 4;
pub const VCPUOP_STOP_PERIODIC_TIMER: u32 = 7;
pub const VCPUOP_SET_SINGLESHOT_TIMER: u32 = 8;
pub const VCPUOP_STOP_SINGLESHOT_TIMER: u32 = 9;

/// How long a vCPU has been in each state.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RunstateInfo {
    pub state: u32,
    pub padding: u32,
    pub state_entry_time: u64,
    /// Nanoseconds running, runnable, blocked and offline.
    pub time: [u64; 4],
}
