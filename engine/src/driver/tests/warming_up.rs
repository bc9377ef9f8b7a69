//! The warm-up of the new version before the switch.

use serde_json::json;

use super::*;
use crate::scripted::{Scene, peer};

async fn ended(
    warmup: serde_json::Value,
    script: impl FnOnce(&mut Scene),
) -> (State, Arc<Scripted>, Vec<String>) {
    let world = Arc::new(Scripted::new());
    script(&mut world.scene());
    let mut deployment = deployment();
    deployment.policy.warmup = serde_json::from_value(warmup).unwrap();
    let (driver, _handle, journal) = begin_this(&world, deployment);
    let state = driver.run().await.unwrap();
    (state, world, journal.records().into_iter().map(|(_, message)| message).collect())
}

#[tokio::test(start_paused = true)]
async fn each_healthy_server_is_warmed() {
    let (state, world, said) = ended(json!({ "requests": 30 }), |scene| scene.slots[1].1.push(peer(3))).await;
    assert_eq!(state.phase.name(), "completed");
    let asked = |address: &str| world.scene().synthetic.iter().filter(|server| *server == address).count();
    assert_eq!((asked("127.0.0.1:1"), asked("127.0.0.1:2"), asked("127.0.0.1:3")), (0, 30, 30));
    let told = said.iter().find(|message| message.starts_with("warmed up: ")).unwrap();
    let begin = "warmed up: 60 requests to 2 servers, p99 ";
    assert!(told.starts_with(begin) && told.contains(", 0 of the answers 5xx in "), "{told}");
    let good = said.iter().find(|message| message.starts_with("good: ")).unwrap();
    assert!(!good.contains("synthetic"), "they are no evidence: {good}");
}

#[tokio::test(start_paused = true)]
async fn without_a_table_nothing_is_sent() {
    let world = Arc::new(Scripted::new());
    assert_eq!(run(&world).await.phase.name(), "completed");
    assert_eq!(world.scene().synthetic, [""; 0]);
}

/// It is no reason to fail: the soak judges.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_never_met_costs_the_deadline() {
    let asked = json!({ "requests": 10, "until_p99": "1ms", "deadline": "3s" });
    let (state, world, said) = ended(asked, |_| {}).await;
    assert_eq!(state.phase.name(), "completed", "{said:#?}");
    let told = said.iter().find(|message| message.starts_with("the warm-up ended at its deadline of 3s: "));
    let told = told.unwrap_or_else(|| panic!("{said:#?}"));
    assert!(told.contains("not below until_p99 = \"1ms\""), "{told}");
    assert!(world.scene().synthetic.len() > 100);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_most_of_them_gets_no_traffic() {
    let (state, world, said) =
        ended(json!({ "requests": 10 }), |scene| scene.bad_version = Some("2".to_owned())).await;
    let cause = state.phase.cause().unwrap_or_else(|| panic!("{said:#?}"));
    let why = "warm-up failed: 10 requests to 1 server, 10 of the answers 5xx; the last status was 500";
    assert_eq!((state.phase.name(), cause.text.as_str()), ("failed", why));
    assert_eq!(world.scene().moves, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_is_refused() {
    let warmup: crate::policy::Warmup = serde_json::from_value(json!({ "requests": 4 })).unwrap();
    for bad in
        ["{ \"paths\": [] }", "{ \"concurrency\": 257 }", "{ \"until_p99\": \"0s\" }", "{ \"requests\": 0 }"]
    {
        assert!(serde_json::from_str::<crate::policy::Warmup>(bad).is_err(), "{bad}");
    }
    assert_eq!(warmup.requests.get(), 4);
}
