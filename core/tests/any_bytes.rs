//! What must hold for any bytes: the bodies of the fuzz targets, over their seeds and bytes by chance.

#![cfg(test)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are other crates")]
mod targets;

/// The seeds of a target, each with its name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<_> = files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    assert!(!seeds.is_empty(), "{}", folder.display());
    seeds
}

fn run_seeds(target: &str, run: fn(&[u8])) {
    for (name, bytes) in seeds(target) {
        println!("{name}");
        run(&bytes);
    }
}

#[test]
fn seeds_of_the_admin_api() {
    run_seeds("admin", targets::admin);
}

#[test]
fn seeds_of_the_state_file() {
    run_seeds("state_file", targets::state_file);
}

#[test]
fn seeds_of_events() {
    run_seeds("event", targets::event);
}

#[test]
fn seeds_of_routes() {
    run_seeds("route", targets::route);
}

/// A seed with some bytes replaced, and cut off.
fn near_a_seed(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(seeds), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, end, cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    // What is found becomes a seed.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_admin_call(bytes in prop_oneof![bytes(200), near_a_seed("admin")]) {
        targets::admin(&bytes);
    }

    #[test]
    fn any_state_file(bytes in prop_oneof![bytes(1200), near_a_seed("state_file")]) {
        targets::state_file(&bytes);
    }

    #[test]
    fn any_event(bytes in prop_oneof![bytes(300), near_a_seed("event")]) {
        targets::event(&bytes);
    }

    #[test]
    fn any_route(bytes in prop_oneof![bytes(9), near_a_seed("route")]) {
        targets::route(&bytes);
    }
}
