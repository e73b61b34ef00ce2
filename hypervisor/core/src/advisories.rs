//! Public advisories about Xen's paravirtualised memory, grants and events, and the tests here that play their ideas.
//!
//! The names of tests are checked: a row whose test is gone does not pass. The Xen Test Framework (`cargo xtask xtf`) has tests of
//! its own for many of them. What is not in the table is about what is not here: grant tables of version 2, XENMEM_exchange (XSA-212,
//! XSA-29), HVM, superpages, several processors (races: XSA-346, XSA-401), 32-bit domains.

const EVENT: &str = include_str!("event/tests.rs");
const FIFO: &str = include_str!("hypercall/tests/events.rs");
const FRAMES: &str = include_str!("frames/tests.rs");
const GRANT: &str = include_str!("grant/tests.rs");
const GRANT_CALLS: &str = include_str!("hypercall/tests/grants.rs");
const PROCESSOR: &str = include_str!("hypercall/tests/processor.rs");
const RECOUNT: &str = include_str!("hypercall/tests/recount.rs");
const TABLES: &str = include_str!("hypercall/tests/tables.rs");
const VCPUS: &str = include_str!("hypercall/tests/vcpus.rs");

/// Advisory, idea, where the test is, its name.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("XSA-7, CVE-2012-0217", "a return to an address that is none", PROCESSOR, "a_return_that_the_processor_would_refuse_is_the_kernels_exception"),
    ("XSA-148, CVE-2015-7835", "an entry of a middle table that maps a large page", FRAMES, "what_is_not_the_domains_is_refused"),
    ("XSA-182, CVE-2016-6258", "an entry of a page table gets rights by a change of its bits alone", TABLES, "what_may_not_be_in_a_table_is_the_kernels_fault"),
    ("XSA-188, CVE-2016-7154", "the control block of FIFO events is initialised again, or badly", FIFO, "pages_that_are_none_are_refused_and_those_that_are_come_back"),
    ("XSA-213, CVE-2017-8903", "a list of calls goes on after a return from an exception", PROCESSOR, "a_list_of_calls_ends_where_it_returns_from_an_exception"),
    ("XSA-224, CVE-2017-10920", "a grant that is mapped for processors and devices is unmapped for one of them", GRANT_CALLS, "the_processors_and_devices_have_a_mapping_each"),
    ("XSA-227, CVE-2017-12137", "a grant is mapped at an entry that is not aligned, or is no entry", GRANT_CALLS, "what_is_not_granted_is_not_mapped"),
    ("XSA-228, CVE-2017-12136", "mappings that begin and end in any order", RECOUNT, "whatever_a_domain_asks_for_the_counts_are_right"),
    ("XSA-234, CVE-2017-14319", "a grant is unmapped where something else is mapped", GRANT_CALLS, "a_page_that_is_taken_out_otherwise_is_not_unmapped_by_its_handle"),
    ("XSA-236, CVE-2017-15597", "a page is granted on while its count is at its end", GRANT, "uses_are_counted_up_to_what_the_counter_holds"),
    ("XSA-240, CVE-2017-15595", "tables that map themselves", FRAMES, "a_table_may_map_itself_to_be_looked_at"),
    ("XSA-242, CVE-2017-15593", "a table that is refused in the middle keeps uses", FRAMES, "a_table_that_is_refused_leaves_everything_as_it_was"),
    ("XSA-255, CVE-2018-7541", "grants are exchanged, or change their version, while they are used", GRANT_CALLS, "there_is_version_1_and_entries_can_be_exchanged"),
    ("XSA-260, CVE-2018-8897", "exceptions on the way into the kernel", PROCESSOR, "a_debug_exception_reaches_its_kernel_and_says_why"),
    ("none", "the processor keeps a top table that is none any more", TABLES, "the_processor_leaves_a_top_table_before_it_is_none"),
    ("XSA-296, CVE-2019-18420", "VCPUOP_initialise with what no processor can have", VCPUS, "what_no_vcpu_can_begin_with_is_refused"),
    ("XSA-298, CVE-2019-18425", "descriptors of a local table that were not checked", PROCESSOR, "pages_of_a_local_table_are_taken_when_they_are_used"),
    ("XSA-310, CVE-2019-19580", "a page changes its type while it is used", FRAMES, "whatever_domains_ask_for_the_counts_are_right"),
    ("XSA-316, CVE-2020-11743", "errors of grants that are no errors", GRANT, "status_is_the_headers"),
    ("XSA-317, CVE-2020-15566", "ports that there cannot be", EVENT, "a_table_ends_at_port_4095"),
    ("XSA-338, XSA-343, XSA-344", "channels are reset while others use them", EVENT, "a_reset_closes_everything_of_a_domain"),
    ("XSA-339, CVE-2020-25596", "SYSENTER by a kernel that has no way for it", PROCESSOR, "a_system_call_of_32_bit_code_has_a_way_of_its_own"),
    ("XSA-340, CVE-2020-25603", "a word of a port before there is one", FIFO, "a_hostile_domain_harms_nobody_but_itself"),
];

#[test]
fn every_test_of_the_table_is_there() {
    for (advisory, idea, text, name) in TABLE {
        let head = std::format!("fn {name}()");
        let (before, _) =
            text.split_once(&head).unwrap_or_else(|| panic!("{advisory}, {idea}: there is no test {name}"));
        assert!(before.trim_end().ends_with("#[test]"), "{advisory}: {name} is no test");
    }
}
