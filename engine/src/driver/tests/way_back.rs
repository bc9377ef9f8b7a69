//! When traffic goes back: the driver compares what users had with what they have.

use cutover_core::counters::{Previews, Responses};

use super::*;
use crate::scripted::{Scene as World, peer};

async fn ended(script: impl FnOnce(&mut World)) -> (State, Arc<Scripted>) {
    let world = Arc::new(Scripted::new());
    script(&mut world.scene());
    (run(&world).await, world)
}

fn stuck(state: &State) -> (&str, &str) {
    let Phase::Stuck { reason, next, .. } = &state.phase else { panic!("{state:?}") };
    (reason, next)
}

/// The old slot has served users with one server of two.
#[tokio::test(start_paused = true)]
async fn a_slot_that_served_with_one_server_of_two_is_a_way_back() {
    let (state, world) = ended(|scene| {
        scene.slots[0].1 = vec![peer(1), peer(11), peer(12)];
        scene.dead = vec!["127.0.0.1:11".to_owned(), "127.0.0.1:12".to_owned()];
        scene.bad_version = Some("2".to_owned());
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().active, "blue");
}

/// A backup is an error page and counts neither as sick nor as healthy.
#[tokio::test(start_paused = true)]
async fn backups_count_neither_forward_nor_back() {
    let (state, world) = ended(|scene| {
        let backup = |port| cutover_core::api::Peer { backup: true, ..peer(port) };
        scene.slots[0].1.push(backup(11));
        scene.slots[1].1.push(backup(11));
        scene.dead = vec!["127.0.0.1:11".to_owned()];
        scene.bad_version = Some("2".to_owned());
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().moves, ["blue->green", "green->blue"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_release_without_users_stays() {
    let (state, world) = ended(|scene| {
        scene.running.clear();
        scene.traffic = 0;
    })
    .await;
    assert_eq!(state.phase.name(), "completed", "{state:?}");
    assert_eq!(world.scene().moves, ["blue->green"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_first_release_stays_at_once_and_says_what_helps() {
    let begun = tokio::time::Instant::now();
    let (state, world) = ended(|scene| {
        scene.running.clear();
        scene.bad_version = Some("2".to_owned());
    })
    .await;
    let (reason, next) = stuck(&state);
    assert!(reason.contains("slot \"blue\" was not healthy before the switch either"), "{reason}");
    assert_eq!(next, "cutover deploy shop --version VERSION");
    assert_eq!(world.scene().active, "green");
    assert!(begun.elapsed().as_secs() < 30, "nobody waits for a slot that never was: {:?}", begun.elapsed());
}

/// The release fixes a broken version, and has a few errors.
#[tokio::test(start_paused = true)]
async fn a_release_that_fixes_a_broken_version_may_have_a_few_errors() {
    let (state, world) = ended(|scene| {
        scene.bad_version = Some("1".to_owned());
        scene.errors = Some(("2".to_owned(), 3));
    })
    .await;
    assert_eq!(state.phase.name(), "completed", "{state:?}");
    assert_eq!(world.scene().active, "green");
}

/// There are too few requests to judge the release, but enough to see that the old version was broken.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_not_judged_is_not_taken_back_to_a_broken_one() {
    let world = Arc::new(Scripted::new());
    world.scene().bad_version = Some("1".to_owned());
    world.scene().traffic = 2;
    let mut deployment = deployment();
    deployment.policy.soak =
        serde_json::from_value(serde_json::json!({"duration": "10s", "min_requests": 1_000})).unwrap();
    let state = run_this(&world, deployment).await;
    assert_eq!(state.phase.name(), "completed", "{state:?}");
    assert_eq!(world.scene().active, "green");
    assert!(!world.scene().running.contains_key("blue"), "stopped when its warm window was over");
}

/// A release that was good at first and then only fails is rolled back.
#[tokio::test(start_paused = true)]
async fn good_minutes_do_not_keep_users_on_a_version_that_fails_now() {
    let (state, world) = ended(|scene| {
        scene.errors = Some(("1".to_owned(), 6));
        scene.bad_after = Some(("2".to_owned(), 700));
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().active, "blue");
}

/// Two of three old servers die after the switch, and the new version fails all users.
#[tokio::test(start_paused = true)]
async fn one_old_server_is_better_than_three_that_fail_users() {
    let (state, world) = ended(|scene| {
        scene.slots[0].1 = vec![peer(1), peer(11), peer(12)];
        scene.slots[1].1 = vec![peer(2), peer(21), peer(22)];
        scene.dead_after_switch = vec!["127.0.0.1:11".to_owned(), "127.0.0.1:12".to_owned()];
        scene.bad_version = Some("2".to_owned());
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().active, "blue");
}

/// A preview over a WebSocket holds the new slot when its smoke test fails.
#[tokio::test(start_paused = true)]
async fn a_preview_does_not_keep_a_failed_release_up() {
    let (state, world) = ended(|scene| {
        scene.bad_smoke = true;
        let preview = Previews { requests: 1, in_flight: 1, upgraded: 1, ..Previews::default() };
        scene.previews.insert("green".to_owned(), preview);
    })
    .await;
    assert_eq!(state.phase.name(), "failed", "{state:?}");
    let scene = world.scene();
    assert_eq!(scene.commands, ["migrate green", "provision green", "teardown green", "revert green"]);
    assert_eq!(scene.violations, [""; 0]);
}

/// Testers look at pages that are not done yet. Users have no errors.
#[tokio::test(start_paused = true)]
async fn errors_that_only_testers_see_do_not_take_a_release_back() {
    let (state, world) = ended(|scene| {
        let responses = Responses { server_error: 10_000, ..Responses::default() };
        let previews = Previews { requests: 10_000, responses, ..Previews::default() };
        scene.previews.insert("green".to_owned(), previews);
    })
    .await;
    assert_eq!(state.phase.name(), "completed", "{state:?}");
    assert_eq!(world.scene().active, "green");
}

#[tokio::test(start_paused = true)]
async fn as_many_servers_as_are_required_are_enough() {
    for (require, end) in
        [("all", "failed"), ("one", "completed"), ("50%", "completed"), ("majority", "failed")]
    {
        let world = Arc::new(Scripted::new());
        world.scene().slots[1].1 = vec![peer(2), peer(12)];
        world.scene().dead = vec!["127.0.0.1:12".to_owned()];
        let mut deployment = deployment();
        deployment.policy.probe.require = require.parse().unwrap();
        let state = run_this(&world, deployment).await;
        assert_eq!(state.phase.name(), end, "{require}: {state:?}");
    }
}

/// The edge answers no change, so the traffic has never moved.
#[tokio::test(start_paused = true)]
async fn what_is_stuck_says_where_the_traffic_is() {
    let world = Arc::new(Scripted::new());
    world.scene().switch_faults = vec![Fault::LostUndone; 100];
    let state = run(&world).await;
    let Phase::Stuck { reason, .. } = &state.phase else { panic!("{state:?}") };
    assert!(
        reason.contains("slot \"blue\" has all the traffic, but it is not certain that this stays so"),
        "{reason}"
    );
    assert_eq!(world.scene().active, "blue");
}
