//! Runs the bodies of the fuzz targets over their corpora, and over bytes near them.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "fuzz_targets/framer.rs"]
mod framer;

/// Longer files are read whole by the tests of the corpus itself.
const BYTES_MAX: usize = 8 * 1024;

fn inputs() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("tests/xmpp-bad"), root.join("../../fuzz/corpus/framer")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).filter(|it| it.len() < BYTES_MAX).collect()
}

#[test]
fn the_corpus_of_the_framer_holds() {
    let inputs = inputs();
    assert!(inputs.len() > 150, "the corpora are whole");
    for input in inputs {
        framer::check(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn bytes_near_the_corpus_of_the_framer_hold(
        one in proptest::sample::select(inputs()),
        other in proptest::sample::select(inputs()),
        (from, to, byte) in any::<(Index, Index, u8)>(),
    ) {
        let mut spliced = one[..from.index(one.len() + 1)].to_vec();
        spliced.push(byte);
        spliced.extend_from_slice(&other[to.index(other.len() + 1)..]);
        framer::check(&spliced);
    }
}
