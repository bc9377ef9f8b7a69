//! An old slot that holds WebSockets when the warm window of 20 s is over.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;
use crate::journal::JournalError;
use crate::policy::Duration as Setting;

fn waiting() -> Deployment {
    let mut deployment = deployment();
    deployment.policy.decommission.as_mut().unwrap().wait_for_sessions = Some(Setting::seconds(3600));
    deployment
}

struct Warm {
    world: Arc<Scripted>,
    handle: Handle,
    journal: MemoryJournal,
    driving: JoinHandle<Result<State, JournalError>>,
}

/// A deployment whose window is over, while blue holds 3 requests, 2 of them upgraded.
async fn after_the_window(deployment: Deployment) -> Warm {
    let world = Arc::new(Scripted::new());
    world.scene().holds.insert("blue".to_owned(), (3, 2));
    let (driver, mut handle, journal) = begin_this(&world, deployment);
    let driving = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    Warm { world, handle, journal, driving }
}

impl Warm {
    fn said(&self) -> Vec<String> {
        let records = self.journal.records().into_iter();
        records.map(|(_, message)| message).filter(|message| message.contains("stays up until")).collect()
    }

    fn is_stopped(&self) -> bool {
        self.world.scene().commands.iter().any(|command| command == "decommission blue")
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_slot_stays_up_until_they_have_ended() {
    let warm = after_the_window(waiting()).await;
    assert_eq!(warm.handle.state.borrow().phase.name(), "warm");
    assert!(!warm.is_stopped());
    let said = warm.said();
    assert_eq!(said.len(), 1, "said once: {said:?}");
    let text = "the warm window is over, but slot \"blue\" holds 2 connections, so it stays up until they have ended, at most \
                until";
    assert!(said[0].starts_with(text), "{said:?}");
    warm.world.scene().holds.insert("blue".to_owned(), (1, 0));
    let state = warm.driving.await.unwrap().unwrap();
    assert_eq!(state.phase, Phase::Completed { note: None });
}

#[tokio::test(start_paused = true)]
async fn the_limit_ends_the_wait() {
    let begun = tokio::time::Instant::now();
    let warm = after_the_window(waiting()).await;
    warm.world.scene().fail("group", 5);
    let Warm { driving, world, journal, .. } = warm;
    assert_eq!(driving.await.unwrap().unwrap().phase.name(), "completed");
    let took = begun.elapsed().as_secs();
    assert!((3620..3700).contains(&took), "{took}");
    assert!(world.scene().commands.iter().any(|command| command == "decommission blue"));
    let records = journal.records();
    let cut = "slot \"blue\" holds 1 request and 2 connections, which the stop cuts off";
    assert!(records.iter().any(|(_, message)| message == cut), "{records:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_key_nothing_waits() {
    let warm = after_the_window(deployment()).await;
    assert_eq!((warm.said().len(), warm.is_stopped()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_no_sessions_are_not_waited_for() {
    let world = Arc::new(Scripted::new());
    world.scene().holds.insert("blue".to_owned(), (3, 0));
    let begun = tokio::time::Instant::now();
    assert_eq!(run_this(&world, waiting()).await.phase.name(), "completed");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_way_back_stays_open_meanwhile() {
    let warm = after_the_window(waiting()).await;
    let (reply, answer) = oneshot::channel();
    let request = Request { event: Some(Event::Rollback("me".to_owned())), reply };
    warm.handle.requests.send(request).await.unwrap();
    answer.await.unwrap().unwrap();
    assert_eq!(warm.driving.await.unwrap().unwrap().phase.name(), "rolled_back");
    assert_eq!(warm.world.scene().active, "blue");
}

/// The limit is that of the first process, and the slot is stopped once.
#[tokio::test(start_paused = true)]
async fn a_restarted_daemon_goes_on_waiting() {
    for (at, stopped) in [(600_000, false), (3_700_000, true)] {
        let warm = after_the_window(waiting()).await;
        warm.driving.abort();
        let driver = resume(&warm.world, &warm.journal, Time(at)).await.unwrap();
        let driving = tokio::spawn(driver.run());
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(warm.is_stopped(), stopped, "{at}");
        warm.world.scene().holds.clear();
        assert_eq!(driving.await.unwrap().unwrap().phase.name(), "completed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_needs_no_warm_window() {
    let world = Arc::new(Scripted::new());
    let mut deployment = waiting();
    deployment.policy.warm.duration = Setting::seconds(0);
    deployment.plan.warm = deployment.policy.warm_window();
    world.scene().holds.insert("blue".to_owned(), (1, 1));
    let (driver, mut handle, _) = begin_this(&world, deployment);
    let driving = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.scene().running.contains_key("blue"));
    world.scene().holds.clear();
    assert_eq!(driving.await.unwrap().unwrap().phase.name(), "completed");
}
