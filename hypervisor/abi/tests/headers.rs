//! Compares sizes, offsets and numbers with Xen's own headers, by a C program made here.
//!
//! Needs `cc` and the headers (Debian: `libxen-dev`); says so and passes where they are missing.

use core::mem::{offset_of, size_of};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use xen_abi::{
    Hypercall, callback, dm_op, domctl, elfnote, errno, event, grant, hvm, io, ioreq, memory, mmu, physdev, sched,
    shared_info, start_info, trap, vcpu, version,
};

/// What the C program prints, and what we say it prints.
#[derive(Default)]
struct Checks {
    program: String,
    expected: Vec<(String, i128)>,
}

impl Checks {
    fn check(&mut self, expression: &str, ours: impl TryInto<i128>) {
        let ours = ours.try_into().ok().expect("every number of ours fits");
        writeln!(self.program, "    printf(\"%lld\\n\", (long long)({expression}));").expect("writing to a string");
        self.expected.push((expression.to_owned(), ours));
    }
}

macro_rules! layout {
    ($checks:ident, $c:literal, $rust:ty, { $($c_field:literal = $field:ident),* $(,)? }) => {
        $checks.check(concat!("sizeof(", $c, ")"), size_of::<$rust>());
        $($checks.check(concat!("offsetof(", $c, ", ", $c_field, ")"), offset_of!($rust, $field));)*
    };
}

macro_rules! numbers {
    ($checks:ident, { $($c:literal = $ours:expr),* $(,)? }) => { $($checks.check($c, $ours);)* };
}

fn checks() -> Checks {
    let mut c = Checks::default();
    structures(&mut c);
    processor(&mut c);
    io_structures(&mut c);
    control_structures(&mut c);
    operations(&mut c);
    io_numbers(&mut c);
    for (name, value) in errno::ALL {
        if !["EINTR", "ERESTART"].contains(name) {
            c.check(&format!("XEN_{name}"), *value);
        }
    }
    for (index, name) in io::xs_wire::XSD_ERRORS.iter().enumerate() {
        c.check(&format!("strcmp(xsd_errors[{index}].errstring, \"{name}\")"), 0);
    }
    c.check("sizeof(xsd_errors) / sizeof(xsd_errors[0])", io::xs_wire::XSD_ERRORS.len());
    c
}

/// Rights of domains, registers of vCPUs, FIFO events, and rarer operations on grants.
fn processor(c: &mut Checks) {
    layout!(c, "evtchn_init_control_t", event::InitControl,
        { "control_gfn" = control_gfn, "offset" = offset, "vcpu" = vcpu, "link_bits" = link_bits });
    layout!(c, "evtchn_expand_array_t", event::ExpandArray, { "array_gfn" = array_gfn });
    layout!(c, "evtchn_set_priority_t", event::SetPriority, { "port" = port, "priority" = priority });
    layout!(c, "evtchn_fifo_control_block_t", event::FifoControlBlock, { "ready" = ready, "head" = head });
    layout!(c, "gnttab_unmap_and_replace_t", grant::UnmapAndReplace,
        { "host_addr" = host_addr, "new_addr" = new_addr, "handle" = handle, "status" = status });
    layout!(c, "gnttab_swap_grant_ref_t", grant::SwapGrantRef, { "ref_a" = ref_a, "ref_b" = ref_b, "status" = status });
    layout!(c, "physdev_set_iopl_t", physdev::SetIopl, { "iopl" = iopl });
    layout!(c, "physdev_set_iobitmap_t", physdev::SetIobitmap, { "bitmap" = bitmap, "nr_ports" = nr_ports });
    layout!(c, "xen_compile_info_t", version::CompileInfo,
        { "compiler" = compiler, "compile_by" = compile_by, "compile_domain" = compile_domain, "compile_date" = compile_date });
    layout!(c, "cpu_user_regs_t", vcpu::CpuUserRegs,
        { "r15" = r15, "rax" = rax, "rdi" = rdi, "rip" = rip, "cs" = cs, "saved_upcall_mask" = saved_upcall_mask,
          "rflags" = rflags, "rsp" = rsp, "ss" = ss, "es" = es, "ds" = ds, "fs" = fs, "gs" = gs });
    layout!(c, "vcpu_guest_context_t", vcpu::VcpuGuestContext,
        { "fpu_ctxt" = fpu_ctxt, "flags" = flags, "user_regs" = user_regs, "trap_ctxt" = trap_ctxt, "ldt_base" = ldt_base,
          "ldt_ents" = ldt_ents, "gdt_frames" = gdt_frames, "gdt_ents" = gdt_ents, "kernel_ss" = kernel_ss,
          "kernel_sp" = kernel_sp, "ctrlreg" = ctrlreg, "debugreg" = debugreg, "event_callback_eip" = event_callback_eip,
          "failsafe_callback_eip" = failsafe_callback_eip, "syscall_callback_eip" = syscall_callback_eip,
          "vm_assist" = vm_assist, "fs_base" = fs_base, "gs_base_kernel" = gs_base_kernel, "gs_base_user" = gs_base_user });
    numbers!(c, {
        "EVTCHNOP_init_control" = event::EVTCHNOP_INIT_CONTROL, "EVTCHNOP_expand_array" = event::EVTCHNOP_EXPAND_ARRAY,
        "EVTCHNOP_set_priority" = event::EVTCHNOP_SET_PRIORITY, "EVTCHN_FIFO_PENDING" = event::EVTCHN_FIFO_PENDING,
        "EVTCHN_FIFO_MASKED" = event::EVTCHN_FIFO_MASKED, "EVTCHN_FIFO_LINKED" = event::EVTCHN_FIFO_LINKED,
        "EVTCHN_FIFO_BUSY" = event::EVTCHN_FIFO_BUSY, "EVTCHN_FIFO_LINK_BITS" = event::EVTCHN_FIFO_LINK_BITS,
        "EVTCHN_FIFO_PRIORITY_DEFAULT" = event::EVTCHN_FIFO_PRIORITY_DEFAULT,
        "EVTCHN_FIFO_PRIORITY_MIN" = event::EVTCHN_FIFO_PRIORITY_MIN,
        "EVTCHN_FIFO_MAX_QUEUES" = event::EVTCHN_FIFO_MAX_QUEUES, "EVTCHN_FIFO_NR_CHANNELS" = event::EVTCHN_FIFO_NR_CHANNELS,
        "GNTTABOP_transfer" = grant::GNTTABOP_TRANSFER, "GNTTABOP_unmap_and_replace" = grant::GNTTABOP_UNMAP_AND_REPLACE,
        "GNTTABOP_get_status_frames" = grant::GNTTABOP_GET_STATUS_FRAMES,
        "GNTTABOP_swap_grant_ref" = grant::GNTTABOP_SWAP_GRANT_REF,
        "_GNTMAP_guest_avail0" = grant::GNTMAP_GUEST_AVAIL_SHIFT,
        "PHYSDEVOP_set_iopl" = physdev::PHYSDEVOP_SET_IOPL, "PHYSDEVOP_set_iobitmap" = physdev::PHYSDEVOP_SET_IOBITMAP,
        "XENVER_compile_info" = version::XENVER_COMPILE_INFO, "XENVER_changeset" = version::XENVER_CHANGESET,
        "XENVER_platform_parameters" = version::XENVER_PLATFORM_PARAMETERS, "XENVER_pagesize" = version::XENVER_PAGESIZE,
        "XENVER_guest_handle" = version::XENVER_GUEST_HANDLE, "XENVER_commandline" = version::XENVER_COMMANDLINE,
        "XENVER_build_id" = version::XENVER_BUILD_ID,
        "XENFEAT_pae_pgdir_above_4gb" = version::XENFEAT_PAE_PGDIR_ABOVE_4GB,
        "XENFEAT_mmu_pt_update_preserve_ad" = version::XENFEAT_MMU_PT_UPDATE_PRESERVE_AD,
        "XENFEAT_gnttab_map_avail_bits" = version::XENFEAT_GNTTAB_MAP_AVAIL_BITS,
        "XENFEAT_dom0" = version::XENFEAT_DOM0, "XENFEAT_direct_mapped" = version::XENFEAT_DIRECT_MAPPED,
        "VCPUOP_initialise" = vcpu::VCPUOP_INITIALISE, "VCPUOP_up" = vcpu::VCPUOP_UP, "VCPUOP_down" = vcpu::VCPUOP_DOWN,
        "VCPUOP_is_up" = vcpu::VCPUOP_IS_UP,
        "VGCF_in_kernel" = vcpu::VGCF_IN_KERNEL,
        "VGCF_syscall_disables_events" = vcpu::VGCF_SYSCALL_DISABLES_EVENTS, "MMUEXT_SET_LDT" = mmu::MMUEXT_SET_LDT,
        "VMASST_CMD_enable" = mmu::VMASST_CMD_ENABLE, "VMASST_CMD_disable" = mmu::VMASST_CMD_DISABLE,
        "VMASST_TYPE_4gb_segments" = mmu::VMASST_TYPE_4GB_SEGMENTS,
        "VMASST_TYPE_4gb_segments_notify" = mmu::VMASST_TYPE_4GB_SEGMENTS_NOTIFY,
        "VMASST_TYPE_writable_pagetables" = mmu::VMASST_TYPE_WRITABLE_PAGETABLES,
        "VMASST_TYPE_pae_extended_cr3" = mmu::VMASST_TYPE_PAE_EXTENDED_CR3,
        "VMASST_TYPE_architectural_iopl" = mmu::VMASST_TYPE_ARCHITECTURAL_IOPL,
        "VMASST_TYPE_runstate_update_flag" = mmu::VMASST_TYPE_RUNSTATE_UPDATE_FLAG,
        "VMASST_TYPE_m2p_strict" = mmu::VMASST_TYPE_M2P_STRICT, "FLAT_USER_CS32" = mmu::FLAT_USER_CS32,
        "__HYPERVISOR_fpu_taskswitch" = Hypercall::FpuTaskswitch as u32,
        "__HYPERVISOR_set_debugreg" = Hypercall::SetDebugreg as u32,
        "__HYPERVISOR_get_debugreg" = Hypercall::GetDebugreg as u32, "__HYPERVISOR_physdev_op" = Hypercall::PhysdevOp as u32,
    });
}

fn structures(c: &mut Checks) {
    layout!(c, "evtchn_alloc_unbound_t", event::AllocUnbound, { "dom" = dom, "remote_dom" = remote_dom, "port" = port });
    layout!(c, "evtchn_bind_interdomain_t", event::BindInterdomain,
        { "remote_dom" = remote_dom, "remote_port" = remote_port, "local_port" = local_port });
    layout!(c, "evtchn_bind_virq_t", event::BindVirq, { "virq" = virq, "vcpu" = vcpu, "port" = port });
    layout!(c, "evtchn_bind_ipi_t", event::BindIpi, { "vcpu" = vcpu, "port" = port });
    layout!(c, "evtchn_bind_vcpu_t", event::BindVcpu, { "port" = port, "vcpu" = vcpu });
    layout!(c, "evtchn_reset_t", event::Reset, { "dom" = dom });
    layout!(c, "evtchn_close_t", event::PortOnly, { "port" = port });
    layout!(c, "evtchn_send_t", event::PortOnly, { "port" = port });
    layout!(c, "evtchn_status_t", event::Status,
        { "dom" = dom, "port" = port, "status" = status, "vcpu" = vcpu, "u" = detail, "u.interdomain.port" = remote_port });
    layout!(c, "grant_entry_v1_t", grant::EntryV1, { "flags" = flags, "domid" = domid, "frame" = frame });
    layout!(c, "gnttab_setup_table_t", grant::SetupTable,
        { "dom" = dom, "nr_frames" = nr_frames, "status" = status, "frame_list" = frame_list });
    layout!(c, "gnttab_query_size_t", grant::QuerySize,
        { "dom" = dom, "nr_frames" = nr_frames, "max_nr_frames" = max_nr_frames, "status" = status });
    layout!(c, "gnttab_map_grant_ref_t", grant::MapGrantRef,
        { "host_addr" = host_addr, "flags" = flags, "ref" = reference, "dom" = dom, "status" = status, "handle" = handle,
          "dev_bus_addr" = dev_bus_addr });
    layout!(c, "gnttab_unmap_grant_ref_t", grant::UnmapGrantRef,
        { "host_addr" = host_addr, "dev_bus_addr" = dev_bus_addr, "handle" = handle, "status" = status });
    layout!(c, "struct gnttab_copy_ptr", grant::CopyPtr, { "u" = frame_or_reference, "domid" = domid, "offset" = offset });
    layout!(c, "gnttab_copy_t", grant::GrantCopy,
        { "source" = source, "dest" = dest, "len" = len, "flags" = flags, "status" = status });
    layout!(c, "gnttab_set_version_t", grant::SetVersion, { "version" = version });
    layout!(c, "gnttab_get_version_t", grant::GetVersion, { "dom" = dom, "version" = version });
    layout!(c, "xen_memory_reservation_t", memory::MemoryReservation,
        { "extent_start" = extent_start, "nr_extents" = nr_extents, "extent_order" = extent_order, "mem_flags" = mem_flags,
          "domid" = domid });
    layout!(c, "xen_add_to_physmap_t", memory::AddToPhysmap,
        { "domid" = domid, "size" = size, "space" = space, "idx" = idx, "gpfn" = gpfn });
    layout!(c, "xen_add_to_physmap_batch_t", memory::AddToPhysmapBatch,
        { "domid" = domid, "space" = space, "size" = size, "u" = foreign_domid, "idxs" = idxs, "gpfns" = gpfns, "errs" = errs });
    layout!(c, "xen_remove_from_physmap_t", memory::RemoveFromPhysmap, { "domid" = domid, "gpfn" = gpfn });
    layout!(c, "struct xen_memory_domain", memory::MemoryDomain, { "domid" = domid });
    layout!(c, "struct xen_mem_acquire_resource", memory::AcquireResource,
        { "domid" = domid, "type" = resource_type, "id" = id, "nr_frames" = nr_frames, "pad" = pad, "frame" = frame,
          "frame_list" = frame_list });
    layout!(c, "mmu_update_t", mmu::MmuUpdate, { "ptr" = ptr, "val" = val });
    layout!(c, "struct mmuext_op", mmu::MmuextOp, { "cmd" = cmd, "arg1" = arg1, "arg2" = arg2 });
    layout!(c, "struct callback_register", callback::CallbackRegister, { "type" = kind, "flags" = flags, "address" = address });
    layout!(c, "struct callback_unregister", callback::CallbackUnregister, { "type" = kind });
    layout!(c, "sched_shutdown_t", sched::SchedShutdown, { "reason" = reason });
    layout!(c, "sched_poll_t", sched::SchedPoll, { "ports" = ports, "nr_ports" = nr_ports, "timeout" = timeout });
    layout!(c, "sched_remote_shutdown_t", sched::SchedRemoteShutdown, { "domain_id" = domain_id, "reason" = reason });
    layout!(c, "vcpu_runstate_info_t", vcpu::RunstateInfo,
        { "state" = state, "state_entry_time" = state_entry_time, "time" = time });
    layout!(c, "xen_extraversion_t", version::ExtraVersion, {});
    layout!(c, "xen_feature_info_t", version::FeatureInfo, { "submap_idx" = submap_idx, "submap" = submap });
    layout!(c, "trap_info_t", trap::TrapInfo, { "vector" = vector, "flags" = flags, "cs" = cs, "address" = address });
    layout!(c, "vcpu_time_info_t", shared_info::VcpuTimeInfo,
        { "version" = version, "tsc_timestamp" = tsc_timestamp, "system_time" = system_time,
          "tsc_to_system_mul" = tsc_to_system_mul, "tsc_shift" = tsc_shift, "flags" = flags });
    layout!(c, "vcpu_info_t", shared_info::VcpuInfo,
        { "evtchn_upcall_pending" = evtchn_upcall_pending, "evtchn_upcall_mask" = evtchn_upcall_mask,
          "evtchn_pending_sel" = evtchn_pending_sel, "arch" = arch, "time" = time });
    layout!(c, "shared_info_t", shared_info::SharedInfo,
        { "vcpu_info" = vcpu_info, "evtchn_pending" = evtchn_pending, "evtchn_mask" = evtchn_mask,
          "wc_version" = wc_version, "wc_sec" = wc_sec, "wc_nsec" = wc_nsec, "wc_sec_hi" = wc_sec_hi, "arch" = arch });
    layout!(c, "start_info_t", start_info::StartInfo,
        { "magic" = magic, "nr_pages" = nr_pages, "shared_info" = shared_info, "flags" = flags, "store_mfn" = store_mfn,
          "store_evtchn" = store_evtchn, "console.domU.mfn" = console_mfn, "console.domU.evtchn" = console_evtchn,
          "pt_base" = pt_base, "nr_pt_frames" = nr_pt_frames, "mfn_list" = mfn_list, "mod_start" = mod_start,
          "mod_len" = mod_len, "cmd_line" = cmd_line, "first_p2m_pfn" = first_p2m_pfn, "nr_p2m_frames" = nr_p2m_frames });
    layout!(c, "xen_hvm_param_t", hvm::HvmParam, { "domid" = domid, "index" = index, "value" = value });
    layout!(c, "ioreq_t", ioreq::RawIoreq,
        { "addr" = addr, "data" = data, "count" = count, "size" = size, "vp_eport" = vp_eport, "type" = kind });
    layout!(c, "buf_ioreq_t", ioreq::RawBufIoreq, { "data" = data });
    c.check("offsetof(buffered_iopage_t, buf_ioreq)", ioreq::IOREQ_BUFFER_SLOTS_OFFSET);
    c.check("sizeof(struct xen_dm_op)", size_of::<dm_op::DmOp>());
    c.check("offsetof(struct xen_dm_op, u)", offset_of!(dm_op::DmOp, argument));
    layout!(c, "xen_dm_op_buf_t", dm_op::DmOpBuf, { "h" = h, "size" = size });
    c.check("offsetof(xen_dm_op_create_ioreq_server_t, id)", offset_of!(dm_op::CreateIoreqServer, id));
    layout!(c, "xen_dm_op_get_ioreq_server_info_t", dm_op::GetIoreqServerInfo,
        { "id" = id, "flags" = flags, "bufioreq_port" = bufioreq_port, "ioreq_gfn" = ioreq_gfn, "bufioreq_gfn" = bufioreq_gfn });
    layout!(c, "xen_dm_op_ioreq_server_range_t", dm_op::IoreqServerRange,
        { "id" = id, "type" = kind, "start" = start, "end" = end });
    layout!(c, "xen_dm_op_set_ioreq_server_state_t", dm_op::SetIoreqServerState, { "id" = id, "enabled" = enabled });
    layout!(c, "xen_dm_op_destroy_ioreq_server_t", dm_op::DestroyIoreqServer, { "id" = id });
    layout!(c, "xen_dm_op_track_dirty_vram_t", dm_op::TrackDirtyVram, { "nr" = nr, "first_pfn" = first_pfn });
    layout!(c, "xen_dm_op_set_pci_intx_level_t", dm_op::SetPciIntxLevel,
        { "domain" = domain, "bus" = bus, "device" = device, "intx" = intx, "level" = level });
    layout!(c, "xen_dm_op_set_isa_irq_level_t", dm_op::SetIsaIrqLevel, { "isa_irq" = isa_irq, "level" = level });
    layout!(c, "xen_dm_op_set_pci_link_route_t", dm_op::SetPciLinkRoute, { "link" = link, "isa_irq" = isa_irq });
    layout!(c, "xen_dm_op_modified_memory_t", dm_op::ModifiedMemory, { "nr_extents" = nr_extents, "opaque" = opaque });
    layout!(c, "struct xen_dm_op_modified_memory_extent", dm_op::ModifiedMemoryExtent, { "nr" = nr, "first_pfn" = first_pfn });
    layout!(c, "xen_dm_op_map_mem_type_to_ioreq_server_t", dm_op::MapMemTypeToIoreqServer, { "id" = id, "type" = kind, "flags" = flags, "opaque" = opaque });
    layout!(c, "xen_dm_op_set_mem_type_t", dm_op::SetMemType, { "nr" = nr, "mem_type" = mem_type, "first_pfn" = first_pfn });
    layout!(c, "xen_dm_op_inject_event_t", dm_op::InjectEvent,
        { "vcpuid" = vcpuid, "vector" = vector, "type" = kind, "insn_len" = insn_len, "error_code" = error_code, "cr2" = cr2 });
    layout!(c, "xen_dm_op_inject_msi_t", dm_op::InjectMsi, { "data" = data, "addr" = addr });
    layout!(c, "xen_dm_op_remote_shutdown_t", dm_op::RemoteShutdown, { "reason" = reason });
    layout!(c, "xen_dm_op_relocate_memory_t", dm_op::RelocateMemory, { "size" = size, "src_gfn" = src_gfn, "dst_gfn" = dst_gfn });
    layout!(c, "xen_dm_op_pin_memory_cacheattr_t", dm_op::PinMemoryCacheattr, { "start" = start, "end" = end, "type" = kind });
    layout!(c, "xen_dm_op_nr_vcpus_t", dm_op::NrVcpus, { "vcpus" = vcpus });
}

fn control_structures(c: &mut Checks) {
    layout!(c, "struct xen_domctl", domctl::Domctl,
        { "cmd" = cmd, "interface_version" = interface_version, "domain" = domain, "u" = argument });
    layout!(c, "struct xen_domctl_createdomain", domctl::CreateDomain,
        { "ssidref" = ssidref, "handle" = handle, "flags" = flags, "iommu_opts" = iommu_opts, "max_vcpus" = max_vcpus,
          "max_evtchn_port" = max_evtchn_port, "max_grant_frames" = max_grant_frames,
          "max_maptrack_frames" = max_maptrack_frames, "grant_opts" = grant_opts, "vmtrace_size" = vmtrace_size,
          "cpupool_id" = cpupool_id, "arch.emulation_flags" = emulation_flags, "arch.misc_flags" = misc_flags });
    layout!(c, "struct xen_domctl_getdomaininfo", domctl::GetDomainInfo,
        { "domain" = domain, "flags" = flags, "tot_pages" = tot_pages, "max_pages" = max_pages,
          "outstanding_pages" = outstanding_pages, "shr_pages" = shr_pages, "paged_pages" = paged_pages,
          "shared_info_frame" = shared_info_frame, "cpu_time" = cpu_time, "nr_online_vcpus" = nr_online_vcpus,
          "max_vcpu_id" = max_vcpu_id, "ssidref" = ssidref, "handle" = handle, "cpupool" = cpupool,
          "gpaddr_bits" = gpaddr_bits, "arch_config" = emulation_flags });
    layout!(c, "struct xen_domctl_max_mem", domctl::MaxMem, { "max_memkb" = max_memkb });
    layout!(c, "struct xen_domctl_max_vcpus", domctl::MaxVcpus, { "max" = max });
    layout!(c, "struct xen_domctl_vcpucontext", domctl::VcpuContext, { "vcpu" = vcpu, "ctxt" = ctxt });
    layout!(c, "struct xen_domctl_hypercall_init", domctl::HypercallInit, { "gmfn" = gmfn });
    numbers!(c, {
        "XEN_DOMCTL_INTERFACE_VERSION" = domctl::XEN_DOMCTL_INTERFACE_VERSION,
        "XEN_DOMCTL_createdomain" = domctl::XEN_DOMCTL_CREATEDOMAIN,
        "XEN_DOMCTL_destroydomain" = domctl::XEN_DOMCTL_DESTROYDOMAIN,
        "XEN_DOMCTL_pausedomain" = domctl::XEN_DOMCTL_PAUSEDOMAIN,
        "XEN_DOMCTL_unpausedomain" = domctl::XEN_DOMCTL_UNPAUSEDOMAIN,
        "XEN_DOMCTL_getdomaininfo" = domctl::XEN_DOMCTL_GETDOMAININFO, "XEN_DOMCTL_max_mem" = domctl::XEN_DOMCTL_MAX_MEM,
        "XEN_DOMCTL_setvcpucontext" = domctl::XEN_DOMCTL_SETVCPUCONTEXT,
        "XEN_DOMCTL_max_vcpus" = domctl::XEN_DOMCTL_MAX_VCPUS,
        "XEN_DOMCTL_hypercall_init" = domctl::XEN_DOMCTL_HYPERCALL_INIT,
        "XEN_DOMCTL_resumedomain" = domctl::XEN_DOMCTL_RESUMEDOMAIN,
        "XEN_DOMINF_shutdown" = domctl::XEN_DOMINF_SHUTDOWN, "XEN_DOMINF_paused" = domctl::XEN_DOMINF_PAUSED,
        "XEN_DOMINF_blocked" = domctl::XEN_DOMINF_BLOCKED, "XEN_DOMINF_running" = domctl::XEN_DOMINF_RUNNING,
        "XEN_DOMINF_shutdownshift" = domctl::XEN_DOMINF_SHUTDOWNSHIFT,
        "XEN_INVALID_MAX_VCPU_ID" = domctl::XEN_INVALID_MAX_VCPU_ID,
         "VGCF_online" = vcpu::VGCF_ONLINE,

        "__HYPERVISOR_domctl" = Hypercall::Domctl as usize,
    });
}

fn io_structures(c: &mut Checks) {
    layout!(c, "struct blkif_request_segment", io::blkif::Segment,
        { "gref" = gref, "first_sect" = first_sect, "last_sect" = last_sect });
    layout!(c, "blkif_request_t", io::blkif::Request,
        { "operation" = operation, "nr_segments" = nr_segments, "handle" = handle, "id" = id,
          "sector_number" = sector_number, "seg" = seg });
    layout!(c, "blkif_request_discard_t", io::blkif::RequestDiscard,
        { "operation" = operation, "flag" = flag, "handle" = handle, "id" = id, "sector_number" = sector_number,
          "nr_sectors" = nr_sectors });
    layout!(c, "blkif_request_indirect_t", io::blkif::RequestIndirect,
        { "operation" = operation, "indirect_op" = indirect_op, "nr_segments" = nr_segments, "id" = id,
          "sector_number" = sector_number, "handle" = handle, "indirect_grefs" = indirect_grefs });
    layout!(c, "blkif_response_t", io::blkif::Response, { "id" = id, "operation" = operation, "status" = status });
    c.check("sizeof(union blkif_sring_entry)", io::blkif::SLOT_LEN);
    layout!(c, "netif_tx_request_t", io::netif::TxRequest,
        { "gref" = gref, "offset" = offset, "flags" = flags, "id" = id, "size" = size });
    layout!(c, "netif_tx_response_t", io::netif::TxResponse, { "id" = id, "status" = status });
    layout!(c, "netif_rx_request_t", io::netif::RxRequest, { "id" = id, "gref" = gref });
    layout!(c, "netif_rx_response_t", io::netif::RxResponse,
        { "id" = id, "offset" = offset, "flags" = flags, "status" = status });
    layout!(c, "netif_extra_info_t", io::netif::ExtraInfo,
        { "type" = kind, "flags" = flags, "u.gso.size" = gso_size, "u.gso.type" = gso_type, "u.gso.features" = features });
    c.check("sizeof(union netif_tx_sring_entry)", io::netif::TX_SLOT_LEN);
    c.check("sizeof(union netif_rx_sring_entry)", io::netif::RX_SLOT_LEN);
    layout!(c, "struct xenfb_update", io::fbif::Update, { "x" = x, "y" = y, "width" = width, "height" = height });
    layout!(c, "struct xenfb_resize", io::fbif::Resize,
        { "width" = width, "height" = height, "stride" = stride, "depth" = depth, "offset" = offset });
    layout!(c, "struct xenfb_refresh_period", io::fbif::RefreshPeriod, { "period" = period });
    layout!(c, "struct xenfb_page", io::fbif::Page,
        { "in_cons" = in_cons, "in_prod" = in_prod, "out_cons" = out_cons, "out_prod" = out_prod, "width" = width,
          "height" = height, "line_length" = line_length, "mem_length" = mem_length, "depth" = depth, "pd" = pd });
    layout!(c, "struct xenkbd_motion", io::kbdif::Motion, { "rel_x" = rel_x, "rel_y" = rel_y, "rel_z" = rel_z });
    layout!(c, "struct xenkbd_key", io::kbdif::Key, { "pressed" = pressed, "keycode" = keycode });
    layout!(c, "struct xenkbd_position", io::kbdif::Position, { "abs_x" = abs_x, "abs_y" = abs_y, "rel_z" = rel_z });
    layout!(c, "struct xsd_sockmsg", io::xs_wire::SockMsg,
        { "type" = kind, "req_id" = req_id, "tx_id" = tx_id, "len" = len });
}

fn operations(c: &mut Checks) {
    use xen_abi::DomId;
    numbers!(c, {
        "__HYPERVISOR_set_trap_table" = Hypercall::SetTrapTable as usize, "__HYPERVISOR_mmu_update" = Hypercall::MmuUpdate as usize,
        "__HYPERVISOR_fpu_taskswitch" = Hypercall::FpuTaskswitch as usize,
        "__HYPERVISOR_set_gdt" = Hypercall::SetGdt as usize,
        "__HYPERVISOR_update_descriptor" = Hypercall::UpdateDescriptor as usize,
        "__HYPERVISOR_set_segment_base" = Hypercall::SetSegmentBase as usize,
        "__HYPERVISOR_stack_switch" = Hypercall::StackSwitch as usize,
        "__HYPERVISOR_set_callbacks" = Hypercall::SetCallbacks as usize, "__HYPERVISOR_memory_op" = Hypercall::MemoryOp as usize,
        "__HYPERVISOR_multicall" = Hypercall::Multicall as usize,
        "__HYPERVISOR_update_va_mapping" = Hypercall::UpdateVaMapping as usize,
        "__HYPERVISOR_set_timer_op" = Hypercall::SetTimerOp as usize, "__HYPERVISOR_xen_version" = Hypercall::XenVersion as usize,
        "__HYPERVISOR_console_io" = Hypercall::ConsoleIo as usize,
        "__HYPERVISOR_grant_table_op" = Hypercall::GrantTableOp as usize, "__HYPERVISOR_vm_assist" = Hypercall::VmAssist as usize,
        "__HYPERVISOR_iret" = Hypercall::Iret as usize, "__HYPERVISOR_vcpu_op" = Hypercall::VcpuOp as usize,
        "__HYPERVISOR_mmuext_op" = Hypercall::MmuextOp as usize, "__HYPERVISOR_sched_op" = Hypercall::SchedOp as usize,
        "__HYPERVISOR_callback_op" = Hypercall::CallbackOp as usize,
        "__HYPERVISOR_event_channel_op" = Hypercall::EventChannelOp as usize, "__HYPERVISOR_hvm_op" = Hypercall::HvmOp as usize,
        "__HYPERVISOR_dm_op" = Hypercall::DmOp as usize,
        "DOMID_SELF" = DomId::SELF.0, "DOMID_IO" = DomId::IO.0, "DOMID_XEN" = DomId::XEN.0, "DOMID_INVALID" = DomId::INVALID.0,
        "DOMID_FIRST_RESERVED" = DomId::FIRST_RESERVED.0,
        "EVTCHNOP_bind_interdomain" = event::EVTCHNOP_BIND_INTERDOMAIN, "EVTCHNOP_bind_virq" = event::EVTCHNOP_BIND_VIRQ,
        "EVTCHNOP_close" = event::EVTCHNOP_CLOSE, "EVTCHNOP_send" = event::EVTCHNOP_SEND, "EVTCHNOP_status" = event::EVTCHNOP_STATUS,
        "EVTCHNOP_alloc_unbound" = event::EVTCHNOP_ALLOC_UNBOUND, "EVTCHNOP_bind_ipi" = event::EVTCHNOP_BIND_IPI,
        "EVTCHNOP_bind_vcpu" = event::EVTCHNOP_BIND_VCPU, "EVTCHNOP_unmask" = event::EVTCHNOP_UNMASK, "EVTCHNOP_reset" = event::EVTCHNOP_RESET,
        "EVTCHN_2L_NR_CHANNELS" = event::EVTCHN_2L_NR_CHANNELS, "VIRQ_TIMER" = event::VIRQ_TIMER, "VIRQ_DEBUG" = event::VIRQ_DEBUG,
        "VIRQ_DOM_EXC" = event::VIRQ_DOM_EXC, "VIRQ_XENOPROF" = event::VIRQ_XENOPROF,
        "VIRQ_XENPMU" = event::VIRQ_XENPMU, "NR_VIRQS" = event::NR_VIRQS, "EVTCHNSTAT_closed" = event::EVTCHNSTAT_CLOSED,
        "EVTCHNSTAT_pirq" = event::EVTCHNSTAT_PIRQ, "EVTCHNSTAT_virq" = event::EVTCHNSTAT_VIRQ,
        "VIRQ_CONSOLE" = event::VIRQ_CONSOLE, "EVTCHNSTAT_interdomain" = event::EVTCHNSTAT_INTERDOMAIN,
        "EVTCHNSTAT_unbound" = event::EVTCHNSTAT_UNBOUND, "EVTCHNSTAT_ipi" = event::EVTCHNSTAT_IPI,
        "GNTTABOP_map_grant_ref" = grant::GNTTABOP_MAP_GRANT_REF, "GNTTABOP_unmap_grant_ref" = grant::GNTTABOP_UNMAP_GRANT_REF,
        "GNTTABOP_copy" = grant::GNTTABOP_COPY, "GNTTABOP_get_version" = grant::GNTTABOP_GET_VERSION,
        "GTF_accept_transfer" = grant::GTF_ACCEPT_TRANSFER, "GTF_transitive" = grant::GTF_TRANSITIVE,
        "GTF_type_mask" = grant::GTF_TYPE_MASK, "GTF_sub_page" = grant::GTF_SUB_PAGE,
        "GNTMAP_device_map" = grant::GNTMAP_DEVICE_MAP, "GNTMAP_host_map" = grant::GNTMAP_HOST_MAP,
        "GNTMAP_readonly" = grant::GNTMAP_READONLY, "GNTMAP_application_map" = grant::GNTMAP_APPLICATION_MAP,
        "GNTMAP_contains_pte" = grant::GNTMAP_CONTAINS_PTE, "GNTCOPY_source_gref" = grant::GNTCOPY_SOURCE_GREF,
        "GNTCOPY_dest_gref" = grant::GNTCOPY_DEST_GREF,
        "GNTST_okay" = grant::GNTST_OKAY, "GNTST_general_error" = grant::GNTST_GENERAL_ERROR,
        "GNTST_bad_domain" = grant::GNTST_BAD_DOMAIN, "GNTST_bad_gntref" = grant::GNTST_BAD_GNTREF,
        "GNTST_bad_handle" = grant::GNTST_BAD_HANDLE, "GNTST_bad_virt_addr" = grant::GNTST_BAD_VIRT_ADDR,
        "GNTST_bad_dev_addr" = grant::GNTST_BAD_DEV_ADDR, "GNTST_no_device_space" = grant::GNTST_NO_DEVICE_SPACE,
        "GNTST_permission_denied" = grant::GNTST_PERMISSION_DENIED, "GNTST_bad_page" = grant::GNTST_BAD_PAGE,
        "GNTST_bad_copy_arg" = grant::GNTST_BAD_COPY_ARG, "GNTST_address_too_big" = grant::GNTST_ADDRESS_TOO_BIG,
        "GNTST_eagain" = grant::GNTST_EAGAIN, "GNTST_no_space" = grant::GNTST_NO_SPACE,
        "GNTTABOP_setup_table" = grant::GNTTABOP_SETUP_TABLE, "GNTTABOP_query_size" = grant::GNTTABOP_QUERY_SIZE,
        "GNTTABOP_set_version" = grant::GNTTABOP_SET_VERSION, "GNTTAB_NR_RESERVED_ENTRIES" = grant::GNTTAB_NR_RESERVED_ENTRIES,
        "GNTTAB_RESERVED_CONSOLE" = grant::GNTTAB_RESERVED_CONSOLE, "GNTTAB_RESERVED_XENSTORE" = grant::GNTTAB_RESERVED_XENSTORE,
        "GTF_permit_access" = grant::GTF_PERMIT_ACCESS, "GTF_readonly" = grant::GTF_READONLY, "GTF_reading" = grant::GTF_READING,
        "GTF_writing" = grant::GTF_WRITING, "4096 / sizeof(grant_entry_v1_t)" = grant::ENTRIES_PER_FRAME,
        "XENMEM_increase_reservation" = memory::XENMEM_INCREASE_RESERVATION,
        "XENMEM_decrease_reservation" = memory::XENMEM_DECREASE_RESERVATION,
        "XENMEM_current_reservation" = memory::XENMEM_CURRENT_RESERVATION,
        "XENMEM_maximum_reservation" = memory::XENMEM_MAXIMUM_RESERVATION,
        "XENMEM_populate_physmap" = memory::XENMEM_POPULATE_PHYSMAP, "XENMEM_add_to_physmap" = memory::XENMEM_ADD_TO_PHYSMAP,
        "XENMEM_maximum_gpfn" = memory::XENMEM_MAXIMUM_GPFN, "XENMEM_remove_from_physmap" = memory::XENMEM_REMOVE_FROM_PHYSMAP,
        "XENMEM_add_to_physmap_batch" = memory::XENMEM_ADD_TO_PHYSMAP_BATCH,
        "XENMEM_acquire_resource" = memory::XENMEM_ACQUIRE_RESOURCE, "XENMAPSPACE_shared_info" = memory::XENMAPSPACE_SHARED_INFO,
        "XENMAPSPACE_grant_table" = memory::XENMAPSPACE_GRANT_TABLE, "XENMAPSPACE_gmfn" = memory::XENMAPSPACE_GMFN,
        "XENMAPSPACE_gmfn_range" = memory::XENMAPSPACE_GMFN_RANGE,
        "XENMEM_resource_ioreq_server" = memory::XENMEM_RESOURCE_IOREQ_SERVER,
        "XENMEM_resource_ioreq_server_frame_bufioreq" = memory::XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ,
        "XENMEM_resource_ioreq_server_frame_ioreq(0)" = memory::XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ,
        "MMU_NORMAL_PT_UPDATE" = mmu::MMU_NORMAL_PT_UPDATE, "MMU_PT_UPDATE_NO_TRANSLATE" = mmu::MMU_PT_UPDATE_NO_TRANSLATE,
        "MMU_PT_UPDATE_PRESERVE_AD" = mmu::MMU_PT_UPDATE_PRESERVE_AD, "MMU_MACHPHYS_UPDATE" = mmu::MMU_MACHPHYS_UPDATE,
        "MMUEXT_PIN_L1_TABLE" = mmu::MMUEXT_PIN_L1_TABLE, "MMUEXT_PIN_L4_TABLE" = mmu::MMUEXT_PIN_L4_TABLE,
        "MMUEXT_UNPIN_TABLE" = mmu::MMUEXT_UNPIN_TABLE, "MMUEXT_NEW_BASEPTR" = mmu::MMUEXT_NEW_BASEPTR,
        "MMUEXT_NEW_USER_BASEPTR" = mmu::MMUEXT_NEW_USER_BASEPTR, "CALLBACKOP_register" = callback::CALLBACKOP_REGISTER,
        "CALLBACKTYPE_syscall" = callback::CALLBACKTYPE_SYSCALL, "CALLBACKF_mask_events" = callback::CALLBACKF_MASK_EVENTS,
        "SEGBASE_GS_KERNEL" = mmu::SEGBASE_GS_KERNEL,
        "MMUEXT_TLB_FLUSH_LOCAL" = mmu::MMUEXT_TLB_FLUSH_LOCAL, "MMUEXT_INVLPG_LOCAL" = mmu::MMUEXT_INVLPG_LOCAL,
        "UVMF_INVLPG" = mmu::UVMF_INVLPG, "UVMF_TLB_FLUSH" = mmu::UVMF_TLB_FLUSH,
        "FLAT_KERNEL_CS" = mmu::FLAT_KERNEL_CS, "FLAT_KERNEL_SS" = mmu::FLAT_KERNEL_SS,
        "SCHEDOP_yield" = sched::SCHEDOP_YIELD, "SCHEDOP_block" = sched::SCHEDOP_BLOCK, "SCHEDOP_shutdown" = sched::SCHEDOP_SHUTDOWN,
        "SCHEDOP_poll" = sched::SCHEDOP_POLL, "SCHEDOP_remote_shutdown" = sched::SCHEDOP_REMOTE_SHUTDOWN,
        "SHUTDOWN_poweroff" = sched::SHUTDOWN_POWEROFF, "SHUTDOWN_reboot" = sched::SHUTDOWN_REBOOT,
        "SHUTDOWN_suspend" = sched::SHUTDOWN_SUSPEND, "SHUTDOWN_crash" = sched::SHUTDOWN_CRASH,
        "SHUTDOWN_watchdog" = sched::SHUTDOWN_WATCHDOG,
        "CONSOLEIO_read" = xen_abi::CONSOLEIO_READ,
        "VCPUOP_register_runstate_memory_area" = vcpu::VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA,
        "VCPUOP_register_vcpu_info" = vcpu::VCPUOP_REGISTER_VCPU_INFO,
        "sizeof(struct vcpu_register_vcpu_info)" = size_of::<vcpu::RegisterVcpuInfo>(),
        "VCPUOP_get_runstate_info" = vcpu::VCPUOP_GET_RUNSTATE_INFO, "VCPUOP_stop_periodic_timer" = vcpu::VCPUOP_STOP_PERIODIC_TIMER,
        "VCPUOP_set_singleshot_timer" = vcpu::VCPUOP_SET_SINGLESHOT_TIMER,
        "VCPUOP_stop_singleshot_timer" = vcpu::VCPUOP_STOP_SINGLESHOT_TIMER,
        "XENVER_version" = version::XENVER_VERSION, "XENVER_extraversion" = version::XENVER_EXTRAVERSION,
        "XENVER_capabilities" = version::XENVER_CAPABILITIES, "XENVER_get_features" = version::XENVER_GET_FEATURES,
        "XEN_ELFNOTE_ENTRY" = elfnote::XEN_ELFNOTE_ENTRY, "XEN_ELFNOTE_HYPERCALL_PAGE" = elfnote::XEN_ELFNOTE_HYPERCALL_PAGE,
        "XEN_ELFNOTE_PADDR_OFFSET" = elfnote::XEN_ELFNOTE_PADDR_OFFSET,
        "XEN_ELFNOTE_VIRT_BASE" = elfnote::XEN_ELFNOTE_VIRT_BASE, "XEN_ELFNOTE_XEN_VERSION" = elfnote::XEN_ELFNOTE_XEN_VERSION,
        "XEN_ELFNOTE_GUEST_OS" = elfnote::XEN_ELFNOTE_GUEST_OS, "XEN_ELFNOTE_LOADER" = elfnote::XEN_ELFNOTE_LOADER,
        "XEN_ELFNOTE_PAE_MODE" = elfnote::XEN_ELFNOTE_PAE_MODE, "XEN_ELFNOTE_FEATURES" = elfnote::XEN_ELFNOTE_FEATURES,
        "MAX_GUEST_CMDLINE" = start_info::MAX_GUEST_CMDLINE, "SIF_PRIVILEGED" = start_info::SIF_PRIVILEGED,
        "SIF_INITDOMAIN" = start_info::SIF_INITDOMAIN, "SIF_MULTIBOOT_MOD" = start_info::SIF_MULTIBOOT_MOD,
        "SIF_MOD_START_PFN" = start_info::SIF_MOD_START_PFN,
        "HVMOP_set_param" = hvm::HVMOP_SET_PARAM, "HVMOP_get_param" = hvm::HVMOP_GET_PARAM,
        "HVM_PARAM_CALLBACK_IRQ" = hvm::HVM_PARAM_CALLBACK_IRQ, "HVM_PARAM_STORE_PFN" = hvm::HVM_PARAM_STORE_PFN,
        "HVM_PARAM_STORE_EVTCHN" = hvm::HVM_PARAM_STORE_EVTCHN, "HVM_PARAM_IOREQ_PFN" = hvm::HVM_PARAM_IOREQ_PFN,
        "HVM_PARAM_BUFIOREQ_PFN" = hvm::HVM_PARAM_BUFIOREQ_PFN, "HVM_PARAM_DM_DOMAIN" = hvm::HVM_PARAM_DM_DOMAIN,
        "HVM_PARAM_ACPI_S_STATE" = hvm::HVM_PARAM_ACPI_S_STATE, "HVM_PARAM_CONSOLE_PFN" = hvm::HVM_PARAM_CONSOLE_PFN,
        "HVM_PARAM_CONSOLE_EVTCHN" = hvm::HVM_PARAM_CONSOLE_EVTCHN,
        "HVM_PARAM_ACPI_IOPORTS_LOCATION" = hvm::HVM_PARAM_ACPI_IOPORTS_LOCATION,
        "HVM_PARAM_BUFIOREQ_EVTCHN" = hvm::HVM_PARAM_BUFIOREQ_EVTCHN,
        "HVM_PARAM_TRIPLE_FAULT_REASON" = hvm::HVM_PARAM_TRIPLE_FAULT_REASON,
        "HVMMEM_ram_rw" = hvm::HVMMEM_RAM_RW, "HVMMEM_ram_ro" = hvm::HVMMEM_RAM_RO, "HVMMEM_mmio_dm" = hvm::HVMMEM_MMIO_DM,
        "IOREQ_READ" = ioreq::IOREQ_READ, "IOREQ_WRITE" = ioreq::IOREQ_WRITE, "STATE_IOREQ_NONE" = ioreq::STATE_IOREQ_NONE,
        "STATE_IOREQ_READY" = ioreq::STATE_IOREQ_READY, "STATE_IOREQ_INPROCESS" = ioreq::STATE_IOREQ_INPROCESS,
        "STATE_IORESP_READY" = ioreq::STATE_IORESP_READY, "IOREQ_TYPE_PIO" = ioreq::IOREQ_TYPE_PIO,
        "IOREQ_TYPE_COPY" = ioreq::IOREQ_TYPE_COPY, "IOREQ_TYPE_PCI_CONFIG" = ioreq::IOREQ_TYPE_PCI_CONFIG,
        "IOREQ_TYPE_TIMEOFFSET" = ioreq::IOREQ_TYPE_TIMEOFFSET, "IOREQ_TYPE_INVALIDATE" = ioreq::IOREQ_TYPE_INVALIDATE,
        "IOREQ_BUFFER_SLOT_NUM" = ioreq::IOREQ_BUFFER_SLOT_NUM,
        "bits_of_ioreq((ioreq_t){ .state = 15 })" = ioreq::IOREQ_STATE_MASK,
        "bits_of_ioreq((ioreq_t){ .data_is_ptr = 1 })" = ioreq::IOREQ_DATA_IS_PTR,
        "bits_of_ioreq((ioreq_t){ .dir = 1 })" = ioreq::IOREQ_DIR, "bits_of_ioreq((ioreq_t){ .df = 1 })" = ioreq::IOREQ_DF,
        "bits_of_buf_ioreq((buf_ioreq_t){ .type = 0xff })" = 0xff, "bits_of_buf_ioreq((buf_ioreq_t){ .dir = 1 })" = 1 << 9,
        "bits_of_buf_ioreq((buf_ioreq_t){ .size = 3 })" = 3 << 10, "bits_of_buf_ioreq((buf_ioreq_t){ .addr = 0xfffff })" = 0xffff_f000_u32,
        "HVM_IOREQSRV_BUFIOREQ_OFF" = ioreq::HVM_IOREQSRV_BUFIOREQ_OFF,
        "HVM_IOREQSRV_BUFIOREQ_LEGACY" = ioreq::HVM_IOREQSRV_BUFIOREQ_LEGACY,
        "HVM_IOREQSRV_BUFIOREQ_ATOMIC" = ioreq::HVM_IOREQSRV_BUFIOREQ_ATOMIC,
        "XEN_DMOP_create_ioreq_server" = dm_op::XEN_DMOP_CREATE_IOREQ_SERVER,
        "XEN_DMOP_get_ioreq_server_info" = dm_op::XEN_DMOP_GET_IOREQ_SERVER_INFO,
        "XEN_DMOP_map_io_range_to_ioreq_server" = dm_op::XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER,
        "XEN_DMOP_unmap_io_range_from_ioreq_server" = dm_op::XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER,
        "XEN_DMOP_set_ioreq_server_state" = dm_op::XEN_DMOP_SET_IOREQ_SERVER_STATE,
        "XEN_DMOP_destroy_ioreq_server" = dm_op::XEN_DMOP_DESTROY_IOREQ_SERVER,
        "XEN_DMOP_track_dirty_vram" = dm_op::XEN_DMOP_TRACK_DIRTY_VRAM, "XEN_DMOP_set_pci_intx_level" = dm_op::XEN_DMOP_SET_PCI_INTX_LEVEL,
        "XEN_DMOP_set_isa_irq_level" = dm_op::XEN_DMOP_SET_ISA_IRQ_LEVEL, "XEN_DMOP_set_pci_link_route" = dm_op::XEN_DMOP_SET_PCI_LINK_ROUTE,
        "XEN_DMOP_modified_memory" = dm_op::XEN_DMOP_MODIFIED_MEMORY, "XEN_DMOP_set_mem_type" = dm_op::XEN_DMOP_SET_MEM_TYPE,
        "XEN_DMOP_map_mem_type_to_ioreq_server" = dm_op::XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER,
        "XEN_DMOP_IOREQ_MEM_ACCESS_WRITE" = dm_op::XEN_DMOP_IOREQ_MEM_ACCESS_WRITE, "HVMMEM_ioreq_server" = hvm::HVMMEM_IOREQ_SERVER,
        "XEN_DMOP_inject_event" = dm_op::XEN_DMOP_INJECT_EVENT, "XEN_DMOP_inject_msi" = dm_op::XEN_DMOP_INJECT_MSI,
        "XEN_DMOP_remote_shutdown" = dm_op::XEN_DMOP_REMOTE_SHUTDOWN, "XEN_DMOP_relocate_memory" = dm_op::XEN_DMOP_RELOCATE_MEMORY,
        "XEN_DMOP_pin_memory_cacheattr" = dm_op::XEN_DMOP_PIN_MEMORY_CACHEATTR, "XEN_DMOP_nr_vcpus" = dm_op::XEN_DMOP_NR_VCPUS,
        "XEN_DMOP_no_gfns" = dm_op::XEN_DMOP_NO_GFNS, "XEN_DMOP_IO_RANGE_PORT" = dm_op::XEN_DMOP_IO_RANGE_PORT,
        "XEN_DMOP_IO_RANGE_MEMORY" = dm_op::XEN_DMOP_IO_RANGE_MEMORY, "XEN_DMOP_IO_RANGE_PCI" = dm_op::XEN_DMOP_IO_RANGE_PCI,
        "XEN_DMOP_MEM_CACHEATTR_UC" = dm_op::XEN_DMOP_MEM_CACHEATTR_UC, "XEN_DMOP_MEM_CACHEATTR_WC" = dm_op::XEN_DMOP_MEM_CACHEATTR_WC,
        "XEN_DMOP_MEM_CACHEATTR_WB" = dm_op::XEN_DMOP_MEM_CACHEATTR_WB,
        "XEN_DMOP_DELETE_MEM_CACHEATTR" = dm_op::XEN_DMOP_DELETE_MEM_CACHEATTR,
    });
    c.check("MACH2PHYS_VIRT_START - __HYPERVISOR_VIRT_START", mmu::MACH2PHYS_VIRT_START - mmu::HYPERVISOR_VIRT_START);
    c.check("MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START", mmu::MACH2PHYS_VIRT_END - mmu::MACH2PHYS_VIRT_START);
}

fn io_numbers(c: &mut Checks) {
    use io::{blkif, console, fbif, kbdif, netif, ring, vchan, xenbus, xs_wire};
    numbers!(c, {
        "offsetof(struct blkif_sring, req_prod)" = ring::REQ_PROD_OFFSET, "offsetof(struct blkif_sring, req_event)" = ring::REQ_EVENT_OFFSET,
        "offsetof(struct blkif_sring, rsp_prod)" = ring::RSP_PROD_OFFSET, "offsetof(struct blkif_sring, rsp_event)" = ring::RSP_EVENT_OFFSET,
        "offsetof(struct blkif_sring, ring)" = ring::RING_OFFSET,
        "__CONST_RING_SIZE(blkif, 4096)" = ring::ring_size(4096, blkif::SLOT_LEN),
        "__CONST_RING_SIZE(blkif, 65536)" = ring::ring_size(65536, blkif::SLOT_LEN),
        "BLKIF_OP_READ" = blkif::BLKIF_OP_READ, "BLKIF_OP_WRITE" = blkif::BLKIF_OP_WRITE,
        "BLKIF_OP_WRITE_BARRIER" = blkif::BLKIF_OP_WRITE_BARRIER, "BLKIF_OP_FLUSH_DISKCACHE" = blkif::BLKIF_OP_FLUSH_DISKCACHE,
        "BLKIF_OP_DISCARD" = blkif::BLKIF_OP_DISCARD, "BLKIF_OP_INDIRECT" = blkif::BLKIF_OP_INDIRECT,
        "BLKIF_MAX_SEGMENTS_PER_REQUEST" = blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST,
        "BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST" = blkif::BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
        "4096 / sizeof(struct blkif_request_segment)" = blkif::SEGMENTS_PER_INDIRECT_PAGE,
        "BLKIF_DISCARD_SECURE" = blkif::BLKIF_DISCARD_SECURE, "BLKIF_RSP_EOPNOTSUPP" = blkif::BLKIF_RSP_EOPNOTSUPP,
        "BLKIF_RSP_ERROR" = blkif::BLKIF_RSP_ERROR, "BLKIF_RSP_OKAY" = blkif::BLKIF_RSP_OKAY, "VDISK_CDROM" = blkif::VDISK_CDROM,
        "XEN_NETIF_NR_SLOTS_MIN" = netif::XEN_NETIF_NR_SLOTS_MIN, "XEN_NETIF_MAX_TX_SIZE" = netif::XEN_NETIF_MAX_TX_SIZE,
        "NETTXF_csum_blank" = netif::NETTXF_CSUM_BLANK, "NETTXF_data_validated" = netif::NETTXF_DATA_VALIDATED,
        "NETTXF_more_data" = netif::NETTXF_MORE_DATA, "NETTXF_extra_info" = netif::NETTXF_EXTRA_INFO,
        "NETRXF_data_validated" = netif::NETRXF_DATA_VALIDATED, "NETRXF_csum_blank" = netif::NETRXF_CSUM_BLANK,
        "NETRXF_more_data" = netif::NETRXF_MORE_DATA, "NETRXF_extra_info" = netif::NETRXF_EXTRA_INFO,
        "NETIF_RSP_NULL" = netif::NETIF_RSP_NULL, "XEN_NETIF_EXTRA_TYPE_GSO" = netif::XEN_NETIF_EXTRA_TYPE_GSO,
        "XEN_NETIF_EXTRA_FLAG_MORE" = netif::XEN_NETIF_EXTRA_FLAG_MORE,
        "XEN_NETIF_GSO_TYPE_TCPV4" = netif::XEN_NETIF_GSO_TYPE_TCPV4, "XEN_NETIF_GSO_TYPE_TCPV6" = netif::XEN_NETIF_GSO_TYPE_TCPV6,
        "VDISK_REMOVABLE" = blkif::VDISK_REMOVABLE, "VDISK_READONLY" = blkif::VDISK_READONLY,
        "offsetof(struct xencons_interface, in)" = console::IN_OFFSET, "offsetof(struct xencons_interface, out)" = console::OUT_OFFSET,
        "sizeof(((struct xencons_interface *)0)->in)" = console::IN_LEN, "sizeof(((struct xencons_interface *)0)->out)" = console::OUT_LEN,
        "offsetof(struct xencons_interface, in_cons)" = console::IN_CONS_OFFSET,
        "offsetof(struct xencons_interface, in_prod)" = console::IN_PROD_OFFSET,
        "offsetof(struct xencons_interface, out_cons)" = console::OUT_CONS_OFFSET,
        "offsetof(struct xencons_interface, out_prod)" = console::OUT_PROD_OFFSET,
        "offsetof(struct vchan_interface, left.cons)" = vchan::LEFT_CONS_OFFSET, "offsetof(struct vchan_interface, left.prod)" = vchan::LEFT_PROD_OFFSET,
        "offsetof(struct vchan_interface, right.cons)" = vchan::RIGHT_CONS_OFFSET, "offsetof(struct vchan_interface, right.prod)" = vchan::RIGHT_PROD_OFFSET,
        "offsetof(struct vchan_interface, left_order)" = vchan::LEFT_ORDER_OFFSET, "offsetof(struct vchan_interface, right_order)" = vchan::RIGHT_ORDER_OFFSET,
        "offsetof(struct vchan_interface, cli_live)" = vchan::CLI_LIVE_OFFSET, "offsetof(struct vchan_interface, srv_live)" = vchan::SRV_LIVE_OFFSET,
        "offsetof(struct vchan_interface, cli_notify)" = vchan::CLI_NOTIFY_OFFSET, "offsetof(struct vchan_interface, srv_notify)" = vchan::SRV_NOTIFY_OFFSET,
        "offsetof(struct vchan_interface, grants)" = vchan::GRANTS_OFFSET,
        "VCHAN_NOTIFY_WRITE" = vchan::VCHAN_NOTIFY_WRITE, "VCHAN_NOTIFY_READ" = vchan::VCHAN_NOTIFY_READ,
        "XENFB_TYPE_REFRESH_PERIOD" = fbif::XENFB_TYPE_REFRESH_PERIOD, "XENFB_TYPE_UPDATE" = fbif::XENFB_TYPE_UPDATE,
        "XENFB_TYPE_RESIZE" = fbif::XENFB_TYPE_RESIZE, "XENFB_NO_REFRESH" = fbif::XENFB_NO_REFRESH,
        "XENFB_IN_EVENT_SIZE" = fbif::EVENT_SIZE, "XENFB_OUT_EVENT_SIZE" = fbif::EVENT_SIZE, "XENFB_IN_RING_OFFS" = fbif::IN_RING_OFFSET,
        "XENFB_OUT_RING_OFFS" = fbif::OUT_RING_OFFSET, "XENFB_IN_RING_LEN" = fbif::IN_RING_LEN, "XENFB_OUT_RING_LEN" = fbif::OUT_RING_LEN,
        "offsetof(struct xenfb_page, in_cons)" = fbif::IN_CONS_OFFSET, "offsetof(struct xenfb_page, in_prod)" = fbif::IN_PROD_OFFSET,
        "offsetof(struct xenfb_page, out_cons)" = fbif::OUT_CONS_OFFSET, "offsetof(struct xenfb_page, out_prod)" = fbif::OUT_PROD_OFFSET,
        "offsetof(struct xenfb_page, pd)" = fbif::PD_OFFSET,
        "XENKBD_TYPE_MOTION" = kbdif::XENKBD_TYPE_MOTION, "XENKBD_TYPE_KEY" = kbdif::XENKBD_TYPE_KEY, "XENKBD_TYPE_POS" = kbdif::XENKBD_TYPE_POS,
        "XENKBD_IN_EVENT_SIZE" = kbdif::EVENT_SIZE, "XENKBD_OUT_EVENT_SIZE" = kbdif::EVENT_SIZE,
        "XENKBD_IN_RING_OFFS" = kbdif::IN_RING_OFFSET, "XENKBD_IN_RING_LEN" = kbdif::IN_RING_LEN,
        "XENKBD_OUT_RING_OFFS" = kbdif::OUT_RING_OFFSET, "XENKBD_OUT_RING_LEN" = kbdif::OUT_RING_LEN,
        "offsetof(struct xenkbd_page, in_cons)" = kbdif::IN_CONS_OFFSET, "offsetof(struct xenkbd_page, in_prod)" = kbdif::IN_PROD_OFFSET,
        "offsetof(struct xenkbd_page, out_cons)" = kbdif::OUT_CONS_OFFSET, "offsetof(struct xenkbd_page, out_prod)" = kbdif::OUT_PROD_OFFSET,
        "XenbusStateUnknown" = xenbus::XENBUS_STATE_UNKNOWN, "XenbusStateInitialising" = xenbus::XENBUS_STATE_INITIALISING,
        "XenbusStateInitWait" = xenbus::XENBUS_STATE_INIT_WAIT, "XenbusStateInitialised" = xenbus::XENBUS_STATE_INITIALISED,
        "XenbusStateConnected" = xenbus::XENBUS_STATE_CONNECTED, "XenbusStateClosing" = xenbus::XENBUS_STATE_CLOSING,
        "XenbusStateClosed" = xenbus::XENBUS_STATE_CLOSED, "XenbusStateReconfiguring" = xenbus::XENBUS_STATE_RECONFIGURING,
        "XenbusStateReconfigured" = xenbus::XENBUS_STATE_RECONFIGURED,
        "XS_CONTROL" = xs_wire::XS_CONTROL, "XS_DIRECTORY" = xs_wire::XS_DIRECTORY, "XS_READ" = xs_wire::XS_READ,
        "XS_GET_PERMS" = xs_wire::XS_GET_PERMS, "XS_WATCH" = xs_wire::XS_WATCH, "XS_UNWATCH" = xs_wire::XS_UNWATCH,
        "XS_TRANSACTION_START" = xs_wire::XS_TRANSACTION_START, "XS_TRANSACTION_END" = xs_wire::XS_TRANSACTION_END,
        "XS_INTRODUCE" = xs_wire::XS_INTRODUCE, "XS_RELEASE" = xs_wire::XS_RELEASE, "XS_GET_DOMAIN_PATH" = xs_wire::XS_GET_DOMAIN_PATH,
        "XS_WRITE" = xs_wire::XS_WRITE, "XS_MKDIR" = xs_wire::XS_MKDIR, "XS_RM" = xs_wire::XS_RM, "XS_SET_PERMS" = xs_wire::XS_SET_PERMS,
        "XS_WATCH_EVENT" = xs_wire::XS_WATCH_EVENT, "XS_ERROR" = xs_wire::XS_ERROR,
        "XS_IS_DOMAIN_INTRODUCED" = xs_wire::XS_IS_DOMAIN_INTRODUCED, "XS_RESUME" = xs_wire::XS_RESUME,
        "XS_SET_TARGET" = xs_wire::XS_SET_TARGET, "XS_RESET_WATCHES" = xs_wire::XS_RESET_WATCHES,
        "XS_DIRECTORY_PART" = xs_wire::XS_DIRECTORY_PART, "XENSTORE_RING_SIZE" = xs_wire::XENSTORE_RING_SIZE,
        "XENSTORE_PAYLOAD_MAX" = xs_wire::XENSTORE_PAYLOAD_MAX, "XENSTORE_ABS_PATH_MAX" = xs_wire::XENSTORE_ABS_PATH_MAX,
        "XENSTORE_REL_PATH_MAX" = xs_wire::XENSTORE_REL_PATH_MAX,
        "offsetof(struct xenstore_domain_interface, req)" = xs_wire::REQ_OFFSET, "offsetof(struct xenstore_domain_interface, rsp)" = xs_wire::RSP_OFFSET,
        "offsetof(struct xenstore_domain_interface, req_cons)" = xs_wire::REQ_CONS_OFFSET,
        "offsetof(struct xenstore_domain_interface, req_prod)" = xs_wire::REQ_PROD_OFFSET,
        "offsetof(struct xenstore_domain_interface, rsp_cons)" = xs_wire::RSP_CONS_OFFSET,
        "offsetof(struct xenstore_domain_interface, rsp_prod)" = xs_wire::RSP_PROD_OFFSET,
        "offsetof(struct xenstore_domain_interface, server_features)" = xs_wire::SERVER_FEATURES_OFFSET,
        "offsetof(struct xenstore_domain_interface, connection)" = xs_wire::CONNECTION_OFFSET,
        "offsetof(struct xenstore_domain_interface, error)" = xs_wire::ERROR_OFFSET,
        "XENSTORE_SERVER_FEATURE_RECONNECTION" = xs_wire::XENSTORE_SERVER_FEATURE_RECONNECTION,
        "XENSTORE_SERVER_FEATURE_ERROR" = xs_wire::XENSTORE_SERVER_FEATURE_ERROR,
        "XENSTORE_CONNECTED" = xs_wire::XENSTORE_CONNECTED, "XENSTORE_RECONNECT" = xs_wire::XENSTORE_RECONNECT,
        "XENSTORE_ERROR_NONE" = xs_wire::XENSTORE_ERROR_NONE, "XENSTORE_ERROR_COMM" = xs_wire::XENSTORE_ERROR_COMM,
        "XENSTORE_ERROR_RINGIDX" = xs_wire::XENSTORE_ERROR_RINGIDX, "XENSTORE_ERROR_PROTO" = xs_wire::XENSTORE_ERROR_PROTO,
    });
}

const PROLOGUE: &str = r"
#define __XEN_TOOLS__ 1
#define __XEN_INTERFACE_VERSION__ 0x00040f00
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xen/xen.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/errno.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/features.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/hvm/ioreq.h>
#include <xen/hvm/dm_op.h>
#include <xen/io/ring.h>
#include <xen/io/blkif.h>
#include <xen/io/netif.h>
#include <xen/io/console.h>
#include <xen/io/fbif.h>
#include <xen/io/kbdif.h>
#include <xen/io/libxenvchan.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>

static unsigned bits_of_ioreq(ioreq_t r) { return ((unsigned char *)&r)[offsetof(ioreq_t, type) - 1]; }
static unsigned bits_of_buf_ioreq(buf_ioreq_t r) { unsigned bits; memcpy(&bits, &r, 4); return bits; }
int main(void)
{
";

#[test]
fn layouts_and_numbers_are_those_of_the_installed_headers() {
    if !Path::new("/usr/include/xen/xen.h").exists() {
        eprintln!("skipped: /usr/include/xen/xen.h is missing (Debian: apt-get install libxen-dev)");
        return;
    }
    let checks = checks();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("headers.c"), folder.join("headers"));
    std::fs::write(&source, format!("{PROLOGUE}{}    return 0;\n}}\n", checks.program))
        .expect("the test's folder is writable");
    let compiler = Command::new("cc").arg("-std=gnu11").arg("-o").arg(&program).arg(&source).output();
    let compiler = match compiler {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: no C compiler: {error}");
            return;
        }
    };
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    let output = Command::new(&program).output().expect("the program that was just built runs");
    let theirs: Vec<i128> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(theirs.len(), checks.expected.len());
    let wrong: Vec<String> = (checks.expected.iter().zip(&theirs))
        .filter(|((_, ours), theirs)| ours != *theirs)
        .map(|((expression, ours), theirs)| format!("{expression}: ours {ours}, Xen's {theirs}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} sizes, offsets and numbers compared", theirs.len());
}
