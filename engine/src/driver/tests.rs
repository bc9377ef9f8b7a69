//! The driver on a paused clock, in a scripted world.

use cutover_core::deployment::{Outcome, Time};

use super::*;
use crate::journal::Deployment;
use crate::scripted::{ALWAYS, Fault, MemoryJournal, Scripted, deployment};

mod aftermath;
mod capacity;
mod commands;
mod databases;
mod diagnosing;
mod disk;
mod extending;
mod fleet;
mod judged;
mod proof;
mod sessions;
mod signals;
mod stepwise;
mod suite;
mod synthetic;
mod taken_back;
mod taking_over;
mod together;
mod traffic;
mod trials;
mod warming_up;
mod way_back;

/// Begins the usual deployment in a new journal.
fn begin(world: &Arc<Scripted>) -> (Driver<Scripted, MemoryJournal>, Handle, MemoryJournal) {
    begin_this(world, deployment())
}

fn begin_this(
    world: &Arc<Scripted>,
    deployment: Deployment,
) -> (Driver<Scripted, MemoryJournal>, Handle, MemoryJournal) {
    let journal = MemoryJournal::default();
    let state = deployment.plan.begin(Time(1_000));
    journal.begin(deployment.clone(), state.clone());
    let clock = Clock::starting_at(Time(1_000));
    let entry = Unfinished { deployment, state };
    let (driver, handle) = Driver::new(Arc::clone(world), journal.clone(), clock, entry);
    (driver, handle, journal)
}

/// Resumes a deployment like a restarted process. `None` if the journal has no open deployment.
async fn resume(
    world: &Arc<Scripted>,
    journal: &MemoryJournal,
    now: Time,
) -> Option<Driver<Scripted, MemoryJournal>> {
    let entry = journal.open().await.unwrap().pop()?;
    let clock = Clock::starting_at(now);
    Some(Driver::new(Arc::clone(world), journal.clone(), clock, entry).0)
}

/// Runs the usual deployment to its end.
async fn run(world: &Arc<Scripted>) -> State {
    run_this(world, deployment()).await
}

async fn run_this(world: &Arc<Scripted>, deployment: Deployment) -> State {
    let (driver, _handle, _) = begin_this(world, deployment);
    driver.run().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_good_deployment() {
    let world = Arc::new(Scripted::new());
    let (driver, _handle, journal) = begin(&world);
    let state = driver.run().await.unwrap();
    assert_eq!(state.phase, Phase::Completed { note: None });
    {
        let scene = world.scene();
        assert_eq!(scene.moves, ["blue->green"]);
        assert_eq!(scene.commands, ["migrate green", "provision green", "decommission blue"]);
        assert_eq!(scene.violations, [""; 0]);
    }

    assert_eq!(journal.outcomes(), [Outcome::Completed], "one end, said once");
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_the_switch_undoes_all() {
    let world = Arc::new(Scripted::new());
    world.scene().sick.push("green".to_owned());
    let (driver, mut handle, _) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "probing").await.unwrap();
    let (reply, answer) = oneshot::channel();
    handle.requests.send(Request { event: Some(Event::Rollback("me".to_owned())), reply }).await.unwrap();
    assert!(answer.await.unwrap().unwrap_err().contains("a rollback is not possible"));
    let (reply, answer) = oneshot::channel();
    handle.requests.send(Request { event: Some(Event::Abort("me".to_owned())), reply }).await.unwrap();
    answer.await.unwrap().unwrap();
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase.name(), "failed");
    let scene = world.scene();
    assert!(scene.moves.is_empty() && scene.database.is_empty() && !scene.running.contains_key("green"));
}

#[tokio::test(start_paused = true)]
async fn an_abort_in_the_soak_rolls_back() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, _) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    let (reply, answer) = oneshot::channel();
    handle.requests.send(Request { event: Some(Event::Abort("me".to_owned())), reply }).await.unwrap();
    answer.await.unwrap().unwrap();
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "rolled_back");
    let scene = world.scene();
    assert_eq!(scene.moves, ["blue->green", "green->blue"]);
    assert!(scene.database.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_over_a_restart_prolongs_no_soak() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    running.abort();
    let _ = running.await;
    let begun = tokio::time::Instant::now();
    let driver = resume(&world, &journal, Time(1)).await.unwrap();
    assert_eq!(driver.run().await.unwrap().phase.name(), "completed");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
