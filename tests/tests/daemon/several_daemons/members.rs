//! Members of etcd die, sleep or are away. Users do not notice, and a deployment waits for a majority.

use std::time::Duration;

use cutover_core::api::Group;
use cutover_tests::two_daemons::GROUP;
use cutover_tests::{TwoDaemons, wait};

const LIMIT: Duration = Duration::from_secs(60);

fn last(pair: &TwoDaemons, pointer: &str) -> String {
    let leader = pair.leader();
    let status = leader.and_then(|leader| pair.daemons[leader].status("shop").ok()).unwrap_or_default();
    status.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

async fn completes(pair: &TwoDaemons) {
    let over = wait::until_within(LIMIT, "the end", || last(pair, "/deployment/phase") == "completed");
    over.await
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", pair.daemons[0].log(), pair.daemons[1].log()));
    assert_eq!(pair.edge.group().await.unwrap().route.active, "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_of_three_may_sleep_and_another_one_die_later() {
    let mut pair = TwoDaemons::start(3, GROUP).await.unwrap();
    let users = pair.users().unwrap();
    pair.cluster.pause(0, true).unwrap();
    let leader = pair.until_leader().await.unwrap();
    pair.daemons[leader].deploy_detached("shop", "2").unwrap();
    let is_on = |group: &Group| group.route.active == "green";
    pair.edge.until("the switch", is_on).await.unwrap();
    pair.cluster.pause(0, false).unwrap();
    pair.cluster.kill(1).unwrap();
    completes(&pair).await;
    assert_eq!(users.answers().1, 0, "no user has seen it");
    pair.cluster.restart(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_moves_forward_and_the_deployment_ends_when_it_is_back() {
    let mut pair = TwoDaemons::start(3, GROUP).await.unwrap();
    let users = pair.users().unwrap();
    let leader = pair.until_leader().await.unwrap();
    pair.daemons[leader].deploy_detached("shop", "2").unwrap();
    let is_on = |group: &Group| group.route.active == "green";
    let group = pair.edge.until("the switch", is_on).await.unwrap();
    pair.cluster.kill(0).unwrap();
    pair.cluster.kill(1).unwrap();
    // Its lease runs out, so it drops the driver. The soak would be over by then.
    let stopped =
        wait::until("the daemon to stop", || pair.daemons[leader].log().contains("no longer leading"));
    stopped.await.unwrap();
    let now = pair.edge.group().await.unwrap();
    assert_eq!(now.route.generation, group.route.generation, "nothing has moved");
    assert!(now.route.trial.is_some(), "the trial is not confirmed without a record");
    let refused = pair.daemons[leader].cli(&["deploy", "shop", "--version", "3", "--detach"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("does not lead"), "{said}");
    pair.cluster.restart(0).await.unwrap();
    pair.cluster.restart(1).await.unwrap();
    completes(&pair).await;
    assert_eq!(users.answers().1, 0, "no user has seen it");
}
