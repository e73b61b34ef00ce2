//! Grant tables: the domain's own.

use super::{Answer, Caller, element, low};
use crate::errno::Errno;
use crate::grant::GrantError;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use alloc::vec::Vec;
use xen_abi::grant::{GNTST_OKAY, GNTTABOP_QUERY_SIZE, GNTTABOP_SETUP_TABLE, QuerySize, SetupTable};

impl<M: Memory> System<M> {
    pub(super) fn grant_table_op(&mut self, caller: Caller, [operation, list, count, ..]: [u64; 5]) -> Answer {
        if count > 1024 {
            return Err(Errno::EINVAL);
        }
        for number in 0..count {
            match low(operation) {
                GNTTABOP_SETUP_TABLE => {
                    let place = element(list, number, size_of::<SetupTable>())?;
                    let mut op: SetupTable = self.space(caller.id).get(place)?;
                    op.status = match self.setup_table(caller, &op)? {
                        Ok(()) => GNTST_OKAY,
                        Err(error) => error.status(),
                    };
                    self.space(caller.id).put(place, &op)?;
                }
                GNTTABOP_QUERY_SIZE => {
                    let place = element(list, number, size_of::<QuerySize>())?;
                    let mut op: QuerySize = self.space(caller.id).get(place)?;
                    let domain = self.own_or_controlled(caller, op.dom)?;
                    (op.nr_frames, op.max_nr_frames) = self.grants.size(domain).unwrap_or_default();
                    op.status = GNTST_OKAY;
                    self.space(caller.id).put(place, &op)?;
                }
                _ => return Err(Errno::ENOSYS),
            }
        }
        Ok(0)
    }

    fn setup_table(&mut self, caller: Caller, op: &SetupTable) -> Result<Result<(), GrantError>, Errno> {
        let domain = self.own_or_controlled(caller, op.dom)?;
        let Self { grants, frames, memory, .. } = self;
        let set_up = grants.setup(domain, op.nr_frames, &mut || frames.allocate_shared(memory, domain));
        let found: Vec<Mfn> = match set_up {
            Ok(found) => found.to_vec(),
            Err(error) => return Ok(Err(error)),
        };
        for (number, frame) in (0..u64::from(op.nr_frames)).zip(found) {
            self.space(caller.id).put(element(op.frame_list, number, 8)?, &frame.0)?;
        }
        Ok(Ok(()))
    }
}
