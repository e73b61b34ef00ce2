//! The loop that there is: a domain comes in, something is done about it, and somebody goes on.
// UNSAFETY: the one value of the hypervisor, and the registers that entry code leaves.
#![expect(unsafe_code)]

use crate::entry::{self, CONSOLE, FLOATING_POINT, FloatingPoint, Place, SPURIOUS, SYSTEM_CALL, SYSTEM_CALL_32, TIMER};
use crate::physical::Physical;
use crate::serial::{self, say};
use crate::timer::Timer;
use crate::{cpu, port};
use alloc::collections::BTreeMap;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use hypervisor_core::system::System;
use hypervisor_core::vcpu::{Registers, VcpuId};
use xen_abi::DomId;

/// The exception of what is no instruction.
const INVALID_OPCODE: u8 = 6;

/// The hypervisor.
pub(crate) struct Hypervisor {
    pub(crate) system: System<Physical>,
    pub(crate) timer: Timer,
    /// Floating point of those that do not run.
    pub(crate) floating_point: BTreeMap<VcpuId, FloatingPoint>,
    /// Whose registers are on the stack.
    pub(crate) loaded: Option<VcpuId>,
}

/// The console has received something.
static HAS_INPUT: AtomicBool = AtomicBool::new(false);
/// Bytes of it that are taken at once.
const INPUT: usize = 64;

/// The one value, once there is one.
struct Cell(UnsafeCell<Option<Hypervisor>>);

// SAFETY: there is one processor, which is in the hypervisor once at a time: interrupts are off there.
unsafe impl Sync for Cell {}

static HYPERVISOR: Cell = Cell(UnsafeCell::new(None));

/// Begins with the first domain.
pub(crate) fn begin(hypervisor: Hypervisor) -> ! {
    // SAFETY: nobody uses it yet.
    unsafe { *HYPERVISOR.0.get() = Some(hypervisor) };
    let registers = entry::first_registers();
    // SAFETY: the stack of entries is used by nobody yet.
    unsafe { registers.write(Registers::default()) };
    // SAFETY: as above.
    go_on(unsafe { &mut *registers });
    entry::begin()
}

/// A domain has come in. Called by entry code alone, with what it left on the stack.
pub(crate) extern "C" fn enter(registers: &mut Registers) {
    // SAFETY: nobody else is in the hypervisor.
    let Some(hypervisor) = (unsafe { &mut *HYPERVISOR.0.get() }) else { return };
    let Some(id) = hypervisor.loaded else { return };
    let now = hypervisor.system.time(cpu::ticks());
    hypervisor.system.note_bases(id, cpu::bases());
    match registers.entry {
        SYSTEM_CALL if hypervisor.system.vcpu(id).is_some_and(|vcpu| vcpu.in_user) => {
            hypervisor.system.user_call(id, registers);
        }
        SYSTEM_CALL_32 => hypervisor.system.call_32(id, registers),
        SYSTEM_CALL => hypervisor.system.hypercall(id, registers, now),
        entry if entry == u64::from(TIMER) => hypervisor.timer.acknowledge(),
        entry if entry == u64::from(CONSOLE) => {
            hypervisor.timer.acknowledge();
            HAS_INPUT.store(true, Ordering::Relaxed);
        }
        entry if entry == u64::from(SPURIOUS) => {}
        1 => hypervisor.system.debug_exception(id, registers, cpu::take_debug_status()),
        // Neither is a domain's.
        2 => say!("an NMI"),
        18 => {
            say!("a machine check");
            cpu::stop();
        }
        vector => {
            let vector = u8::try_from(vector).unwrap_or(u8::MAX);
            let is_forced = vector == INVALID_OPCODE && hypervisor.system.forced_cpuid(id, registers, cpu::identify);
            if !is_forced {
                hypervisor.system.exception(id, registers, vector, cpu::fault_address());
            }
        }
    }
    go_on(registers);
}

/// Puts the registers of whoever runs next in place, and sleeps as long as that is nobody.
fn go_on(registers: &mut Registers) {
    // SAFETY: nobody else is in the hypervisor.
    let Some(hypervisor) = (unsafe { &mut *HYPERVISOR.0.get() }) else { return };
    loop {
        let printed = hypervisor.system.take_console();
        serial::write(&printed);
        hypervisor.check_end();
        if HAS_INPUT.swap(false, Ordering::Relaxed) {
            let bytes = core::iter::from_fn(serial::read).take(INPUT);
            let count = bytes.map(|byte| hypervisor.system.input(byte)).count();
            // There is no other interrupt before all of it is taken.
            HAS_INPUT.fetch_or(count == INPUT, Ordering::Relaxed);
        }
        let ticks = cpu::ticks();
        let now = hypervisor.system.time(ticks);
        let next = hypervisor.system.next(now);
        hypervisor.timer.arm(next.until.map(|at| at.saturating_sub(now)));
        let Some(id) = next.vcpu else {
            cpu::sleep();
            continue;
        };
        hypervisor.load(id, registers, ticks);
        hypervisor.system.deliver_events(id, registers);
        hypervisor.system.check_return(id, registers);
        // Its kernel may be entered by that.
        hypervisor.load(id, registers, ticks);
        if hypervisor.system.can_run(id) {
            return;
        }
    }
}

impl Hypervisor {
    /// Exchanges what is on the stack, and the address space.
    fn load(&mut self, id: VcpuId, registers: &mut Registers, ticks: u64) {
        let reload = core::mem::take(&mut self.system.reload);
        let mut segments = core::mem::take(&mut self.system.reload_segments);
        let mut debug = core::mem::take(&mut self.system.reload_debug);
        let is_another = self.loaded != Some(id);
        if is_another {
            (segments, debug) = (true, true);
            let place = Place::get(&FLOATING_POINT);
            // SAFETY: entry code uses it while no Rust code does.
            let floating_point = unsafe { &mut *place };
            if let Some(before) = self.loaded {
                self.floating_point.insert(before, floating_point.clone());
                if let Some(vcpu) = self.system.vcpu_mut(before) {
                    vcpu.registers = *registers;
                    vcpu.selectors = cpu::selectors();
                }
            }
            // Those that are gone, too, are here.
            self.floating_point.retain(|id, _| self.system.vcpu(*id).is_some());
            *floating_point = self.floating_point.remove(&id).unwrap_or(FloatingPoint::new());
            if let Some(vcpu) = self.system.vcpu(id) {
                *registers = vcpu.registers;
            }
            self.loaded = Some(id);
            self.system.tell_time(id, ticks);
            self.system.tell_runstate(id, self.system.time(ticks));
        } else if !reload && !segments && !debug {
            return;
        }
        let selectors = self.system.vcpu(id).filter(|_| is_another).map_or([0; 4], |vcpu| vcpu.selectors);
        let selectors = selectors.map(|selector| self.system.loadable(id, selector));
        // What was taken for that goes with the others.
        segments |= core::mem::take(&mut self.system.reload_segments);
        let Some(vcpu) = self.system.vcpu(id) else { return };
        if segments {
            cpu::set_segments(&vcpu.segments, &self.system.memory);
            cpu::set_local_segments(&vcpu.local_table, &self.system.memory);
        }
        if is_another {
            cpu::set_selectors(selectors);
        }
        if debug {
            cpu::set_breakpoints(vcpu.debug.machine());
        }
        cpu::allow_base_instructions(vcpu.sets_bases);
        cpu::set_top(vcpu.current_top().address());
        cpu::set_bases(vcpu.bases.fs, if vcpu.in_user { vcpu.bases.gs_user } else { vcpu.bases.gs_kernel });
    }

    /// The machine ends with its first domain.
    fn check_end(&self) {
        let first = DomId(0);
        if let Some(end) = self.system.domains.get(&first).and_then(|domain| domain.shutdown) {
            say!("{first} has ended: {}", reason(end));
            reset();
        }
    }
}

/// Names of `SHUTDOWN_*`.
fn reason(reason: u32) -> &'static str {
    match reason {
        0 => "power off",
        1 => "reboot",
        2 => "suspend",
        3 => "crash",
        4 => "watchdog",
        _ => "unknown",
    }
}

/// Resets the machine by the port of the chipset.
pub(crate) fn reset() -> ! {
    port::write(0xcf9, 0x02);
    port::write(0xcf9, 0x06);
    cpu::stop()
}

/// Something has interrupted the hypervisor itself: an interrupt while it sleeps, or a fault of its own. Called by entry code alone.
pub(crate) extern "C" fn interrupted(registers: &Registers) {
    match registers.entry {
        entry if entry == u64::from(TIMER) || entry == u64::from(CONSOLE) => {
            HAS_INPUT.fetch_or(entry == u64::from(CONSOLE), Ordering::Relaxed);
            // SAFETY: the hypervisor sleeps, and looks at nothing of it meanwhile but this.
            if let Some(hypervisor) = unsafe { &*HYPERVISOR.0.get() } {
                hypervisor.timer.acknowledge();
            }
        }
        entry if entry == u64::from(SPURIOUS) => {}
        // A domain has seen to it that it comes when the hypervisor begins; it goes nowhere.
        1 => {
            cpu::take_debug_status();
        }
        entry => {
            let Registers { rip, rsp, error, .. } = *registers;
            let address = cpu::fault_address();
            say!(
                "exception {entry} (error {error:#x}) in the hypervisor at {rip:#x}, stack {rsp:#x}, address {address:#x}"
            );
            reset();
        }
    }
}
