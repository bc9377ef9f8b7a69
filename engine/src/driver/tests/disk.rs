//! A journal that cannot be written does not keep the traffic from going back.

use std::time::Duration;

use super::*;
use crate::scripted::FullJournal;

fn begin_full(world: &Arc<Scripted>, hangs: bool) -> (Driver<Scripted, FullJournal>, Handle, FullJournal) {
    let journal = FullJournal::new(MemoryJournal::default(), hangs);
    let deployment = deployment();
    let state = deployment.plan.begin(Time(1_000));
    journal.journal().begin(deployment.clone(), state.clone());
    let clock = Clock::starting_at(Time(1_000));
    let entry = Unfinished { deployment, state };
    let (driver, handle) = Driver::new(Arc::clone(world), journal.clone(), clock, entry);
    (driver, handle, journal)
}

#[tokio::test(start_paused = true)]
async fn going_back_does_not_wait_for_a_disk() {
    for hangs in [false, true] {
        let world = Arc::new(Scripted::new());
        let (driver, mut handle, journal) = begin_full(&world, hangs);
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        journal.fill(true);
        world.scene().bad_version = Some("2".to_owned());
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.scene().active, "blue", "hangs: {hangs}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!world.scene().database.is_empty(), "nothing is undone that is not in the journal");
        journal.fill(false);
        let state = running.await.unwrap().unwrap();
        assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
        assert!(world.scene().database.is_empty());
        let phases: Vec<String> = journal.journal().records().into_iter().map(|(phase, _)| phase).collect();
        assert!(phases.contains(&"rolling_back".to_owned()), "{phases:?}");
        assert_eq!(world.scene().violations, [""; 0]);
    }
}

/// The journal knows nothing of a rollback that was made while its disk was full.
#[tokio::test(start_paused = true)]
async fn a_rollback_without_a_record_goes_on_after_a_restart() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin_full(&world, false);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    journal.fill(true);
    world.scene().bad_version = Some("2".to_owned());
    tokio::time::sleep(Duration::from_secs(15)).await;
    running.abort();
    let _ = running.await;
    assert_eq!(world.scene().active, "blue");
    let driver = resume(&world, journal.journal(), Time(60_000)).await.unwrap();
    let state = driver.run().await.unwrap();
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().violations, [""; 0]);
}

/// The disk fills up at the end of the warm window, and then the new version fails.
#[tokio::test(start_paused = true)]
async fn an_operator_goes_back_while_the_end_of_the_window_cannot_be_written() {
    for hangs in [false, true] {
        let world = Arc::new(Scripted::new());
        let (driver, mut handle, journal) = begin_full(&world, hangs);
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
        journal.fill(true);
        // The window is over, and its end waits for the disk.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(world.scene().running.contains_key("blue"), "nothing is stopped that is not in the journal");
        let (reply, answer) = oneshot::channel();
        let event = Some(Event::Rollback("me".to_owned()));
        handle.requests.send(Request { event, reply }).await.unwrap();
        answer.await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.scene().active, "blue", "hangs: {hangs}");
        journal.fill(false);
        let state = running.await.unwrap().unwrap();
        assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
        assert_eq!(world.scene().violations, [""; 0]);
    }
}

/// A request whose record waits for the disk does not hold up the one that brings the users back.
#[tokio::test(start_paused = true)]
async fn a_rollback_overtakes_a_request_that_waits_for_the_disk() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin_full(&world, true);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    journal.fill(true);
    let ask = |event: Event| {
        let (reply, answer) = oneshot::channel();
        handle.requests.try_send(Request { event: Some(event), reply }).unwrap();
        answer
    };
    let paused = ask(Event::Pause("me".to_owned()));
    let back = ask(Event::Rollback("me".to_owned()));
    back.await.unwrap().unwrap();
    assert!(paused.await.unwrap().unwrap_err().contains("a rollback came first"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.scene().active, "blue");
    journal.fill(false);
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "rolled_back");
}
