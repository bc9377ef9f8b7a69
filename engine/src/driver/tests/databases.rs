//! Deployments that migrate a database of `[group.NAME.database]`.

use super::*;

/// The usual deployment with migrations in place of the commands.
fn deployment_with(revert: &str) -> Deployment {
    let mut deployment = deployment();
    let database = serde_json::json!({
        "url": "sqlite:/srv/shop.sqlite", "migrations": "/srv/shop/{version}/migrations", "revert": revert,
    });
    let policy = &mut deployment.policy;
    (policy.migrate, policy.revert) = (None, None);
    policy.database = Some(serde_json::from_value(database).unwrap());
    (deployment.plan.migrate, deployment.plan.revert) = (policy.migrates(), policy.reverts());
    deployment
}

async fn run_with(revert: &str, script: impl FnOnce(&mut crate::scripted::Scene)) -> (State, Arc<Scripted>) {
    let world = Arc::new(Scripted::new());
    script(&mut world.scene());
    let state = run_this(&world, deployment_with(revert)).await;
    assert_eq!(world.scene().violations, [""; 0]);
    (state, world)
}

fn commands(world: &Scripted) -> Vec<String> {
    world.scene().commands.clone()
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_is_reverted_when_its_slot_has_drained() {
    let (state, world) = run_with("auto", |scene| scene.bad_version = Some("2".to_owned())).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(commands(&world), ["migrations green", "provision green", "reverts green", "teardown green"]);
    assert!(world.scene().database.is_empty() && !state.migrated);
}

/// The new version has written: the traffic is safe, the new slot is stopped, and an operator decides.
#[tokio::test(start_paused = true)]
async fn rows_that_would_be_lost_end_as_stuck_with_the_command() {
    let (state, world) = run_with("auto", |scene| {
        scene.bad_version = Some("2".to_owned());
        scene.fail("rows", ALWAYS);
    })
    .await;
    let Phase::Stuck { reason, next, settled: None } = &state.phase else { panic!("{state:?}") };
    assert!(
        reason.contains("; traffic is back on \"blue\", and the database is not reverted: 0002_b would drop"),
        "{reason}"
    );
    assert_eq!(next, "cutover database revert shop --yes");
    let all = ["migrations green", "provision green", "reverts green", "teardown green", "reverts green"];
    assert_eq!(commands(&world), all);
    assert_eq!(world.scene().moves, ["blue->green", "green->blue"]);
    assert!(state.migrated && !world.scene().database.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_was_never_live_asks_as_well() {
    let (state, _) = run_with("auto", |scene| {
        scene.sick.push("green".to_owned());
        scene.fail("rows", ALWAYS);
    })
    .await;
    let Phase::Stuck { reason, .. } = &state.phase else { panic!("{state:?}") };
    assert!(reason.contains("; no traffic has moved, and the database is not reverted: 0002_b"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn migrations_that_are_never_reverted_are_told() {
    let (state, world) = run_with("never", |scene| scene.bad_version = Some("2".to_owned())).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(commands(&world), ["migrations green", "provision green", "teardown green"]);
    assert!(state.migrated);
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_migration_has_applied_is_reverted() {
    let (state, world) = run_with("auto", |scene| scene.fail("migrate partly", ALWAYS)).await;
    assert_eq!(state.phase.name(), "failed", "{state:?}");
    assert_eq!(commands(&world), ["migrations green", "reverts green"]);
    assert!(world.scene().database.is_empty());
    let (state, world) = run_with("auto", |scene| scene.fail("migrate", ALWAYS)).await;
    assert_eq!(state.phase.name(), "failed", "{state:?}");
    assert_eq!(commands(&world), ["migrations green"], "nothing was applied");
}

#[tokio::test(start_paused = true)]
async fn a_revert_that_fails_is_tried_again() {
    let (state, world) = run_with("auto", |scene| {
        scene.bad_version = Some("2".to_owned());
        scene.fail("revert", 2);
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert!(world.scene().database.is_empty());
    let (state, _) = run_with("auto", |scene| {
        scene.bad_version = Some("2".to_owned());
        scene.fail("revert", ALWAYS);
    })
    .await;
    let Phase::Stuck { next, .. } = &state.phase else { panic!("{state:?}") };
    assert_eq!(next, "cutover run shop revert");
}

#[tokio::test(start_paused = true)]
async fn a_driver_killed_at_each_phase_brings_it_to_the_same_end() {
    for phase in ["migrating", "soaking", "rolling_back"] {
        let world = Arc::new(Scripted::new());
        world.scene().bad_version = Some("2".to_owned());
        let (driver, mut handle, journal) = begin_this(&world, deployment_with("auto"));
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == phase).await.unwrap();
        running.abort();
        let _ = running.await;
        let driver = resume(&world, &journal, Time(2_000)).await.unwrap();
        let state = driver.run().await.unwrap();
        assert_eq!(state.phase.name(), "rolled_back", "{phase}: {state:?}");
        assert!(world.scene().database.is_empty(), "{phase}");
    }
}
