//! Releases that earlier versions of the soak called good, and one that they took back.

use super::*;
use crate::scripted::Scene;

async fn ended(script: impl FnOnce(&mut Scene)) -> (State, Arc<Scripted>) {
    let world = Arc::new(Scripted::new());
    script(&mut world.scene());
    let state = run_this(&world, impatient()).await;
    assert_eq!(world.scene().violations, [""; 0]);
    (state, world)
}

/// The scripted servers have no latencies that a patience could follow.
fn impatient() -> Deployment {
    let mut deployment = deployment();
    deployment.policy.soak.patience = Some(crate::policy::Duration::seconds(2));
    deployment
}

fn of_version(version: &str, percent: u64) -> Option<(String, u64)> {
    Some((version.to_owned(), percent))
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_never_answered_are_bad() {
    for percent in [30, 100] {
        let (state, world) = ended(|scene| scene.hangs = of_version("2", percent)).await;
        assert_eq!(state.phase.name(), "rolled_back", "{percent} % hang: {state:?}");
        assert_eq!(world.scene().active, "blue");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_gone_are_bad_if_they_were_there_before() {
    let (state, _) = ended(|scene| scene.not_found = of_version("2", 100)).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
}

/// A scanner gets 3 % errors from both versions.
#[tokio::test(start_paused = true)]
async fn what_the_old_version_does_as_well_is_no_reason() {
    let world = Arc::new(Scripted::new());
    {
        let mut scene = world.scene();
        scene.errors = of_version("1", 3);
        scene.traffic = 1_000;
        scene.after_command = Some((
            "provision green".to_owned(),
            crate::scripted::Hook(Box::new(|scene| scene.errors_of_both(3))),
        ));
    }
    assert_eq!(run(&world).await.phase.name(), "completed");
}

/// The driver is killed in the soak, and comes back when its time is over.
#[tokio::test(start_paused = true)]
async fn a_restart_proves_nothing() {
    for (hangs, end) in [(0, "completed"), (100, "rolled_back")] {
        let world = Arc::new(Scripted::new());
        let (driver, mut handle, journal) = begin_this(&world, impatient());
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        running.abort();
        let _ = running.await;
        world.scene().hangs = of_version("2", hangs);
        let driver = resume(&world, &journal, Time(60_000)).await.unwrap();
        assert_eq!(driver.run().await.unwrap().phase.name(), end);
    }
}

/// The edge hangs, and the new version dies meanwhile. Its last known servers are probed.
#[tokio::test(start_paused = true)]
async fn an_edge_that_does_not_answer_does_not_hide_a_sick_version() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, _) = begin_this(&world, impatient());
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    {
        let mut scene = world.scene();
        scene.fail("group", ALWAYS);
        scene.sick.push("green".to_owned());
    }
    let began = tokio::time::Instant::now();
    handle.state.wait_for(|state| state.phase.name() == "rolling_back").await.unwrap();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    world.scene().fail("group", 0);
    let state = running.await.unwrap().unwrap();
    let cause = state.phase.cause().map(|cause| cause.text.clone()).unwrap_or_default();
    assert!(cause.contains("probes of slot \"green\" fail"), "{cause}");
    assert_eq!((state.phase.name(), world.scene().active.as_str()), ("rolled_back", "blue"));
}
