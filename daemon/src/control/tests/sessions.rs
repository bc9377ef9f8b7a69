//! Deployments beside one that waits for the sessions of its old slot.

use std::time;

use super::*;
use cutover_engine::scripted::peer;

/// Slots blue, green and red. Version 2 is live in green, its warm window is over, and blue holds a session.
async fn waiting() -> (Bench, String) {
    let bench = Bench::with(|policy| {
        policy.decommission.as_mut().unwrap().wait_for_sessions = Some(Duration::seconds(7200));
    })
    .await;
    {
        let mut scene = bench.world.scene();
        scene.slots.push(("red".to_owned(), vec![peer(3)]));
        scene.holds.insert("blue".to_owned(), (1, 1));
    }
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    tokio::time::sleep(time::Duration::from_secs(60)).await;
    (bench, two.id)
}

#[tokio::test(start_paused = true)]
async fn the_status_says_what_is_waited_for() {
    let (bench, _) = waiting().await;
    let status = bench.control.group_status("shop").await.unwrap().deployment.unwrap();
    assert_eq!(status.phase, "warm");
    assert!(
        status.message.contains("slot \"blue\" holds 1 connection, so it stays up"),
        "{}",
        status.message
    );
}

#[tokio::test(start_paused = true)]
async fn another_deployment_takes_over_and_goes_to_a_slot_without_sessions() {
    let (bench, two) = waiting().await;
    let three = bench.deploy("3").await.unwrap();
    assert_eq!((three.plan.from.as_str(), three.plan.to.as_str()), ("green", "red"));
    bench.until(&three.id, "warm").await;
    assert_eq!(bench.outcome(&two).await, Some(Outcome::Completed));
    assert!(bench.world.scene().running.contains_key("blue"), "its session goes on");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_back_to_the_slot_that_holds_them() {
    let (bench, two) = waiting().await;
    assert_eq!(bench.control.rollback("shop", "me").await.unwrap(), two);
    bench.until(&two, "rolled_back").await;
    assert_eq!(bench.world.scene().active, "blue");
}

#[tokio::test(start_paused = true)]
async fn without_a_warm_window_there_is_still_one_to_wait_in() {
    let bench = Bench::with(|policy| {
        policy.warm.duration = Duration::seconds(0);
        policy.decommission.as_mut().unwrap().wait_for_sessions = Some(Duration::seconds(7200));
    })
    .await;
    bench.world.scene().holds.insert("blue".to_owned(), (1, 1));
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    tokio::time::sleep(time::Duration::from_secs(60)).await;
    assert!(bench.world.scene().running.contains_key("blue"));
}
