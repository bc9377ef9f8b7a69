//! A driver takes over from one of another process, whose changes may still be in transit.

use std::time::Duration;

use super::*;
use crate::scripted::{Fault, FullJournal};

/// Waits until a change of the route is in transit, and lets its driver die.
async fn dies_with_a_change_in_transit(
    world: &Scripted,
    running: tokio::task::JoinHandle<Result<State, JournalError>>,
) {
    while world.scene().in_transit() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.abort();
    let _ = running.await;
}

/// Lets the next driver bring the deployment to its end.
async fn next(world: &Arc<Scripted>, journal: &MemoryJournal, takes_over: bool) -> State {
    let driver = resume(world, journal, Time(30_000)).await.unwrap();
    let driver = if takes_over { driver.taking_over() } else { driver };
    driver.run().await.unwrap()
}

/// The switch arrives when the new slot has been stopped. A process that starts again without taking over fences before it stops
/// the slot.
#[tokio::test(start_paused = true)]
async fn a_late_switch_does_not_count() {
    for takes_over in [true, false] {
        let world = Arc::new(Scripted::new());
        world.scene().switch_faults.push(Fault::Late);
        let (driver, _handle, journal) = begin(&world);
        dies_with_a_change_in_transit(&world, tokio::spawn(driver.run())).await;
        world.scene().sick.push("green".to_owned());
        let state = next(&world, &journal, takes_over).await;
        assert_eq!(state.phase.name(), "failed", "{state:?}");
        world.scene().deliver();
        let scene = world.scene();
        assert_eq!(scene.active, "blue", "{takes_over}: {scene:?}");
        assert!(!scene.running.contains_key("green"), "{takes_over}");
        assert_eq!(scene.violations, [""; 0], "{takes_over}");
    }
}

/// The first driver dies after its switch has taken effect, and before it is in the journal.
#[tokio::test(start_paused = true)]
async fn a_switch_that_has_arrived_is_gone_on_with() {
    for steps in [&["100%"][..], &["5% 10s", "100%"]] {
        let world = Arc::new(Scripted::new());
        world.scene().traffic = 10_000;
        let mut deployment = deployment();
        crate::scripted::in_steps(&mut deployment, steps);
        let (driver, _handle, journal) = begin_this(&world, deployment);
        world.scene().switch_faults.push(Fault::LostDone);
        let running = tokio::spawn(driver.run());
        while world.scene().moves.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        running.abort();
        let _ = running.await;
        assert_eq!(journal.open().await.unwrap()[0].state.phase.name(), "switching");
        let state = next(&world, &journal, true).await;
        assert_eq!(state.phase.name(), "completed", "{state:?}");
        let scene = world.scene();
        assert_eq!((scene.active.as_str(), scene.moves.len()), ("green", steps.len()), "{:?}", scene.moves);
        assert_eq!(scene.violations, [""; 0]);
    }
}

/// The way back of a driver that could not write arrives when the old slot has been stopped.
#[tokio::test(start_paused = true)]
async fn a_late_way_back_does_not_count() {
    for takes_over in [true, false] {
        let world = Arc::new(Scripted::new());
        let mut deployment = deployment();
        // A renewal would take the fault.
        deployment.policy.trial.lease = None;
        let (driver, mut handle, journal) = begin_full(&world, deployment);
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        journal.fill(true);
        world.scene().switch_faults.push(Fault::Late);
        let (reply, _answer) = oneshot::channel();
        let event = Some(Event::Rollback("me".to_owned()));
        handle.requests.send(Request { event, reply }).await.unwrap();
        dies_with_a_change_in_transit(&world, running).await;
        let state = next(&world, journal.journal(), takes_over).await;
        assert_eq!(state.phase.name(), "completed", "{state:?}");
        world.scene().deliver();
        let scene = world.scene();
        assert_eq!(scene.active == "green", takes_over, "{scene:?}");
        assert_eq!(scene.violations.is_empty(), takes_over, "{:?}", scene.violations);
    }
}

/// The fence keeps the trial: a version that turns bad after a takeover is still taken back by the edge.
#[tokio::test(start_paused = true)]
async fn the_trial_goes_on_after_a_takeover() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    let before = world.scene().generation;
    running.abort();
    let _ = running.await;
    let entry = journal.open().await.unwrap().pop().unwrap();
    let clock = Clock::starting_at(Time(30_000));
    let (driver, mut handle) = Driver::new(Arc::clone(&world), journal.clone(), clock, entry);
    let running = tokio::spawn(driver.taking_over().run());
    let fenced = |state: &State| {
        state.fences_at("nginx").is_some_and(|at| at.as_str() == format!("generation {}", before + 1))
    };
    handle.state.wait_for(fenced).await.unwrap();
    {
        let scene = world.scene();
        let trial = scene.trial.as_ref().expect("the trial goes on");
        assert_eq!((trial.slot.as_str(), trial.fallback.as_str()), ("green", "blue"));
        assert_eq!(scene.moves, ["blue->green"]);
    }
    running.abort();
    let _ = running.await;
    // Nobody renews the lease.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let looked = crate::world::World::fleet(&*world, &[]).look("shop").await.unwrap();
    assert_eq!(looked.route().active, "blue");
}

/// A process that may have lost its lead does not even go back without a record. The edge does it by itself.
#[tokio::test(start_paused = true)]
async fn nothing_goes_back_unrecorded_when_another_process_may_drive() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin_full(&world, deployment());
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    journal.fill(true);
    journal.lead(false);
    world.scene().bad_version = Some("2".to_owned());
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(world.scene().moves, ["blue->green"], "the daemon moves nothing");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let looked = crate::world::World::fleet(&*world, &[]).look("shop").await.unwrap();
    assert_eq!(looked.route().active, "blue", "the lease of the edge has run out");
    journal.lead(true);
    journal.fill(false);
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "rolled_back");
    assert_eq!(world.scene().violations, [""; 0]);
}

fn begin_full(
    world: &Arc<Scripted>,
    deployment: Deployment,
) -> (Driver<Scripted, FullJournal>, Handle, FullJournal) {
    let journal = FullJournal::new(MemoryJournal::default(), false);
    let state = deployment.plan.begin(Time(1_000));
    journal.journal().begin(deployment.clone(), state.clone());
    let clock = Clock::starting_at(Time(1_000));
    let entry = Unfinished { deployment, state };
    let (driver, handle) = Driver::new(Arc::clone(world), journal.clone(), clock, entry);
    (driver, handle, journal)
}

/// Each edge of several is fenced, and the new revisions are in the journal before the soak goes on.
#[tokio::test(start_paused = true)]
async fn each_edge_of_several_is_fenced() {
    let edges = ["lyon", "paris"];
    let world = Arc::new(Scripted::of(&edges));
    let (driver, mut handle, journal) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    let before = edges.map(|edge| world.scene_of(edge).generation);
    running.abort();
    let _ = running.await;
    let driver = resume(&world, &journal, Time(30_000)).await.unwrap();
    let state = driver.taking_over().run().await.unwrap();
    assert_eq!(state.phase.name(), "completed", "{state:?}");
    for (edge, before) in edges.into_iter().zip(before) {
        let scene = world.scene_of(edge);
        assert_eq!(scene.generation, before + 1, "{edge}: one fence");
        assert_eq!((scene.active.as_str(), scene.moves.len()), ("green", 1), "{edge}");
        assert_eq!(scene.violations, [""; 0], "{edge}");
    }
}
