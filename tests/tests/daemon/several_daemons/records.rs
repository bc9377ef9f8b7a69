//! A fault after each record of the journal: of the daemon that leads, of one member of etcd, or of two.
//!
//! There is one outcome everywhere, no change that arrives late counts, users notice nothing of it, and no deployment is without a
//! driver for longer than the time to live and five seconds. The journal is watched in etcd, so the fault comes milliseconds after
//! the record.

use super::bench::Version;
use super::fault::{Fault, LeaderFault, Member, MemberFault};
use super::lanes::{Setup, Wanted, run};
use super::row::{Row, When};

/// Lanes that two cores bear.
const LANES: usize = 4;

/// The rows of a fault: after each record of each version.
fn after_each_record(fault: Fault, lasts: &[(Version, usize)]) -> impl Iterator<Item = Wanted> {
    lasts.iter().flat_map(move |(version, last)| {
        (1..=*last).map(move |record| (fault, *version, When::Record(record)))
    })
}

/// How many records there are, from deployments without a fault.
fn lasts() -> Vec<(Version, usize)> {
    let wanted = Version::ALL.map(|version| (Fault::Nothing, version, When::Record(1)));
    let rows = run(Setup::OneEdge, 1, wanted.into());
    rows.iter().map(|row: &Row| (row.version, row.records.len())).collect()
}

#[test]
fn a_fault_after_some_records() {
    let leader = Fault::Leader;
    let rows = run(
        Setup::OneEdge,
        2,
        vec![
            (leader(LeaderFault::ChangesAreLate), Version::Good, When::Label("switching, storing")),
            (leader(LeaderFault::Dies), Version::Bad, When::Label("rolling_back, switch back")),
            (leader(LeaderFault::Sleeps), Version::Good, When::Label("soaking")),
            (leader(LeaderFault::LosesStore), Version::Good, When::Label("confirming")),
            (leader(LeaderFault::IsCutOff), Version::FailsBefore, When::Label("tearing_down, revert")),
            (
                Fault::Member(MemberFault::Dies, Member::Leading),
                Version::Good,
                When::Label("switching, storing"),
            ),
        ],
    );
    assert_eq!(rows.len(), 6);
}

#[test]
#[ignore = "takes some minutes"]
fn the_leader_fails_after_each_record() {
    let lasts = lasts();
    let wanted = LeaderFault::ALL.map(|fault| after_each_record(Fault::Leader(fault), &lasts));
    run(Setup::OneEdge, LANES, wanted.into_iter().flatten().collect());
}

#[test]
#[ignore = "takes some minutes"]
fn a_member_fails_after_each_record() {
    let lasts = lasts();
    let faults = MemberFault::ALL
        .into_iter()
        .flat_map(|fault| [Member::Leading, Member::Following].map(|member| Fault::Member(fault, member)));
    let faults = faults.chain([Fault::NoMajority]);
    run(Setup::OneEdge, LANES, faults.flat_map(|fault| after_each_record(fault, &lasts)).collect());
}
