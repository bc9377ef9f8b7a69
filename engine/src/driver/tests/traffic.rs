//! The driver does not touch a slot that has traffic, and checks this before each step.

use cutover_core::api::{Group, TrialPhase, TrialState};
use cutover_core::counters::Previews;
use cutover_core::fraction::Percent;
use cutover_core::guard::Figures;

use super::*;
use crate::scripted::Hook;

/// A way in which green gets traffic without being active.
#[derive(Clone, Copy, Debug)]
enum Way {
    Share,
    Fallback,
    AnotherGroup,
}

fn give(scene: &mut crate::scripted::Scene, slot: &str, way: Way, group: &Group) {
    match way {
        Way::Share => {
            scene.split = Some((slot.to_owned(), Percent::from_parts(100).unwrap()));
            scene.generation += 1;
        }
        Way::Fallback => {
            scene.trial = Some(TrialState {
                slot: scene.active.clone(),
                fallback: slot.to_owned(),
                phase: TrialPhase::Armed,
                guard: None,
                lease_left_ms: Some(60_000),
                rescue: false,
                figures: Figures::default(),
            });
            scene.generation += 1;
        }
        Way::AnotherGroup => {
            let mut blog = group.clone();
            blog.name = "blog".to_owned();
            blog.route.active = slot.to_owned();
            scene.others.push(blog);
        }
    }
}

/// Runs a deployment and gives green traffic after a command.
async fn given_after(command: Option<&str>, way: Way) -> (State, Arc<Scripted>) {
    let world = Arc::new(Scripted::new());
    let group = world.fleet(&[]).look("shop").await.unwrap().group;
    let (driver, _handle, _) = begin(&world);
    match command {
        None => give(&mut world.scene(), "green", way, &group),
        Some(command) => {
            let hook = Hook(Box::new(move |scene| give(scene, "green", way, &group)));
            world.scene().after_command = Some((command.to_owned(), hook));
        }
    }
    (driver.run().await.unwrap(), world)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_on_a_slot_that_has_traffic() {
    for way in [Way::Share, Way::Fallback, Way::AnotherGroup] {
        let (state, world) = given_after(None, way).await;
        assert_eq!(state.phase.name(), "failed", "{way:?}: {state:?}");
        assert_eq!(world.scene().commands, [""; 0], "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_gets_traffic_while_the_database_is_migrated_is_not_started() {
    for way in [Way::Share, Way::Fallback, Way::AnotherGroup] {
        let (state, world) = given_after(Some("migrate green"), way).await;
        assert_eq!(state.phase.name(), "failed", "{way:?}: {state:?}");
        assert_eq!(world.scene().commands, ["migrate green"], "{way:?}");
        assert_eq!(world.scene().violations, [""; 0], "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_gets_traffic_before_the_switch_is_not_torn_down() {
    for way in [Way::Share, Way::Fallback] {
        let (state, world) = given_after(Some("provision green"), way).await;
        let scene = world.scene();
        assert_eq!(state.phase.name(), "stuck", "{way:?}: {state:?}");
        assert_eq!(scene.commands, ["migrate green", "provision green"], "{way:?}");
        assert_eq!((scene.violations.len(), scene.moves.len()), (0, 0), "{way:?}: {:?}", scene.violations);
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_slot_is_not_stopped_under_the_users_of_another_group() {
    let world = Arc::new(Scripted::new());
    let group = world.fleet(&[]).look("shop").await.unwrap().group;
    give(&mut world.scene(), "blue", Way::AnotherGroup, &group);
    let state = run(&world).await;
    let Phase::Completed { note: Some(note) } = state.phase else { panic!("{state:?}") };
    assert!(
        note.contains("of group \"blog\", which has the traffic; slot \"blue\" is left running"),
        "{note}"
    );
    assert_eq!(world.scene().commands, ["migrate green", "provision green"]);
}

/// The database is reverted only after a long request on a bad version has been cut off.
#[tokio::test(start_paused = true)]
async fn a_database_is_never_reverted_under_a_request() {
    let world = Arc::new(Scripted::new());
    world.scene().bad_version = Some("2".to_owned());
    world.scene().holds.insert("green".to_owned(), (1, 0));
    assert_eq!(run(&world).await.phase.name(), "rolled_back");
    let scene = world.scene();
    assert_eq!(scene.commands, ["migrate green", "provision green", "teardown green", "revert green"]);
    assert_eq!(scene.violations, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_stopping_cuts_off_is_said() {
    let world = Arc::new(Scripted::new());
    world.scene().holds.insert("blue".to_owned(), (2, 1));
    let preview = Previews { requests: 1, in_flight: 1, upgraded: 1, ..Previews::default() };
    world.scene().previews.insert("blue".to_owned(), preview);
    let (driver, _handle, journal) = begin(&world);
    assert_eq!(driver.run().await.unwrap().phase.name(), "completed");
    let records = journal.records();
    let said = "slot \"blue\" holds 1 request and 2 connections, which the stop cuts off";
    assert!(records.iter().any(|(_, message)| message == said), "{records:?}");
}
