//! The daemon that leads dies, sleeps or is cut off in a deployment, and the other one goes on. There is one outcome, and no
//! change of the first daemon counts after that.

use std::time::{Duration, Instant};

use cutover_core::api::Group;
use cutover_tests::two_daemons::{GROUP, WITHOUT_DRIVER};
use cutover_tests::{Action, TwoDaemons, wait};

/// What happens to the daemon that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL.
    Dies,
    /// SIGSTOP, and SIGCONT after another daemon leads.
    Sleeps,
    /// It does not reach etcd any more. It still reaches nginx.
    IsCutOff,
}

/// How long a deployment may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The id and the phase of the deployment, from a daemon that answers.
fn seen(pair: &TwoDaemons, daemon: usize) -> (String, String) {
    let status = pair.daemons[daemon].status("shop").unwrap_or_default();
    let text = |pointer: &str| {
        status.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    (text("/deployment/deployment"), text("/deployment/phase"))
}

/// Lets the fault happen once the deployment is in this phase. Returns false if the deployment was over before.
async fn happens(fault: Fault, phase: &str, is_bad: bool) -> bool {
    let mut pair = TwoDaemons::start(1, GROUP).await.unwrap();
    let users = pair.users().unwrap();
    users.more_good(20).await.unwrap();
    // On a busy machine the lead may have changed by itself.
    let first = pair.until_leader().await.unwrap();
    let other = 1 - first;
    pair.daemons[first].deploy_detached("shop", "2").unwrap();
    if is_bad {
        let is_on = |group: &Group| group.route.active == "green";
        pair.edge.until("the switch", is_on).await.unwrap();
        pair.edge.green.on("/", Action::status(500));
    }
    // The daemon that does not lead reads it from etcd.
    let mut found = (String::new(), String::new());
    let reached = wait::until_within(LIMIT, phase, || {
        found = seen(&pair, other);
        found.1 == phase || ["completed", "rolled_back", "failed", "stuck"].contains(&found.1.as_str())
    });
    reached.await.unwrap();
    let (id, now) = found;
    if now != phase {
        return false;
    }
    let what = format!("{fault:?} in {phase}, bad: {is_bad}");
    let begun = Instant::now();
    match fault {
        Fault::Dies => pair.daemons[first].kill().unwrap(),
        Fault::Sleeps => pair.pause(first, true).unwrap(),
        Fault::IsCutOff => pair.cut_off(first, true).unwrap(),
    }
    let next = wait::until_within(WITHOUT_DRIVER, "the other daemon to lead", || {
        let status = pair.daemons[other].status("shop").unwrap_or_default();
        status.pointer("/leader/me") == Some(&true.into())
    });
    next.await.unwrap();
    let without = begun.elapsed();
    match fault {
        Fault::Dies => {}
        Fault::Sleeps => pair.pause(first, false).unwrap(),
        Fault::IsCutOff => pair.cut_off(first, false).unwrap(),
    }
    let ended = wait::until_some(LIMIT, "the end", || {
        pair.daemons[other].outcome(&id).ok().flatten().filter(|_| {
            // The warm window counts as completed. Wait until the old slot would be stopped.
            ["completed", "rolled_back", "failed", "stuck"].contains(&seen(&pair, other).1.as_str())
        })
    });
    let outcome =
        ended.await.unwrap_or_else(|error| panic!("{what}: {error}\n{}", pair.daemons[other].log()));
    let group = pair.edge.group().await.unwrap();
    let active = if is_bad { "blue" } else { "green" };
    let expected = if is_bad { "rolled_back" } else { "completed" };
    assert_eq!(
        (outcome.as_str(), group.route.active.as_str()),
        (expected, active),
        "{what}\n{}",
        pair.daemons[other].log()
    );
    assert!(group.route.trial.is_none() && group.route.split.is_none(), "{what}: {:?}", group.route);
    if fault != Fault::Dies {
        // It follows now, and agrees.
        let agrees = wait::until("the first daemon to follow", || {
            let status = pair.daemons[first].status("shop").unwrap_or_default();
            status.pointer("/leader/me") == Some(&false.into()) && seen(&pair, first).0 == id
        });
        agrees.await.unwrap();
        assert_eq!(pair.daemons[first].outcome(&id).unwrap().as_deref(), Some(expected), "{what}");
        let refused = pair.daemons[first].cli(&["switch", "shop", "--to", "blue"]).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("this daemon does not lead") && said.contains("in epoch"), "{said}");
        let after = pair.edge.group().await.unwrap().route;
        assert_eq!((after.active, after.generation), (group.route.active, group.route.generation), "{what}");
    }
    if !is_bad {
        assert_eq!(users.answers().1, 0, "{what}: no user has seen it");
    }
    println!("{what}: {outcome}, without a driver for {without:?}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_in_the_soak() {
    assert!(happens(Fault::Dies, "soaking", false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_sleeps_in_the_soak() {
    assert!(happens(Fault::Sleeps, "soaking", false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_cut_off_in_the_soak() {
    assert!(happens(Fault::IsCutOff, "soaking", false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_cut_off_in_the_warm_window() {
    assert!(happens(Fault::IsCutOff, "warm", false).await);
}

async fn in_each_phase(fault: Fault) {
    let mut reached = 0;
    for (phase, is_bad) in [
        ("provisioning", false),
        ("probing", false),
        ("switching", false),
        ("soaking", false),
        ("confirming", false),
        ("draining", false),
        ("warm", false),
        ("soaking", true),
        ("rolling_back", true),
    ] {
        reached += u32::from(happens(fault, phase, is_bad).await);
    }
    assert!(reached >= 3, "short phases are missed at times: {reached}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes"]
async fn the_leader_dies_in_each_phase() {
    in_each_phase(Fault::Dies).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes"]
async fn the_leader_sleeps_in_each_phase() {
    in_each_phase(Fault::Sleeps).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes"]
async fn the_leader_is_cut_off_in_each_phase() {
    in_each_phase(Fault::IsCutOff).await;
}
