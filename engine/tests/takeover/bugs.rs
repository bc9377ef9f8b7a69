//! With a part of the protocol left out, the model finds what goes wrong.

use super::faults::Faults;
use super::properties::{ALL, GOES_ON, IN_USE, LEASED, ONE_DRIVER, ONE_RECORD, PROVEN, broken};
use super::{Bug, Takeover, explore};

/// What is left out, with how many edges and faults it is found, and what goes wrong among other things.
fn finds(bug: Bug, edges: usize, faults: Faults, property: &str) {
    let (_, found) = explore(Takeover { edges, faults, bug: Some(bug) });
    let broken = broken(&found);
    println!("{bug:?}: {broken:?}");
    assert!(broken.contains(&property), "{bug:?}: {broken:?}");
    // The same with the whole protocol, so it is what is left out that does it.
    let (_, found) = explore(Takeover { edges, faults, bug: None });
    assert_eq!(super::properties::broken(&found), [""; 0]);
}

#[test]
fn no_fence_on_the_way_back() {
    finds(Bug::NoFence, 1, Faults { cut: 1, ..Faults::default() }, PROVEN);
}

#[test]
fn no_epoch_in_the_transaction() {
    finds(Bug::NoEpoch, 1, Faults { pauses: 1, ..Faults::default() }, ONE_RECORD);
}

#[test]
fn no_expected_generation() {
    finds(Bug::NoExpectedGeneration, 1, Faults { crashes: 1, sick: 1, ..Faults::default() }, ONE_DRIVER);
}

#[test]
fn no_lease() {
    finds(Bug::NoLease, 2, Faults { cut: 1, ..Faults::default() }, LEASED);
}

#[test]
fn confirmed_before_the_record() {
    finds(Bug::ConfirmsBeforeRecord, 2, Faults { crashes: 1, ..Faults::default() }, LEASED);
}

#[test]
fn a_part_counts_as_all() {
    finds(Bug::PartIsAll, 2, Faults { cut: 1, ..Faults::default() }, ALL);
}

#[test]
fn no_fence_at_the_takeover() {
    finds(Bug::NoTakeoverFence, 1, Faults { crashes: 1, sick: 1, ..Faults::default() }, GOES_ON);
}

#[test]
fn no_look_at_the_lease_after_a_pause() {
    finds(Bug::NoLeaseCheck, 1, Faults { pauses: 1, sick: 1, ..Faults::default() }, ONE_DRIVER);
}

#[test]
fn no_fence_before_a_slot_is_stopped() {
    finds(Bug::NoClosing, 2, Faults { cut: 1, ..Faults::default() }, PROVEN);
}

#[test]
fn a_slot_is_stopped_unseen() {
    finds(Bug::StopsUnseen, 2, Faults { cut: 1, ..Faults::default() }, IN_USE);
}
