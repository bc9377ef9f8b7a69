//! The command `diagnose` looks at a version that has failed, before it is stopped, and delays no traffic.

use serde_json::json;

use super::*;
use crate::scripted::Scene;

fn diagnosed() -> Deployment {
    let mut deployment = deployment();
    deployment.policy.diagnose = serde_json::from_value(json!({ "command": ["/bin/diagnose"] })).unwrap();
    deployment
}

/// Runs a deployment. Returns its last state, the world, and all messages with the seconds since the begin.
async fn ended(
    deployment: Deployment,
    script: impl FnOnce(&mut Scene),
) -> (State, Arc<Scripted>, Vec<String>) {
    let world = Arc::new(Scripted::new());
    world.scene().outputs.insert("diagnose".to_owned(), "no connection to the database".to_owned());
    script(&mut world.scene());
    let (driver, _handle, journal) = begin_this(&world, deployment);
    let state = driver.run().await.unwrap();
    assert_eq!(world.scene().violations, [""; 0]);
    (state, world, journal.records().into_iter().map(|(_, message)| message).collect())
}

fn place(said: &[String], what: &str) -> usize {
    let place = said.iter().position(|message| message.contains(what));
    place.unwrap_or_else(|| panic!("{what}: {said:#?}"))
}

const NOTE: &str = "diagnose of slot \"green\":\nno connection to the database";

#[tokio::test(start_paused = true)]
async fn before_a_failed_version_is_stopped() {
    let (state, world, said) = ended(diagnosed(), |scene| scene.bad_smoke = true).await;
    assert_eq!(state.phase.name(), "failed");
    let scene = world.scene();
    assert_eq!(
        scene.commands,
        ["migrate green", "provision green", "diagnose green", "revert green", "teardown green"]
    );
    let environment = &scene.environments["diagnose"];
    assert!(environment["CUTOVER_REASON"].starts_with("smoke \"products\" failed"), "{environment:?}");
    assert_eq!(environment["CUTOVER_VERSION"], "2");
    assert!(place(&said, NOTE) < place(&said, "the new version is stopped"));
}

#[tokio::test(start_paused = true)]
async fn after_the_traffic_is_back_and_before_the_stop() {
    let (state, world, said) = ended(diagnosed(), |scene| {
        scene.bad_version = Some("2".to_owned());
        scene.hanging.push("diagnose".to_owned());
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back");
    let commands = world.scene().commands.clone();
    assert_eq!(
        commands,
        ["migrate green", "provision green", "diagnose green", "revert green", "teardown green"]
    );
    let hung = place(&said, "diagnose did not end within 10s and was killed");
    assert!(place(&said, "traffic is back on slot \"blue\"") < hung, "{said:#?}");
    assert!(hung < place(&said, "the new version is stopped"));
}

/// Without a command that stops it, the version is left running, and the deployment ends at once.
#[tokio::test(start_paused = true)]
async fn of_a_version_that_is_left_running() {
    let mut deployment = diagnosed();
    deployment.policy.decommission = None;
    deployment.policy.migrate = None;
    (deployment.plan.decommission, deployment.plan.migrate) = (false, false);
    let (state, _, said) = ended(deployment.clone(), |scene| scene.bad_smoke = true).await;
    assert_eq!(state.phase.name(), "failed");
    assert!(place(&said, NOTE) < place(&said, "smoke \"products\" failed"), "{said:#?}");
    let (state, world, said) = ended(deployment, |scene| scene.bad_version = Some("2".to_owned())).await;
    assert_eq!(state.phase.name(), "rolled_back");
    assert_eq!(world.scene().commands, ["provision green", "diagnose green"]);
    assert!(place(&said, "traffic is back on slot") < place(&said, NOTE), "{said:#?}");
}

#[tokio::test(start_paused = true)]
async fn of_a_version_that_is_stuck() {
    let (state, world, said) = ended(diagnosed(), |scene| {
        scene.bad_version = Some("2".to_owned());
        scene.sick_after_switch = Some("blue".to_owned());
    })
    .await;
    assert_eq!(state.phase.name(), "stuck", "{state:?}");
    assert_eq!(world.scene().commands, ["migrate green", "provision green", "diagnose green"]);
    assert_eq!(place(&said, NOTE) + 2, said.len(), "those who wait for the end see it: {said:#?}");
}

/// A first migration that fails has started no version, and a good deployment has nothing to say.
#[tokio::test(start_paused = true)]
async fn nothing_else_is_diagnosed() {
    let (state, world, _) = ended(diagnosed(), |scene| scene.fail("migrate", 1)).await;
    assert_eq!((state.phase.name(), world.scene().environments.contains_key("diagnose")), ("failed", false));
    let (state, world, _) = ended(diagnosed(), |_| {}).await;
    assert_eq!(
        (state.phase.name(), world.scene().environments.contains_key("diagnose")),
        ("completed", false)
    );
}

/// A request of an operator does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_request_ends_the_diagnosis() {
    let world = Arc::new(Scripted::new());
    world.scene().bad_version = Some("2".to_owned());
    world.scene().sick_after_switch = Some("blue".to_owned());
    world.scene().hanging.push("diagnose".to_owned());
    let mut deployment = diagnosed();
    deployment.policy.diagnose =
        serde_json::from_value(json!({ "command": ["/bin/diagnose"], "timeout": "1h" })).unwrap();
    let (driver, handle, _) = begin_this(&world, deployment);
    let running = tokio::spawn(driver.run());
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(handle.state.borrow().phase.name(), "rolling_back");
    let begun = tokio::time::Instant::now();
    let (reply, answer) = oneshot::channel();
    handle.requests.send(Request { event: None, reply }).await.unwrap();
    answer.await.unwrap().unwrap();
    assert!(!running.is_finished(), "a question ends nothing");
    let (reply, answer) = oneshot::channel();
    handle.requests.send(Request { event: Some(Event::Supersede), reply }).await.unwrap();
    let _ = answer.await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "stuck");
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
