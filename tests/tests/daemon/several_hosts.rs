//! One deployment over three hosts, one of which fails. Each host has a real nginx in a network namespace of its own.
//!
//! In the end all hosts have the same version, of all groups. Users have not seen both for longer than the lease before the commit,
//! and for longer than one repair after it.

mod bench;
mod together;

use cutover_tests::Network;

use bench::{Bench, FAILURES, Failure, Mixed, PHASES, start_hosts, start_relay};

fn run(groups: &'static [&'static str], cases: &[(Failure, &str)]) {
    Network::run(async |network| {
        let Some((hosts, _api)) = start_hosts(network).await else { return };
        let relay = start_relay(&hosts).await;
        let mut bench = Bench::start(&hosts, &relay, groups, str::to_owned).await;
        for (failure, phase) in cases {
            match bench.fail_in(*failure, phase).await {
                Some((outcome, Mixed { before_commit, after_commit, by_host })) => {
                    let within: Vec<String> = by_host.values().map(|time| format!("{time:?}")).collect();
                    println!(
                        "| {failure:?} | {phase} | {outcome} | {before_commit:?} | {after_commit:?} | {} |",
                        within.join(", ")
                    );
                }
                None => println!("| {failure:?} | {phase} | the phase was over | | | |"),
            }
        }
    });
}

#[test]
fn a_host_fails() {
    run(
        &["shop"],
        &[
            (Failure::MovedByHand, "provisioning"),
            (Failure::MovedByHand, "soaking"),
            (Failure::Killed, "soaking"),
            (Failure::CutOff, "soaking"),
            (Failure::Paused, "switching"),
            (Failure::Slow, "provisioning"),
            (Failure::MovedByHand, "warm"),
        ],
    );
}

#[test]
fn a_host_fails_while_two_groups_move_together() {
    run(&["shop", "api"], &[(Failure::CutOff, "switching"), (Failure::Killed, "soaking")]);
}

fn each_failure_in_each_phase(groups: &'static [&'static str]) {
    let cases: Vec<_> = FAILURES.iter().flat_map(|failure| PHASES.map(|phase| (*failure, phase))).collect();
    run(groups, &cases);
}

#[test]
#[ignore = "takes minutes: each failure in each phase"]
fn a_host_fails_in_each_phase() {
    each_failure_in_each_phase(&["shop"]);
}

#[test]
#[ignore = "takes minutes: each failure in each phase"]
fn a_host_fails_in_each_phase_of_two_groups() {
    each_failure_in_each_phase(&["shop", "api"]);
}
