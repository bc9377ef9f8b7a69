//! A daemon dies, sleeps or is cut off in a deployment, and the other one goes on.

use std::time::{Duration, Instant};

use cutover_tests::two_daemons::{GROUP, WITHOUT_DRIVER};
use cutover_tests::{TwoDaemons, wait};

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_in_the_soak_and_the_other_one_finishes() {
    let mut pair = TwoDaemons::start(1, GROUP).await.unwrap();
    let users = pair.users().unwrap();
    let mut deployment = pair.daemons[0].begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let generation = pair.edge.group().await.unwrap().route.generation;
    let died = Instant::now();
    pair.daemons[0].kill().unwrap();
    let fenced = |seen: &cutover_core::api::Group| seen.route.generation == generation + 1;
    let seen = pair.edge.until("the next leader to fence the route", fenced).await.unwrap();
    assert!(died.elapsed() < WITHOUT_DRIVER, "{:?}", died.elapsed());
    println!("without a driver for {:?}", died.elapsed());
    let trial = seen.route.trial.expect("the trial goes on");
    assert_eq!((trial.slot.as_str(), trial.fallback.as_str()), ("green", "blue"));
    let id = deployment.finish().await.unwrap().events[0].deployment.clone();
    let ended =
        wait::until_some(Duration::from_secs(60), "the end", || pair.daemons[1].outcome(&id).unwrap()).await;
    assert_eq!(ended.unwrap(), "completed");
    assert_eq!(pair.edge.group().await.unwrap().route.active, "green");
    assert_eq!(users.answers().1, 0, "no user has seen it");
}
