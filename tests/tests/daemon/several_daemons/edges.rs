//! The daemon that leads fails while it moves three nginx, each on a host of its own. The next leader takes over with all three: they
//! are on the same slot in the end, and users do not see both versions for longer than a lease before the commit and a repair after it.

use super::bench::{Version, When};
use super::fault::{Fault, LeaderFault};
use super::lanes::{Setup, Wanted, run};

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
    let wanted =
        (Fault::Leader(LeaderFault::ChangesAreLate), Version::Good, When::Label("switching, storing"));
    let rows = run(Setup::ThreeSockets, 1, vec![wanted]);
    assert_eq!(rows.iter().map(|row| row.late).sum::<usize>(), 3, "a late change on each edge is refused");
}

#[test]
#[ignore = "takes some minutes"]
fn the_next_leader_takes_over_with_all_edges_in_each_phase() {
    let network = [LeaderFault::Dies, LeaderFault::Sleeps, LeaderFault::IsCutOff, LeaderFault::LosesStore];
    run(Setup::ThreeEdges, 3, network.into_iter().flat_map(in_each_moment).collect());
    run(Setup::ThreeSockets, 3, LeaderFault::ALL.into_iter().flat_map(in_each_moment).collect());
}
