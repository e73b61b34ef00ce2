//! Plays what the fuzzers found worth keeping: `tests/corpus/TARGET.tar.gz` has an input in each file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use qtest::fuzz::{TARGETS, play};

#[test]
fn every_target_gets_over_its_corpus() {
    for target in TARGETS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format!("{}.tar.gz", target.name));
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut count = 0;
        for entry in tar::Archive::new(GzDecoder::new(file)).entries().unwrap() {
            let mut bytes = Vec::new();
            entry.unwrap().read_to_end(&mut bytes).unwrap();
            play(&target, &bytes);
            count += 1;
        }
        assert!(count >= 10, "there are only {count} inputs in {}", path.display());
    }
}
