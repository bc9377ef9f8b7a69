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

/// A deployment of each version without a fault, the good one first.
fn without_fault() -> Vec<Row> {
    let wanted = Version::ALL.map(|version| (Fault::Nothing, version, When::Record(1)));
    run(Setup::OneEdge, 1, wanted.into())
}

/// The rows of a fault: after each record of a deployment.
fn after_each_record(fault: Fault, of: &Row) -> impl Iterator<Item = Wanted> {
    (1..=of.records.len()).map(move |record| (fault, of.version, When::Record(record)))
}

/// The number of records at the beginning of a deployment that are those of another one.
fn in_common(one: &Row, other: &Row) -> usize {
    let labels = one.records.iter().zip(&other.records);
    labels.take_while(|(one, other)| one.label() == other.label()).count()
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
    let all = without_fault();
    let rows = |fault| all.iter().flat_map(move |row| after_each_record(Fault::Leader(fault), row));
    run(Setup::OneEdge, LANES, LeaderFault::ALL.into_iter().flat_map(rows).collect());
}

/// The first records are those of a good deployment, so a bad version begins with the first one that differs.
#[test]
#[ignore = "takes some minutes"]
fn a_member_fails_after_each_record() {
    let all = without_fault();
    let Some((good, _)) = all.split_first() else { return };
    let faults = MemberFault::ALL
        .into_iter()
        .flat_map(|fault| [Member::Leading, Member::Following].map(|member| Fault::Member(fault, member)));
    let rows = |fault| {
        all.iter().flat_map(move |row| {
            let known = if row.version == Version::Good { 0 } else { in_common(good, row) };
            after_each_record(fault, row).skip(known)
        })
    };
    run(Setup::OneEdge, LANES, faults.chain([Fault::NoMajority]).flat_map(rows).collect());
}
