//! The whole-system cases, by what they are about. A new suite is a file here and a line in `SUITES`.

use crate::suite::Case;

mod boot;
mod debian;
mod disk;
mod ends;
mod hostile;
mod input;
mod machine;
mod minios;
mod refusals;
mod screen;

/// Every suite, in the order in which they run.
const SUITES: &[&[Case]] = &[
    boot::CASES,
    machine::CASES,
    disk::CASES,
    input::CASES,
    screen::CASES,
    ends::CASES,
    hostile::CASES,
    minios::CASES,
    refusals::CASES,
    debian::CASES,
];

/// Cases that are not run on a release of Xen, with the reason that is printed instead. Each is work that is open.
const NOT_YET: &[(&str, &[&str], &str)] = &[
    (
        "4.17",
        &[
            "a-backend-that-closes-is-refused",
            "a-malformed-device-number-is-refused",
            "a-missing-argument-number-is-refused",
            "too-little-memory-is-refused",
            "a-domain-without-target-is-refused",
            "a-domain-without-privilege-is-refused",
            "debian-comes-up-to-its-userland",
            "debian-runs-from-the-emulated-disk",
            "debian-shows-a-console-in-graphics",
            "an-idle-guest-costs-the-stub-domain-nothing",
            "minios-says-why-it-dies-and-crashes-the-domain",
        ],
        "nobody has seen it pass on this release yet",
    ),
    (
        "4.20",
        &["serial-lines-keys-and-pointer-arrive"],
        "keys typed into the screen do not arrive beside this dom0's QEMU yet",
    ),
    (
        "4.20",
        &[
            "debian-comes-up-to-its-userland",
            "the-devices-of-the-pc-answer",
            "two-vcpus-use-ports-at-once",
            "four-vcpus-use-ports-at-once",
            "four-disks-are-told-apart",
            "a-read-only-disk-refuses-every-write",
            "what-a-guest-flushed-is-in-the-image",
            "text-and-graphics-are-shown-as-drawn",
            "palette-colours-are-shown-as-drawn",
            "high-colours-are-shown-as-drawn",
            "three-ways-to-reset-are-reboots-for-xl",
            "a-crash-is-seen-by-xl",
            "a-guest-at-work-can-be-destroyed",
            "a-hundred-thousand-random-accesses-do-no-harm",
            "an-idle-guest-costs-the-stub-domain-nothing",
            "minios-runs-in-4-mib",
            "minios-runs-in-16-mib",
            "minios-runs-in-64-mib",
            "minios-runs-in-512-mib",
            "minios-says-why-it-dies-and-crashes-the-domain",
            "minios-uses-the-devices-that-dom0-serves",
            "an-unknown-argument-is-refused",
            "a-cirrus-card-is-refused",
            "an-emulated-network-card-is-refused",
            "an-unknown-word-of-the-command-line-is-refused",
            "a-backend-that-never-connects-is-refused",
            "a-backend-that-closes-is-refused",
            "a-malformed-device-number-is-refused",
            "a-missing-argument-number-is-refused",
            "too-little-memory-is-refused",
            "a-domain-without-target-is-refused",
            "a-domain-without-privilege-is-refused",
            "debian-runs-from-the-emulated-disk",
            "debian-shows-a-console-in-graphics",
        ],
        "nobody has seen it pass on this release yet",
    ),
];

/// Why a case is not run on a release of Xen, if it is not.
pub fn not_yet(xen: &str, case: &str) -> Option<&'static str> {
    NOT_YET.iter().find(|(release, cases, _)| *release == xen && cases.contains(&case)).map(|(_, _, why)| *why)
}

/// Every case.
pub fn all() -> impl Iterator<Item = &'static Case> {
    SUITES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_cases_have_one_name() {
        let mut names: Vec<_> = super::all().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
