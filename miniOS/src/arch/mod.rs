//! What depends on the processor. The only assembly of the library is below here.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("x86-64 is the only processor that there is code for");

mod x86_64;

pub(crate) use x86_64::copy::{copy, fill};
pub(crate) use x86_64::hypercall::{Arguments, hypercall, set_hypercall_page};
pub(crate) use x86_64::sleep::{event_callback_address, failsafe_callback_address, sleep};
pub(crate) use x86_64::traps::trap_table;
pub(crate) use x86_64::{hardware_random, paging, port, stack_pointer, tsc};
