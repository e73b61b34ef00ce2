//! `cargo xtask tidy`: rules of the project that no compiler knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::paths;

/// Which crates of ours a crate may use, and whether all of it does without unsafe code.
struct Rule {
    folder: &'static str,
    may_use: &'static [&'static str],
    unsafe_code: Unsafe,
}

/// Where unsafe code may stand.
enum Unsafe {
    /// The crate forbids it.
    Forbidden,
    /// In these files and folders of the crate, each of which says why at its top.
    In(&'static [&'static str]),
}

/// Every crate of the workspace.
const RULES: &[Rule] = &[
    Rule { folder: "hypervisor/abi", may_use: &[], unsafe_code: Unsafe::Forbidden },
    Rule { folder: "hypervisor/builder", may_use: &["xen-abi"], unsafe_code: Unsafe::Forbidden },
    Rule { folder: "hypervisor/core", may_use: &["domain-builder", "xen-abi"], unsafe_code: Unsafe::Forbidden },
    Rule {
        folder: "hypervisor",
        may_use: &["domain-builder", "hypervisor-core", "xen-abi"],
        unsafe_code: Unsafe::In(&[
            "boot.rs",
            "cpu.rs",
            "entry.rs",
            "heap.rs",
            "main.rs",
            "multiboot.rs",
            "physical.rs",
            "port.rs",
            "run.rs",
            "runtime.rs",
            "timer.rs",
        ]),
    },
    Rule { folder: "devmodel", may_use: &[], unsafe_code: Unsafe::Forbidden },
    Rule {
        folder: "miniOS",
        may_use: &["xen-abi"],
        unsafe_code: Unsafe::In(&[
            "arch/",
            "hypercall/",
            "boot.rs",
            "frame.rs",
            "heap.rs",
            "ioreq.rs",
            "panic.rs",
            "shared.rs",
            "virtio/raw.rs",
        ]),
    },
    Rule { folder: "stubdom/rfb", may_use: &[], unsafe_code: Unsafe::Forbidden },
    Rule { folder: "stubdom/web", may_use: &[], unsafe_code: Unsafe::Forbidden },
    Rule { folder: "stubdom/xenstored", may_use: &["xen-abi"], unsafe_code: Unsafe::Forbidden },
    Rule {
        folder: "stubdom",
        may_use: &["devmodel", "domain-builder", "minios", "rfb", "web", "xen-abi", "xenstored"],
        unsafe_code: Unsafe::In(&["main.rs"]),
    },
    Rule {
        folder: "tests/guests",
        may_use: &[],
        unsafe_code: Unsafe::In(&[
            "boot.rs",
            "cpu.rs",
            "interrupts.rs",
            "memory.rs",
            "port.rs",
            "power.rs",
            "bios.rs",
            "smp.rs",
        ]),
    },
    Rule { folder: "tests/pv", may_use: &["minios"], unsafe_code: Unsafe::In(&["main.rs"]) },
    Rule {
        folder: "tests/qtest",
        may_use: &["devmodel", "rfb", "web", "xen-abi", "xenstored"],
        unsafe_code: Unsafe::Forbidden,
    },
    Rule { folder: "tests/agent", may_use: &[], unsafe_code: Unsafe::Forbidden },
    Rule { folder: "tests", may_use: &["guests", "web"], unsafe_code: Unsafe::Forbidden },
    Rule { folder: "xtask", may_use: &["tests", "qtest"], unsafe_code: Unsafe::Forbidden },
];

/// Names of our packages, as they stand in manifests.
const OURS: &[&str] = &[
    "xen-abi",
    "domain-builder",
    "hypervisor-core",
    "hypervisor",
    "devmodel",
    "minios",
    "rfb",
    "web",
    "xenstored",
    "stubdom",
    "guests",
    "pv-tests",
    "qtest",
    "agent",
    "tests",
    "xtask",
];

/// What may lie in the top folder.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "devmodel",
    "hypervisor",
    "miniOS",
    "protocol.md",
    "stubdom",
    "target",
    "tests",
    "xtask",
];

/// What is left behind in code when something is unfinished.
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

pub(crate) fn run() -> Result<ExitCode> {
    let problems = check(&paths::project())?;
    for problem in &problems {
        println!("{problem}");
    }
    println!("{} problems", problems.len());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(project: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let files = files_in_git(project)?;
    let tops: BTreeSet<_> = files.iter().filter_map(|file| file.components().next()).collect();
    for top in tops {
        let name = top.as_os_str().to_string_lossy();
        if !name.starts_with('.') && name != "rustfmt.toml" && !TOP.contains(&name.as_ref()) {
            problems.push(format!("{name}: the top folder has nothing but {}", TOP.join(" ")));
        }
    }
    let members = members(&fs::read_to_string(project.join("Cargo.toml"))?);
    for member in &members {
        let Some(rule) = RULES.iter().find(|rule| rule.folder == member) else {
            problems.push(format!("{member}: a new crate needs a rule in xtask/src/tidy.rs"));
            continue;
        };
        let manifest = fs::read_to_string(project.join(member).join("Cargo.toml"))?;
        for used in dependencies(&manifest).filter(|used| OURS.contains(used) && !rule.may_use.contains(used)) {
            problems.push(format!("{member}/Cargo.toml: it may not depend on {used}"));
        }
    }
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        // A file that was just deleted is still listed.
        let Ok(text) = fs::read_to_string(project.join(file)) else { continue };
        problems.extend(check_file(file, &text));
    }
    Ok(problems)
}

fn check_file(file: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let is_this_file = file.ends_with("xtask/src/tidy.rs");
    for (number, line) in text.lines().enumerate() {
        let leftover = LEFTOVERS
            .iter()
            .find(|word| line.split(|letter: char| !letter.is_alphanumeric()).any(|part| part == **word));
        if let Some(word) = leftover.filter(|_| !is_this_file) {
            problems.push(format!(
                "{}:{}: {word}: finish it, or list it under \"Not modelled\"",
                file.display(),
                number + 1
            ));
        }
    }
    // The longest folder counts: tests/guests is a crate inside of another.
    let rule = RULES.iter().filter(|rule| file.starts_with(rule.folder)).max_by_key(|rule| rule.folder.len());
    let Some(rule) = rule else { return problems };
    let Ok(inside) = file.strip_prefix(Path::new(rule.folder).join("src")) else { return problems };
    let is_root = inside == Path::new("lib.rs") || (inside == Path::new("main.rs") && rule.folder == "xtask");
    match rule.unsafe_code {
        Unsafe::Forbidden if is_root && !text.contains("#![forbid(unsafe_code)]") => {
            problems.push(format!("{}: it has to forbid unsafe code", file.display()));
        }
        Unsafe::Forbidden => {}
        Unsafe::In(places) => {
            let allows =
                ["#![expect(unsafe_code", "#![allow(unsafe_code", "#[expect(unsafe_code", "#[allow(unsafe_code"]
                    .iter()
                    .any(|attribute| text.contains(attribute));
            let is_listed = places.iter().any(|place| inside.starts_with(place));
            if allows && !is_listed {
                problems.push(format!("{}: it is not among the files that may have unsafe code", file.display()));
            }
            if allows && !text.contains("// UNSAFETY: ") {
                problems.push(format!("{}: unsafe code without // UNSAFETY: and why", file.display()));
            }
        }
    }
    problems
}

/// Everything that is or will be in the repository.
fn files_in_git(project: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .current_dir(project)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a file name is not text")?;
    Ok(names.split_terminator('\0').map(PathBuf::from).collect())
}

/// The folders in `members = [...]`.
fn members(manifest: &str) -> Vec<String> {
    let list = manifest.lines().find_map(|line| line.strip_prefix("members = "));
    let words = list.unwrap_or_default().split(['[', ']', ',', ' ']);
    words.map(|word| word.trim_matches('"').to_owned()).filter(|word| !word.is_empty()).collect()
}

/// The names in `[dependencies]` and `[build-dependencies]`; tests may use more.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            is_inside = matches!(line.trim(), "[dependencies]" | "[build-dependencies]");
            return None;
        }
        line.split(['.', '=', ' ']).next().filter(|name| is_inside && !name.is_empty())
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn unsafe_code_stands_in_listed_files_and_says_why() {
        let text = "// UNSAFETY: it is the hardware.\n#![expect(unsafe_code)]\n";
        assert!(check_file(Path::new("miniOS/src/arch/x86_64/boot.rs"), text).is_empty());
        assert_eq!(check_file(Path::new("miniOS/src/log.rs"), text).len(), 1);
        assert_eq!(check_file(Path::new("miniOS/src/frame.rs"), "#![expect(unsafe_code)]").len(), 1);
        assert_eq!(check_file(Path::new("devmodel/src/lib.rs"), "").len(), 1);
    }

    #[test]
    fn leftovers_are_words() {
        assert_eq!(check_file(Path::new("a.rs"), concat!("// TO", "DO: later")).len(), 1);
        assert!(check_file(Path::new("a.rs"), concat!("let TO", "DOS = 1;")).is_empty());
    }

    #[test]
    fn dependencies_are_the_keys_of_two_tables() {
        let manifest =
            "[package]\nname = \"a\"\n[dependencies]\nlog.workspace = true\ntests = { path = \"t\" }\n[lints]\nb = 1\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["log", "tests"]);
        assert_eq!(members("members = [\"a\", \"b/c\"]\n"), ["a", "b/c"]);
    }
}
