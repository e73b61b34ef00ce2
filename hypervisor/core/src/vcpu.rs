//! A virtual processor: its registers, where it wants what to go, and what it does just now.

use crate::debug::DebugRegisters;
use crate::memory::Mfn;
use crate::port::PortRights;
use crate::segment::LocalTable;
use alloc::vec::Vec;
use xen_abi::trap::TrapInfo;
use xen_abi::vcpu::RunstateInfo;
use xen_abi::{DomId, Port};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuId {
    /// Of this domain.
    pub domain: DomId,
    /// Its number there.
    pub number: u32,
}

/// What the processor has while it is in the hypervisor. The machine's entry code makes it, so the order is its.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "registers")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Why the processor came: the vector of a trap or an interrupt, or what the entry code says of a system call.
    pub entry: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Interrupts are on, as they always are in a domain; its kernel masks events instead.
pub const INTERRUPTS: u64 = 1 << 9;
/// An exception after every instruction.
pub const TRAP: u64 = 1 << 8;
/// Bits of the flags register that are always one, and those that a domain may set: carry to overflow, resume, alignment
/// check, and identification, but neither privilege nor virtual-8086 mode.
const FLAGS_FIXED: u64 = 1 << 1 | INTERRUPTS;
const FLAGS_ALLOWED: u64 = 0x0025_0dd5;

/// The flags register as it may be in a domain.
#[must_use]
pub const fn sane_flags(flags: u64) -> u64 {
    flags & FLAGS_ALLOWED | FLAGS_FIXED
}

/// What a vCPU is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, or would like to.
    Ready,
    /// It waits for an event.
    Blocked,
    /// It waits for one of these ports, masked or not, or for its time.
    Polling(Vec<Port>, Option<u64>),
    /// It is not there.
    Offline,
}

/// Numbers of exceptions, of which a table has a place each.
pub const VECTORS: usize = 256;

/// Where segments begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// FS.
    pub fs: u64,
    /// GS, in user mode.
    pub gs_user: u64,
    /// GS, in kernel mode.
    pub gs_kernel: u64,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Vcpu {
    /// Its registers, while another one runs.
    pub registers: Registers,
    /// The top table in kernel mode.
    pub top: Mfn,
    /// The one in user mode, if there is one.
    pub user_top: Option<Mfn>,
    /// It is in user mode.
    pub in_user: bool,
    /// The stack of its kernel, when that is entered from user mode.
    pub kernel_stack: u64,
    /// Bases of segments: FS, and GS in user and in kernel mode.
    pub bases: Bases,
    /// Pages of its table of segments.
    pub segments: Vec<Mfn>,
    /// Its local table.
    pub local_table: LocalTable,
    /// DS, ES, FS and GS, while another one runs.
    pub selectors: [u16; 4],
    /// Its debug registers, and whether they are extended (CR4.DE).
    pub debug: DebugRegisters,
    /// See [`Self::debug`].
    pub debug_extensions: bool,
    /// Its kernel and its user mode say themselves where FS and GS begin (CR4.FSGSBASE).
    pub sets_bases: bool,
    /// Breakpoints at ports that its instruction has hit.
    pub hit: u64,
    /// Which ports it may ask for.
    pub ports: PortRights,
    /// Where traps go; those with address 0 go nowhere.
    pub traps: Vec<TrapInfo>,
    /// Where events go.
    pub event_callback: u64,
    /// Where a return goes that fails.
    pub failsafe_callback: u64,
    /// Where system calls of user mode go, and whether events are masked there.
    pub syscall_callback: (u64, bool),
    /// The same for those of 32-bit code.
    pub syscall32_callback: (u64, bool),
    /// It was said what it begins with.
    pub is_initialised: bool,
    /// What it is at.
    pub state: State,
    /// When VIRQ_TIMER is due, in system time.
    pub timer: Option<u64>,
    /// How long it was at what.
    pub runstate: RunstateInfo,
    /// Where its kernel wants to be told that.
    pub runstate_area: Option<u64>,
}

/// Indexes of [`RunstateInfo::time`]: `RUNSTATE_*` of `public/vcpu.h`.
pub const RUNNING: u32 = 0;
/// It could run, but another one does.
pub const RUNNABLE: u32 = 1;
/// It waits.
pub const BLOCKED: u32 = 2;
/// It is not there.
pub const OFFLINE: u32 = 3;

impl Vcpu {
    /// One that begins with these registers.
    #[must_use]
    pub fn new(registers: Registers, top: Mfn, now: u64) -> Self {
        let runstate = RunstateInfo { state: RUNNABLE, state_entry_time: now, ..RunstateInfo::default() };
        Self {
            registers,
            top,
            user_top: None,
            in_user: false,
            kernel_stack: 0,
            bases: Bases::default(),
            segments: Vec::new(),
            local_table: LocalTable::default(),
            selectors: [0; 4],
            debug: DebugRegisters::default(),
            debug_extensions: false,
            sets_bases: false,
            hit: 0,
            ports: PortRights::default(),
            traps: Vec::new(),
            event_callback: 0,
            failsafe_callback: 0,
            syscall_callback: (0, false),
            syscall32_callback: (0, false),
            is_initialised: true,
            state: State::Ready,
            timer: None,
            runstate,
            runstate_area: None,
        }
    }

    /// One of which nobody has said yet what it begins with.
    #[must_use]
    pub fn absent(now: u64) -> Self {
        let nowhere = Mfn(u64::MAX);
        let mut vcpu = Self::new(Registers::default(), nowhere, now);
        (vcpu.is_initialised, vcpu.state, vcpu.runstate.state) = (false, State::Offline, OFFLINE);
        vcpu
    }

    /// Notes that it is at something else from now on.
    pub fn note(&mut self, state: u32, now: u64) {
        note(&mut self.runstate, state, now);
    }

    /// How long it was at what, up to now.
    #[must_use]
    pub fn runstate(&self, now: u64) -> RunstateInfo {
        let mut info = self.runstate;
        let state = info.state;
        note(&mut info, state, now);
        info
    }

    /// The top table of the mode that it is in.
    #[must_use]
    pub fn current_top(&self) -> Mfn {
        self.user_top.filter(|_| self.in_user).unwrap_or(self.top)
    }

    /// Where a trap goes.
    #[must_use]
    pub fn trap(&self, vector: u8) -> Option<TrapInfo> {
        self.traps.iter().find(|trap| trap.vector == vector && trap.address != 0).copied()
    }
}

fn note(info: &mut RunstateInfo, state: u32, now: u64) {
    let time = usize::try_from(info.state).ok().and_then(|before| info.time.get_mut(before));
    if let Some(time) = time {
        *time = time.saturating_add(now.saturating_sub(info.state_entry_time));
    }
    (info.state, info.state_entry_time) = (state, now);
}
