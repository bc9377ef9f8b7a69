//! Promise 5: kill the daemon at any instant of a deployment; once it is back the deployment ends, and what the outcome
//! says is what has the traffic and what the database looks like.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use cutover_tests::site::{GROUP, Release, Settings, Site, slot};

/// Kills the daemon `delay` after the phase was announced.
async fn kill_in(phase: &str, delay: Duration, fault: Option<&str>) {
    let mut site = Site::start(Settings::default()).await.unwrap();
    let before = site.schema().unwrap();
    Release::new("2.0.0", 2, fault).publish(site.prefix().unwrap()).unwrap();
    let traffic = site.traffic().await.unwrap();

    let daemon = site.daemon().unwrap();
    let mut deployment = daemon.begin_deploy(GROUP, "2.0.0").unwrap();
    deployment.phase(phase).await.unwrap();
    // Not a wait for anything: it is the instant that is chosen.
    tokio::time::sleep(delay).await;
    daemon.kill().unwrap();
    traffic.answers(100).await.unwrap();
    let daemon = site.daemon().unwrap();
    daemon.resume().await.unwrap();
    let ended = daemon.follow(deployment).await.unwrap();

    let seen = traffic.stop().await.unwrap();
    let what = format!("killed while {phase}: {} {}", ended.outcome, seen.report);
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
}

macro_rules! killed {
    ($($name:ident: $phase:literal $(+ $delay:literal)? $(, $fault:literal)?;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let delay = Duration::from_millis(0 $(+ $delay)?);
            kill_in($phase, delay, None $(.or(Some($fault)))?).await;
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
    amid_rolling_back: "rolling_back" + 5, "errors-after=30";
    while_a_bad_release_soaks: "soaking" + 100, "errors-after=30";
}
