//! The daemon that leads fails during a deployment of two groups that move together. Both have the same outcome.

use super::bench::Version;
use super::fault::{Fault, LeaderFault};
use super::lanes::{Setup, run};
use super::row::When;

#[test]
fn the_next_leader_goes_on_with_both_groups() {
    let storing = |fault| (Fault::Leader(fault), Version::Good, When::Label("switching, storing"));
    let rows = run(Setup::TwoGroups, 1, vec![storing(LeaderFault::Dies), storing(LeaderFault::SomeAreLate)]);
    assert_eq!(rows.len(), 2);
}

#[test]
#[ignore = "takes some minutes"]
fn the_leader_of_two_groups_fails_after_each_record() {
    let without = Version::ALL.map(|version| (Fault::Nothing, version, When::Record(1)));
    let rows = run(Setup::TwoGroups, 1, without.into());
    let mut wanted = Vec::new();
    for fault in [LeaderFault::Dies, LeaderFault::SomeAreLate] {
        for row in &rows {
            let records = 1..=row.records.len();
            wanted.extend(records.map(|record| (Fault::Leader(fault), row.version, When::Record(record))));
        }
    }
    run(Setup::TwoGroups, 4, wanted);
}
