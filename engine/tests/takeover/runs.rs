//! The runs without a bug, and the number of situations that each explores.
//!
//! The numbers are in docs/takeover-model.md. A run fails if its number is another one.

use std::time::Instant;

use super::faults::Faults;
use super::properties::{broken, completes};
use super::{Takeover, explore};

const NO_FAULT: Faults =
    Faults { lost: 0, doubled: 0, cut: 0, crashes: 0, pauses: 0, lapses: 0, sick: 0, renewals: 0 };

/// Explores, and compares the number of situations with the table of the docs.
fn run(edges: usize, faults: Faults) {
    let begin = Instant::now();
    let (situations, found) = explore(Takeover { edges, faults, bug: None });
    let row = format!("| {edges} | {faults} | {situations} |");
    println!("{row} {:.1} s", begin.elapsed().as_secs_f64());
    assert_eq!(broken(&found), [""; 0], "{row}\n{found:#?}");
    assert!(completes(&found), "{row}");
    let docs = include_str!("../../../docs/takeover-model.md");
    assert!(docs.lines().any(|line| line == row), "docs/takeover-model.md does not have the row: {row}");
}

macro_rules! runs {
    ($($(#[$attribute:meta])* $name:ident: $edges:literal, $($fault:ident)*;)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            run($edges, Faults { $($fault: 1,)* ..NO_FAULT });
        }
    )*};
}

runs! {
    one_edge_without_faults: 1,;
    one_edge_lost_doubled_crash_sick: 1, lost doubled crashes sick;
    one_edge_cut_lost_crash_sick: 1, cut lost crashes sick;
    one_edge_pause_crash: 1, pauses crashes;
    two_edges_without_faults: 2,;
    two_edges_crash_sick: 2, crashes sick;
    two_edges_lapse_doubled: 2, lapses doubled;
    two_edges_pause_doubled: 2, pauses doubled;
    two_edges_cut_sick_renewal: 2, cut sick renewals;
    two_edges_lost_crash_sick: 2, lost crashes sick;
    two_edges_cut_crash: 2, cut crashes;
    three_edges_without_faults: 3,;
    three_edges_lost_doubled: 3, lost doubled;
    three_edges_cut_sick: 3, cut sick;
    three_edges_crash: 3, crashes;
    three_edges_pause: 3, pauses;
    #[ignore = "minutes, and gigabytes of memory"]
    two_edges_cut_crash_sick: 2, cut crashes sick;
    #[ignore = "minutes, and gigabytes of memory"]
    two_edges_lost_pause_sick: 2, lost pauses sick;
    #[ignore = "minutes, and gigabytes of memory"]
    two_edges_pause_crash: 2, pauses crashes;
    #[ignore = "minutes, and gigabytes of memory"]
    three_edges_lost_crash: 3, lost crashes;
    #[ignore = "minutes, and gigabytes of memory"]
    three_edges_crash_sick: 3, crashes sick;
}
