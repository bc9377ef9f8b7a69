//! The daemon that leads fails while it moves three nginx, each on a host of its own. The next leader takes over with all three:
//! they are on the same slot in the end, and users do not see both versions for longer than a lease before the commit and a
//! repair after it.

use std::time::Duration;

use super::bench::Version;
use super::fault::{Fault, LeaderFault};
use super::lanes::{Setup, Wanted, run};
use super::row::When;

/// The moments at which the edges move, or are about to.
const MOMENTS: [(Version, &str); 5] = [
    (Version::Good, "switching, storing"),
    (Version::Good, "soaking"),
    (Version::Good, "confirming"),
    (Version::Bad, "rolling_back, switch back"),
    (Version::Bad, "rolling_back, drain"),
];

fn in_each_moment(fault: LeaderFault) -> impl Iterator<Item = Wanted> {
    MOMENTS.into_iter().map(move |(version, label)| (Fault::Leader(fault), version, When::Label(label)))
}

#[test]
fn the_next_leader_takes_over_with_all_edges() {
    let leader = Fault::Leader;
    let rows = [
        (leader(LeaderFault::Dies), Version::Good, When::Label("switching, storing")),
        (leader(LeaderFault::IsCutOff), Version::Bad, When::Label("rolling_back, switch back")),
    ];
    assert_eq!(run(Setup::ThreeEdges, 1, rows.into()).len(), 2);
}

#[test]
fn a_late_switch_moves_no_edge() {
    let storing = |fault| (Fault::Leader(fault), Version::Good, When::Label("switching, storing"));
    let rows = run(
        Setup::ThreeSockets,
        1,
        vec![storing(LeaderFault::ChangesAreLate), storing(LeaderFault::SomeAreLate)],
    );
    let late: Vec<usize> = rows.iter().map(|row| row.late).collect();
    assert_eq!(late, [3, 1], "each late change is refused");
    assert!(rows[1].mixed.before_commit > Duration::ZERO, "two edges had the new version, and one had not");
}

#[test]
#[ignore = "takes some minutes"]
fn the_next_leader_takes_over_with_all_edges_in_each_phase() {
    let network = [LeaderFault::Dies, LeaderFault::Sleeps, LeaderFault::IsCutOff, LeaderFault::LosesStore];
    run(Setup::ThreeEdges, 3, network.into_iter().flat_map(in_each_moment).collect());
    let late =
        [LeaderFault::ChangesAreLate, LeaderFault::SomeAreLate, LeaderFault::Sleeps, LeaderFault::LosesStore];
    run(Setup::ThreeSockets, 3, late.into_iter().flat_map(in_each_moment).collect());
}
