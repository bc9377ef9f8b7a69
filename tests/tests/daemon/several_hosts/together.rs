//! Two groups on three hosts under load: both move everywhere at the same moment, or none.

use std::net::SocketAddr;
use std::time::Duration;

use cutover_tests::{Action, Network};

use super::bench::{Bench, outcomes, start_hosts, start_relay};
use crate::together::users::{GROUPS, Users, longest, moments, moments_by_edge};

/// A machine that runs tests may stop a process for this long between changes that were sent at the same moment.
const SLOW: Duration = Duration::from_secs(2);

/// Between two requests of a user. Six users without a pause would leave no processor to the daemon.
const PAUSE: Duration = Duration::from_millis(5);

/// If the nginx of a host takes one group back by its guard, all follow after the next reading and the probes of the old version.
const GUARDED: Duration = Duration::from_secs(15);

/// Deploys both groups under load on all hosts. Returns what the users have seen.
fn deploy(bad: bool) {
    Network::run(async |network| {
        let Some((hosts, api)) = start_hosts(network).await else { return };
        let relay = start_relay(&hosts).await;
        let judged = "min_requests = 5\nmax_error_ratio = 0.01";
        // No host fails here, so a busy machine must not look like one that does.
        let change = |group: &str| {
            let group = group.replace("on_inconclusive = \"promote\"", judged);
            group
                .replace("patience = \"1500ms\"", "patience = \"10s\"")
                .replace("lease = \"3s\"", "lease = \"30s\"")
        };
        let mut bench = Bench::start(&hosts, &relay, &GROUPS, change).await;
        if bad {
            api.green.on("/api", Action::status(500));
        }
        let edges: Vec<SocketAddr> = hosts.all().iter().map(|host| host.main()).collect();
        let users = Users::start(&edges, PAUSE);
        users.have(20).await;
        let deployed = bench.deploy().finish().await.unwrap();
        let (to, code, outcome): (&[&str], _, _) = match bad {
            false => (&["green"], 0, "completed"),
            true => (&["green", "blue"], 4, "rolled_back"),
        };
        let outcomes = outcomes(&deployed);
        assert_eq!(deployed.code, code, "{deployed:#?}");
        assert!(outcomes.len() == 2 && outcomes.values().all(|one| one == outcome), "{deployed:#?}");
        assert_eq!(Vec::from_iter(bench.actives().await), to[to.len() - 1..], "{deployed:#?}");
        let all = users.stop().await;
        let failed = all.iter().filter(|seen| seen.status != 200);
        let foreign: Vec<_> =
            failed.filter(|seen| !bad || (seen.group, &*seen.slot) != (1, "green")).collect();
        assert!(foreign.is_empty(), "{} of {}: {:?}", foreign.len(), all.len(), foreign[0]);
        let on_some = moments(&all);
        println!("{} answers; two versions on some host for {on_some:?}", all.len());
        for (edge, moments) in moments_by_edge(&all) {
            println!("host {}: two versions for {moments:?}", edge + 1);
        }
        assert!(longest(&on_some) < if bad { GUARDED } else { SLOW }, "{on_some:?}");
    });
}

#[test]
fn both_groups_move_on_all_hosts_under_load() {
    deploy(false);
}

#[test]
fn a_bad_group_takes_both_back_on_all_hosts() {
    deploy(true);
}
