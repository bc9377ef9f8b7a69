//! Deployments in steps: shares, promotions and pauses.

use std::time::Duration;

use super::*;
use crate::scripted::in_steps;

/// A world with enough traffic for a small share.
fn busy() -> Arc<Scripted> {
    let world = Arc::new(Scripted::new());
    world.scene().traffic = 10_000;
    world
}

fn with(steps: &[&str]) -> Deployment {
    let mut deployment = deployment();
    in_steps(&mut deployment, steps);
    deployment
}

async fn ask(handle: &Handle, event: Event) -> Result<(), String> {
    let (reply, answer) = oneshot::channel();
    handle.requests.send(Request { event: Some(event), reply }).await.unwrap();
    answer.await.unwrap()
}

fn promoted() -> Event {
    Event::Promote("a test".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_good_version_gets_more_and_more() {
    let world = busy();
    let (driver, mut handle, journal) = begin_this(&world, with(&["1% 10s", "10% 10s", "100%"]));
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.step == 1 && state.phase.name() == "soaking").await.unwrap();
    let trial = world.scene().trial.clone().unwrap();
    assert_eq!((trial.slot.as_str(), trial.fallback.as_str()), ("green", "blue"), "each step is on trial");
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "completed");
    let scene = world.scene();
    assert_eq!(scene.moves, ["blue->1 % green", "blue->10 % green", "blue->green"]);
    assert_eq!(scene.violations, [""; 0]);
    let said: Vec<String> = journal.records().into_iter().map(|(_, message)| message).collect();
    assert!(said.iter().any(|line| line.contains("slot \"green\" has 1 % of the traffic")), "{said:#?}");
    assert!(said.iter().any(|line| line.contains("watching it with 10 % of the traffic")), "{said:#?}");
}

#[tokio::test(start_paused = true)]
async fn bad_in_any_step_takes_all_back() {
    for (answers, moves) in [
        (0, vec!["blue->1 % green", "green->blue"]),
        (6_000, vec!["blue->1 % green", "blue->10 % green", "green->blue"]),
        (60_000, vec!["blue->1 % green", "blue->10 % green", "blue->green", "green->blue"]),
    ] {
        let world = busy();
        world.scene().bad_after = Some(("2".to_owned(), answers));
        let state = run_this(&world, with(&["1% 10s", "10% 10s", "100%"])).await;
        assert_eq!(state.phase.name(), "rolled_back", "{answers}: {state:?}");
        let scene = world.scene();
        assert_eq!(scene.moves, moves, "{answers}: {state:?}");
        assert_eq!(scene.violations, [""; 0]);
    }
}

/// A difference that a comparison with the time before the switch would not prove.
#[tokio::test(start_paused = true)]
async fn a_share_is_compared_with_the_old_version_at_the_same_time() {
    let world = busy();
    world.scene().errors_of_both(3);
    assert_eq!(run_this(&world, with(&["10% 10s", "100%"])).await.phase.name(), "completed");
    let world = busy();
    world.scene().errors = Some(("2".to_owned(), 3));
    let state = run_this(&world, with(&["10% 10s", "100%"])).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().moves, ["blue->10 % green", "green->blue"]);
}

#[tokio::test(start_paused = true)]
async fn a_manual_step_waits_and_is_judged_while_it_waits() {
    for bad in [false, true] {
        let world = busy();
        let (driver, mut handle, _) = begin_this(&world, with(&["10% manual", "100%"]));
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        assert_eq!(
            ask(&handle, Event::Resume("a test".to_owned())).await,
            Err("a resume is not possible in this phase".to_owned())
        );
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(world.scene().moves, ["blue->10 % green"], "it waits, and its lease is renewed");
        if bad {
            world.scene().bad_version = Some("2".to_owned());
        } else {
            ask(&handle, promoted()).await.unwrap();
        }
        let end = running.await.unwrap().unwrap();
        assert_eq!(end.phase.name(), if bad { "rolled_back" } else { "completed" });
        assert_eq!(world.scene().violations, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_goes_on_when_it_is_resumed() {
    let world = busy();
    let (driver, mut handle, _) = begin_this(&world, with(&["1% 10s", "100%"]));
    let running = tokio::spawn(driver.run());
    ask(&handle, Event::Pause("a test".to_owned())).await.unwrap();
    handle.state.wait_for(|state| state.phase.name() == "switching").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.scene().moves, [""; 0], "no traffic moves");
    ask(&handle, Event::Resume("a test".to_owned())).await.unwrap();
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    ask(&handle, Event::Pause("a test".to_owned())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.scene().moves, ["blue->1 % green"]);
    ask(&handle, Event::Resume("a test".to_owned())).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "completed");
    let commands = world.scene().commands.clone();
    assert_eq!(commands, ["migrate green", "provision green", "decommission blue"], "no command began anew");
}

/// A small share of little traffic proves nothing, and is no reason to go back.
#[tokio::test(start_paused = true)]
async fn a_step_with_too_few_answers_is_followed_by_the_next() {
    let world = Arc::new(Scripted::new());
    world.scene().traffic = 200;
    let state = run_this(&world, with(&["1% 10s", "100%"])).await;
    assert_eq!(state.phase.name(), "completed", "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_share_that_the_edge_takes_back_brings_the_whole_rollback() {
    let world = busy();
    let (driver, mut handle, _) = begin_this(&world, with(&["10% manual", "100%"]));
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    {
        let mut scene = world.scene();
        scene.move_route("blue");
        scene.taken_back = Some(cutover_core::deployment::TakenBackBy::Guard);
    }
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert!(!world.scene().running.contains_key("green"));
}

#[tokio::test(start_paused = true)]
async fn a_first_release_takes_no_steps() {
    let world = busy();
    world.scene().running.clear();
    let state = run_this(&world, with(&["1% 10s", "100%"])).await;
    assert_eq!(state.phase.name(), "completed", "{state:?}");
    assert_eq!(world.scene().moves, ["blue->green"]);
}

/// The old version fails its probe and serves most of the users all the same. An operator can always end a step.
#[tokio::test(start_paused = true)]
async fn a_step_can_be_ended_although_the_old_slot_fails_its_probe() {
    let world = busy();
    let (driver, mut handle, _) = begin_this(&world, with(&["10% manual", "100%"]));
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    world.scene().sick.push("blue".to_owned());
    tokio::time::sleep(Duration::from_secs(10)).await;
    ask(&handle, Event::Abort("a test".to_owned())).await.unwrap();
    handle.state.wait_for(|state| state.phase.name() != "soaking").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.scene().split.is_none());
    assert_eq!(world.scene().active, "blue");
    let state = running.await.unwrap().unwrap();
    assert!(matches!(state.phase.name(), "rolled_back" | "stuck"), "{state:?}");
}
