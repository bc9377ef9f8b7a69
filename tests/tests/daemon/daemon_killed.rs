//! Promise 5: the daemon is killed at any point of a deployment and started again. The deployment ends, and its outcome
//! agrees with the active slot and the schema of the database.

use std::time::Duration;

use cutover_tests::site::{GROUP, Release, Settings, Site, slot};

/// When to kill the daemon.
#[derive(Clone, Copy, Debug)]
enum KillPoint<'a> {
    /// This long after the event of a phase.
    Phase(&'a str, Duration),
    /// After this many events.
    Events(usize),
}

/// Deploys, kills the daemon at the point, and starts it again. Returns whether the deployment was still running then.
async fn kill_at(point: KillPoint<'_>, fault: Option<&str>) -> bool {
    let mut site = Site::start(Settings::default()).await.unwrap();
    let before = site.schema().unwrap();
    Release::new("2.0.0", 2, fault).publish(site.prefix().unwrap()).unwrap();
    let traffic = site.traffic().await.unwrap();

    let daemon = site.daemon().unwrap();
    let mut deployment = daemon.begin_deploy(GROUP, "2.0.0").unwrap();
    match point {
        KillPoint::Phase(phase, delay) => {
            deployment.phase(phase).await.unwrap();
            // The delay chooses the point; it does not wait for a condition.
            tokio::time::sleep(delay).await;
        }
        KillPoint::Events(number) => {
            for _ in 0..number {
                if deployment.next().await.unwrap().is_none_or(|event| event.outcome.is_some()) {
                    return false;
                }
            }
        }
    }
    daemon.kill().unwrap();
    traffic.answers(100).await.unwrap();
    let daemon = site.daemon().unwrap();
    daemon.resume().await.unwrap();
    let ended = daemon.follow(deployment).await.unwrap();

    let seen = traffic.stop().await.unwrap();
    let what = format!("killed at {point:?}: {} {}", ended.outcome, seen.report);
    println!("{what}");
    assert_eq!(seen.report.stale, 0, "{what}");
    let active = site.active().await.unwrap();
    let schema = site.schema().unwrap();
    match ended.outcome.as_str() {
        "completed" => {
            assert_eq!((active.as_str(), schema.version), ("green", 2), "{what}");
            assert_eq!(fault, None, "{what}");
        }
        "failed" | "rolled_back" => {
            assert_eq!((active.as_str(), &schema), ("blue", &before), "{what}");
            assert!(slot::running(site.prefix().unwrap(), "green").is_none(), "{what}");
        }
        _ => panic!("{what}"),
    }
    let foreign = seen
        .report
        .failures
        .iter()
        .find(|failure| fault.is_none() || failure.outcome.slot.as_deref() != Some("green"));
    assert!(foreign.is_none(), "{foreign:?} {what}");
    true
}

macro_rules! killed {
    ($($name:ident: $phase:literal $(+ $delay:literal)? $(, $fault:literal)?;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let delay = Duration::from_millis(0 $(+ $delay)?);
            assert!(kill_at(KillPoint::Phase($phase, delay), None $(.or(Some($fault)))?).await);
        }
    )*};
}

killed! {
    while_migrating: "migrating";
    while_provisioning: "provisioning";
    while_probing: "probing";
    while_smoking: "smoking";
    while_switching: "switching";
    just_after_the_switch: "switching" + 3;
    while_soaking: "soaking";
    late_in_the_soak: "soaking" + 1000;
    while_draining: "draining";
    while_rolling_back: "rolling_back", "errors-after=30";
    late_in_the_rollback: "rolling_back" + 5, "errors-after=30";
    while_a_bad_release_soaks: "soaking" + 100, "errors-after=30";
}

async fn kill_after_each_event(fault: Option<&str>) {
    let mut number = 1;
    while kill_at(KillPoint::Events(number), fault).await {
        number += 1;
    }
    assert!(number > 8, "only {number} events");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn after_each_event_of_a_good_release() {
    kill_after_each_event(None).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn after_each_event_of_a_bad_release() {
    kill_after_each_event(Some("errors-after=30")).await;
}
