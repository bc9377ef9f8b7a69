//! A new version proves that it is the one that was deployed.

use super::*;
use crate::scripted::{Hook, Scene};

/// The usual deployment. Its probe expects this of the answer.
fn expecting(expect: serde_json::Value) -> Deployment {
    let mut deployment = deployment();
    *deployment.policy.probe.check.expect_mut().unwrap() = serde_json::from_value(expect).unwrap();
    deployment
}

fn with_version() -> Deployment {
    expecting(serde_json::json!({ "headers": { "x-version": "{version}" } }))
}

/// The old process goes on in the slot.
fn provision_does_nothing(scene: &mut Scene) {
    let undo = Hook(Box::new(|scene| drop(scene.running.insert("green".to_owned(), "0".to_owned()))));
    scene.after_command = Some(("provision green".to_owned(), undo));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_still_runs_another_version_gets_no_traffic() {
    let world = Arc::new(Scripted::new());
    provision_does_nothing(&mut world.scene());
    let state = run_this(&world, with_version()).await;
    let said = "slot \"green\" was not healthy within 10s: 127.0.0.1:2: /health/ready: header \"x-version\" is \"0\" \
                instead of \"2\"";
    let cause = state.phase.cause().unwrap_or_else(|| panic!("{state:?}"));
    assert_eq!((state.phase.name(), cause.text.as_str()), ("failed", said));
    assert_eq!(world.scene().moves, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn without_an_expectation_nobody_notices() {
    let world = Arc::new(Scripted::new());
    provision_does_nothing(&mut world.scene());
    assert_eq!(run(&world).await.phase.name(), "completed");
}

#[tokio::test(start_paused = true)]
async fn each_slot_is_asked_for_its_own_version() {
    for expect in [
        serde_json::json!({ "headers": { "x-version": "{version}" } }),
        serde_json::json!({ "body_contains": "version {version} in {slot}" }),
    ] {
        let world = Arc::new(Scripted::new());
        let (driver, _handle, journal) = begin_this(&world, expecting(expect));
        assert_eq!(driver.run().await.unwrap().phase.name(), "completed");
        let records = journal.records();
        assert!(!records.iter().any(|(_, message)| message.contains("no longer healthy")), "{records:?}");
    }
}

/// The old slot is a way back only while it answers with the version that it had.
#[tokio::test(start_paused = true)]
async fn the_way_back_is_the_version_that_users_had() {
    for (previous, running, end) in
        [("1", "1", "rolled_back"), ("1", "7", "stuck"), ("", "1", "rolled_back"), ("", "7", "rolled_back")]
    {
        let world = Arc::new(Scripted::new());
        world.scene().bad_version = Some("2".to_owned());
        let deployment = Deployment { previous: previous.to_owned(), ..with_version() };
        let (driver, mut handle, _) = begin_this(&world, deployment);
        let driving = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        world.scene().running.insert("blue".to_owned(), running.to_owned());
        let state = driving.await.unwrap().unwrap();
        assert_eq!(state.phase.name(), end, "{previous:?} is {running}: {state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_slot_with_another_version_is_no_way_back() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin_this(&world, with_version());
    let driving = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
    world.scene().running.insert("blue".to_owned(), "7".to_owned());
    driving.await.unwrap().unwrap();
    let said = "slot \"blue\" is no longer healthy, so there is no way back: 127.0.0.1:1: /health/ready: header \"x-version\" \
                is \"7\" instead of \"1\"";
    assert!(journal.records().iter().any(|(_, message)| message == said), "{:?}", journal.records());
}

#[tokio::test(start_paused = true)]
async fn smoke_tests_know_the_version() {
    let smoke = |expect: &str| {
        let mut deployment = Deployment { version: "2/a".to_owned(), ..deployment() };
        let test = serde_json::json!({
            "name": "it is this one", "method": "POST", "path": "/at/{slot}?version={version}", "body": "{\"v\":\"{version}\"}",
            "headers": { "x-wanted": "{version}" }, "expect": { "body_contains": expect },
        });
        deployment.policy.smoke = vec![serde_json::from_value(test).unwrap()];
        deployment
    };
    let good = "version {version} in {slot}, asked for POST /at/green?version=2%2Fa 2/a {\"v\":\"2/a\"}";
    for (expect, end) in [(good, "completed"), ("version {version}0", "failed")] {
        let world = Arc::new(Scripted::new());
        assert_eq!(run_this(&world, smoke(expect)).await.phase.name(), end, "{expect}");
    }
}
