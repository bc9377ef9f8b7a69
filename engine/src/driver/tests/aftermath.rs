//! What is watched after the soak, and after the way back.

use super::*;
use crate::scripted::{Hook, Scene};

/// Version 1 fails too, once version 2 has migrated the database.
fn migration_breaks_both(scene: &mut Scene) {
    scene.bad_version = Some("2".to_owned());
    scene.after_command =
        Some(("teardown green".to_owned(), Hook(Box::new(|scene| scene.bad_version = Some("1".to_owned())))));
}

#[tokio::test(start_paused = true)]
async fn an_old_version_that_fails_after_the_way_back_is_said() {
    let world = Arc::new(Scripted::new());
    migration_breaks_both(&mut world.scene());
    let (driver, _handle, journal) = begin(&world);
    let state = driver.run().await.unwrap();
    let Phase::RolledBack { but: Some(but), .. } = &state.phase else { panic!("{state:?}") };
    assert!(but.contains("blue"), "{but}");
    let (_, said) = journal.records().pop().unwrap();
    assert!(said.contains("; but slot \"blue\" is bad too: "), "{said}");
    assert!(said.contains("green"), "both sides' figures: {said}");
}

#[tokio::test(start_paused = true)]
async fn an_old_version_that_stops_after_the_way_back_is_said() {
    let world = Arc::new(Scripted::new());
    {
        let mut scene = world.scene();
        scene.bad_version = Some("2".to_owned());
        let stop = |scene: &mut Scene| {
            scene.running.remove("blue");
        };
        scene.after_command = Some(("teardown green".to_owned(), Hook(Box::new(stop))));
    }
    let state = run(&world).await;
    assert!(matches!(&state.phase, Phase::RolledBack { but: Some(_), .. }), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_good_old_version_is_watched_for_as_long_as_a_soak() {
    let world = Arc::new(Scripted::new());
    world.scene().bad_version = Some("2".to_owned());
    let (driver, mut handle, _) = begin(&world);
    let running = tokio::spawn(driver.run());
    let watching = |state: &State| state.phase.only_watches();
    handle.state.wait_for(watching).await.unwrap();
    let begun = tokio::time::Instant::now();
    let state = running.await.unwrap().unwrap();
    assert!(matches!(state.phase, Phase::RolledBack { but: None, .. }), "{state:?}");
    assert!((10..13).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// A long request holds the old slot, and the new version fails meanwhile.
#[tokio::test(start_paused = true)]
async fn a_version_that_turns_bad_while_the_old_one_drains_is_taken_back() {
    let world = Arc::new(Scripted::new());
    world.scene().held = 1;
    let mut deployment = deployment();
    deployment.plan.drain = std::time::Duration::from_secs(60);
    let (driver, mut handle, _) = begin_this(&world, deployment);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "draining").await.unwrap();
    {
        let mut scene = world.scene();
        scene.bad_version = Some("2".to_owned());
        scene.held = 0;
        scene.holds.insert("blue".to_owned(), (1, 0));
    }
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    let scene = world.scene();
    assert_eq!((scene.active.as_str(), &scene.violations), ("blue", &Vec::new()));
}

/// Everything fails for users from the second minute of the warm window on.
#[tokio::test(start_paused = true)]
async fn a_version_that_turns_bad_in_the_warm_window() {
    for (on_bad, end) in
        [(crate::policy::OnBad::Alert, "completed"), (crate::policy::OnBad::Rollback, "rolled_back")]
    {
        let world = Arc::new(Scripted::new());
        let mut deployment = deployment();
        deployment.plan.warm = std::time::Duration::from_secs(600);
        deployment.policy.warm.on_bad = on_bad;
        let (driver, mut handle, journal) = begin_this(&world, deployment);
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        world.scene().bad_version = Some("2".to_owned());
        let state = running.await.unwrap().unwrap();
        assert_eq!(state.phase.name(), end, "{state:?}");
        let said: Vec<String> = journal.records().into_iter().map(|(_, message)| message).collect();
        let alert = said
            .iter()
            .any(|line| line.contains("slot \"green\" is bad") && line.contains("cutover rollback shop"));
        assert_eq!(alert, end == "completed", "{said:#?}");
        let scene = world.scene();
        assert!(!scene.database.is_empty(), "users have written with the migration");
        assert_eq!(scene.violations, [""; 0]);
    }
}

/// The old version dies while the new one drains.
#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_stop_the_only_healthy_version() {
    let world = Arc::new(Scripted::new());
    {
        let mut scene = world.scene();
        scene.bad_version = Some("2".to_owned());
        scene.holds.insert("green".to_owned(), (1, 0));
    }
    let mut deployment = deployment();
    deployment.plan.drain = std::time::Duration::from_secs(60);
    let (driver, mut handle, _) = begin_this(&world, deployment);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "rolling_back").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    {
        let mut scene = world.scene();
        assert_eq!(scene.active, "blue");
        scene.running.remove("blue");
        scene.holds.clear();
    }
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase.name(), "stuck", "{state:?}");
    assert!(world.scene().running.contains_key("green"));
}
