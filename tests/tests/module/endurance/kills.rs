//! Workers, the master, or all of nginx are killed at random moments of a switch, half of the switches on trial. An
//! acknowledged switch is kept. An unacknowledged one has happened or not; the route is never a third one.

use cutover_core::api::RouteChange;
use cutover_tests::load::Report;
use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::seed::SeededRng;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Load, Nginx, wait};

#[derive(Clone, Copy, Debug)]
enum Victim {
    OneWorker,
    AllWorkers,
    Master,
    Everything,
}

const VICTIMS: [Victim; 4] = [Victim::OneWorker, Victim::AllWorkers, Victim::Master, Victim::Everything];

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_during_switches() {
    kill_during_switches(10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn two_hundred_kills_during_switches() {
    kill_during_switches(200).await;
}

async fn kill_during_switches(rounds: u32) {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let mut rng = SeededRng::from_env().unwrap();
    let plan = edge.plan().unwrap().connections(3, 2).pause(std::time::Duration::from_millis(1));
    let load = Load::start(plan, edge.oracle());
    let (mut acknowledged, mut happened) = (0, 0);
    for round in 0..rounds {
        let victim = *rng.pick(&VICTIMS).unwrap();
        let doomed = doomed(&edge.nginx, victim);
        let to = edge.shop.next();
        let lease_ms = (rng.below(2) == 1).then_some(600_000);
        let call = edge.oracle().announce(&to);
        let admin = edge.nginx.admin();
        let switch = tokio::spawn({
            let change = RouteChange { lease_ms, ..RouteChange::to(&to, "a test") };
            async move {
                match admin.change("shop", &change).await {
                    Ok(_) => {
                        call.acknowledge();
                        None
                    }
                    Err(_) => Some(call),
                }
            }
        });
        // The yields choose the moment of the kill; they do not wait for a condition.
        for _ in 0..rng.below(1000) {
            tokio::task::yield_now().await;
        }
        doomed.iter().for_each(|pid| process::signal(*pid, Signal::KILL).unwrap());
        come_back(&edge.nginx, victim, &doomed).await;
        let unacknowledged = switch.await.unwrap();
        let active = edge.nginx.admin().group("shop").await.unwrap().route.active;
        match unacknowledged {
            None => {
                acknowledged += 1;
                assert_eq!(active, to, "round {round}: acknowledged, then {victim:?} was killed");
            }
            Some(call) => {
                happened += u32::from(active == to);
                // An incompletely armed trial will be taken back. This switch fixes the route.
                edge.nginx.admin().switch("shop", &active).await.unwrap();
                call.withdraw(&active);
            }
        }
        load.answers(30).await.unwrap();
    }
    let report = load.stop().await;
    println!(
        "{rounds} kills on {}: {acknowledged} switches acknowledged, {} not, of which {happened} had happened; {} \
         requests, {} lost, {} stale",
        edge.nginx.flavour(),
        rounds - acknowledged,
        report.total,
        report.failed(),
        report.stale
    );
    assert_only_lost(&report);
    edge.until_idle().await.unwrap();
}

/// The processes to kill. The master is first, because it would replace its workers.
fn doomed(nginx: &Nginx, victim: Victim) -> Vec<Pid> {
    let master = nginx.master().unwrap();
    let workers = nginx.workers();
    match victim {
        Victim::OneWorker => workers.into_iter().take(1).collect(),
        Victim::AllWorkers => workers,
        Victim::Master => vec![master],
        Victim::Everything => std::iter::once(master).chain(workers).collect(),
    }
}

/// Waits until nginx has replaced the killed workers, or starts nginx as a supervisor would.
async fn come_back(nginx: &Nginx, victim: Victim, killed: &[Pid]) {
    process::gone(killed, wait::PATIENCE).await.unwrap();
    if let Victim::OneWorker | Victim::AllWorkers = victim {
        nginx.expect_in_log("exited on signal 9");
        let replaced =
            || nginx.workers().len() == 2 && !nginx.workers().iter().any(|pid| killed.contains(pid));
        wait::until("workers in place of the killed ones", replaced).await.unwrap();
        return;
    }
    if let Victim::Master = victim {
        // The workers still serve, the admin API too.
        nginx.admin().group("shop").await.unwrap();
        let orphans = nginx.workers();
        orphans.iter().for_each(|orphan| process::signal(*orphan, Signal::KILL).unwrap());
        process::gone(&orphans, wait::PATIENCE).await.unwrap();
    }
    nginx.start().await.unwrap();
}

/// A kill breaks connections, but every answer must be correct.
fn assert_only_lost(report: &Report) {
    assert_eq!(report.stale, 0, "{report}");
    assert!(report.failures.iter().all(|failure| failure.outcome.status.is_none()), "{report}");
}
