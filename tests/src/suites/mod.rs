//! The whole-system cases, by what they are about. A new suite is a file here and a line in `SUITES`.

use crate::suite::Case;

mod boot;
mod debian;
mod demo;
mod disk;
mod ends;
mod everything;
mod hostile;
mod input;
mod machine;
mod minios;
mod network;
mod own_screen;
mod refusals;
mod screen;
mod systems;
mod traditional;

/// Every suite, in the order in which they run. After the first, those with long cases come before those with short ones, so
/// that testbeds side by side are through with theirs at about the same time.
const SUITES: &[&[Case]] = &[
    boot::CASES,
    everything::CASES,
    own_screen::CASES,
    systems::CASES,
    debian::CASES,
    network::CASES,
    ends::CASES,
    demo::CASES,
    hostile::CASES,
    traditional::CASES,
    screen::CASES,
    input::CASES,
    disk::CASES,
    machine::CASES,
    refusals::CASES,
    minios::CASES,
];

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
