//! When commands run, and the effect of their exit codes.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_slot_that_has_got_the_traffic_is_not_started_anew() {
    let world = Arc::new(Scripted::new());
    world.scene().running.insert("green".to_owned(), "1".to_owned());
    world.scene().move_route("green");
    let state = run(&world).await;
    let scene = world.scene();
    assert_eq!(state.phase.name(), "failed", "{state:?}");
    assert_eq!(scene.violations, [""; 0]);
    assert_eq!(
        scene.commands, [""; 0],
        "nothing is migrated, started, reverted or stopped under the traffic"
    );
}

#[tokio::test(start_paused = true)]
async fn provision_waits_for_nginx_and_gives_up_in_the_end() {
    let world = Arc::new(Scripted::new());
    world.scene().fail("group", 5);
    assert_eq!(run(&world).await.phase.name(), "completed");
    let world = Arc::new(Scripted::new());
    world.scene().fail("group", ALWAYS);
    assert_eq!(run(&world).await.phase.name(), "failed");
    assert_eq!(world.scene().commands, [""; 0], "nothing is begun that might have to be undone unseen");
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_applied_nothing_is_never_reverted() {
    let world = Arc::new(Scripted::new());
    world.scene().bad_version = Some("2".to_owned());
    world.scene().exit_code.insert("migrate".to_owned(), 10);
    let state = run(&world).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().commands, ["migrate green", "provision green", "teardown green"]);
    let world = Arc::new(Scripted::new());
    world.scene().exit_code.insert("migrate".to_owned(), 11);
    let Phase::Failed(cause) = run(&world).await.phase else { panic!() };
    assert!(cause.text.ends_with("the migration may be partly applied"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_gone_on_from_and_many_are_stuck() {
    for (panics, end) in [(2, "completed"), (ALWAYS, "stuck")] {
        let world = Arc::new(Scripted::new());
        world.scene().fail("panic", panics);
        let state = run(&world).await;
        assert_eq!(state.phase.name(), end, "{state:?}");
    }
}

/// nginx is down for longer than the tries of a command take.
#[tokio::test(start_paused = true)]
async fn a_slot_is_stopped_although_the_edge_was_down_when_its_window_ended() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, _) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
    world.scene().fail("group", ALWAYS);
    handle.state.wait_for(|state| state.phase.name() == "decommissioning").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    world.scene().fail("group", 0);
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase, Phase::Completed { note: None });
    assert!(!world.scene().running.contains_key("blue"));
}
