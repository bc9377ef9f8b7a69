//! The driver on a paused clock, in a scripted world.

use std::path::Path;
use std::sync::Arc;

use cutover_core::deployment::{Phase, Plan, State, Time};

use super::*;
use crate::config::{Config, Group};
use crate::scripted::{ALWAYS, Fault, Scripted};

mod commands;
mod cuts;
mod faults;
mod traffic;
mod way_back;

const CONFIG: &str = r#"
    [nginx]
    admin = "unix:/nginx"
    [group.shop]
    warm = "20s"
    [group.shop.migrate]
    command = ["/bin/migrate"]
    nothing_applied = 10
    [group.shop.revert]
    command = ["/bin/revert"]
    [group.shop.provision]
    command = ["/bin/start"]
    [group.shop.decommission]
    command = ["/bin/stop"]
    [group.shop.probe]
    deadline = "10s"
    [[group.shop.smoke]]
    name = "products"
    path = "/products"
    [group.shop.soak]
    duration = "10s"
    [group.shop.drain]
    deadline = "5s"
"#;

/// A group's configuration for tests.
pub(crate) fn config() -> Config {
    Config::parse(CONFIG).unwrap()
}

/// A deployment for tests: `shop-1`, of version 2 from blue to green.
pub(crate) fn deployment() -> Deployment {
    let config: Group = config().group("shop").unwrap().clone();
    let plan = Plan {
        group: "shop".to_owned(),
        from: "blue".to_owned(),
        to: "green".to_owned(),
        migrate: true,
        provision: true,
        revert: true,
        decommission: true,
        probe_deadline: config.probe.deadline.get(),
        soak: config.soak.duration.get(),
        accept_inconclusive: false,
        drain: config.drain.deadline.get(),
        warm: config.warm.get(),
        served: Default::default(),
    };
    Deployment {
        id: "shop-1".to_owned(),
        version: "2".to_owned(),
        previous: "1".to_owned(),
        asked_by: "a test".to_owned(),
        started: Time(1_000),
        plan,
        config,
    }
}

/// Begins the usual deployment in a new journal.
async fn begin(world: &Arc<Scripted>, folder: &Path) -> (Driver<Scripted>, Reins, Journal) {
    begin_this(world, folder, deployment()).await
}

async fn begin_this(
    world: &Arc<Scripted>,
    folder: &Path,
    deployment: Deployment,
) -> (Driver<Scripted>, Reins, Journal) {
    let journal = Journal::open(folder).unwrap();
    let (state, _) = deployment.plan.begin(Time(1_000));
    let deployment = journal.begin(deployment, &state, "begin").await.unwrap();
    let clock = Clock::starting_at(Time(1_000));
    let (driver, reins) = Driver::new(Arc::clone(world), journal.clone(), clock, deployment, state);
    (driver, reins, journal)
}

/// Takes a deployment up again, as a restarted daemon does. `None`: the journal has no open one.
async fn resume(world: &Arc<Scripted>, folder: &Path, now: Time) -> Option<Driver<Scripted>> {
    let journal = Journal::open(folder).unwrap();
    let entry = journal.open_deployments().await.unwrap().pop()?;
    let clock = Clock::starting_at(now);
    Some(Driver::new(Arc::clone(world), journal, clock, entry.deployment, entry.state).0)
}

/// The usual deployment, whole.
async fn run(world: &Arc<Scripted>) -> State {
    run_this(world, deployment()).await
}

async fn run_this(world: &Arc<Scripted>, deployment: Deployment) -> State {
    let folder = tempfile::tempdir().unwrap();
    let (driver, _reins, _) = begin_this(world, folder.path(), deployment).await;
    driver.run().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_good_deployment() {
    let world = Arc::new(Scripted::new());
    let folder = tempfile::tempdir().unwrap();
    let (driver, _reins, journal) = begin(&world, folder.path()).await;
    let state = driver.run().await.unwrap();
    assert_eq!(state.phase, Phase::Completed { note: None });
    {
        let scene = world.scene();
        assert_eq!(scene.moves, ["blue->green"]);
        assert_eq!(scene.commands, ["migrate green", "provision green", "decommission blue"]);
        assert_eq!(scene.violations, [""; 0]);
    }

    let entry = journal.entry("shop-1").await.unwrap().unwrap();
    assert_eq!(entry.outcome.map(|outcome| outcome.as_str()), Some("completed"));
    let outcomes =
        journal.records("shop-1", 0).await.unwrap().into_iter().filter(|record| record.outcome.is_some());
    assert_eq!(outcomes.map(|record| record.phase).collect::<Vec<_>>(), ["warm"], "one end, said once");
    assert_eq!(journal.version_in("shop", "green").await.unwrap().as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_the_switch_undoes_all() {
    let world = Arc::new(Scripted::new());
    world.scene().sick.push("green".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let (driver, mut reins, _) = begin(&world, folder.path()).await;
    let running = tokio::spawn(driver.run());
    reins.state.wait_for(|state| state.phase.name() == "probing").await.unwrap();
    let (reply, answer) = oneshot::channel();
    reins.asks.send(Ask { event: Some(Event::Rollback("me".to_owned())), reply }).await.unwrap();
    assert!(answer.await.unwrap().unwrap_err().contains("a rollback does not fit"));
    let (reply, answer) = oneshot::channel();
    reins.asks.send(Ask { event: Some(Event::Abort("me".to_owned())), reply }).await.unwrap();
    answer.await.unwrap().unwrap();
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase.name(), "failed");
    let scene = world.scene();
    assert!(scene.moves.is_empty() && scene.database.is_empty() && !scene.running.contains_key("green"));
}

#[tokio::test(start_paused = true)]
async fn an_abort_in_the_soak_rolls_back() {
    let world = Arc::new(Scripted::new());
    let folder = tempfile::tempdir().unwrap();
    let (driver, mut reins, _) = begin(&world, folder.path()).await;
    let running = tokio::spawn(driver.run());
    reins.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    let (reply, answer) = oneshot::channel();
    reins.asks.send(Ask { event: Some(Event::Abort("me".to_owned())), reply }).await.unwrap();
    answer.await.unwrap().unwrap();
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "rolled_back");
    let scene = world.scene();
    assert_eq!(scene.moves, ["blue->green", "green->blue"]);
    assert!(scene.database.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_over_a_restart_prolongs_no_soak() {
    let world = Arc::new(Scripted::new());
    let folder = tempfile::tempdir().unwrap();
    let (driver, mut reins, _) = begin(&world, folder.path()).await;
    let running = tokio::spawn(driver.run());
    reins.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    running.abort();
    let _ = running.await;
    let begun = tokio::time::Instant::now();
    let driver = resume(&world, folder.path(), Time(1)).await.unwrap();
    assert_eq!(driver.run().await.unwrap().phase.name(), "completed");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
