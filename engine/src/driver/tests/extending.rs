//! Soaks on a quiet site that go on until there is a verdict.

use cutover_core::deployment::CauseKind;
use serde_json::json;

use super::*;
use crate::scripted::Scene;

/// A deployment with too few users for a verdict within its soak of 10 s.
fn quiet(soak: serde_json::Value) -> Deployment {
    let mut deployment = deployment();
    let mut all = json!({ "duration": "10s", "min_requests": 200, "patience": "2s" });
    all.as_object_mut().unwrap().extend(soak.as_object().unwrap().clone());
    deployment.policy.soak = serde_json::from_value(all).unwrap();
    deployment.plan.accept_inconclusive = deployment.policy.soak.accepts_inconclusive();
    deployment
}

/// Runs a deployment with one request at each reading. Returns its last phase, why it was taken back, and what it said of its
/// extension.
async fn ended(
    soak: serde_json::Value,
    script: impl FnOnce(&mut Scene),
) -> (String, Option<CauseKind>, Vec<String>) {
    let world = Arc::new(Scripted::new());
    world.scene().traffic = 1;
    script(&mut world.scene());
    let (driver, _handle, journal) = begin_this(&world, quiet(soak));
    let state = driver.run().await.unwrap();
    let extended = journal.records().into_iter().filter(|(_, message)| message.contains("the soak goes on"));
    let cause = state.phase.cause().map(|cause| cause.kind);
    (
        state.phase.name().to_owned(),
        cause,
        extended.map(|(phase, message)| format!("{phase}: {message}")).collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_until_there_are_enough_answers() {
    let extend = json!({ "on_inconclusive": "extend" });
    let (end, _, said) = ended(extend, |_| {}).await;
    assert_eq!((end.as_str(), said.len()), ("completed", 1), "said once: {said:?}");
    let why = said[0].split_once("Z: only ").unwrap_or_else(|| panic!("{said:?}")).1;
    assert!(
        said[0].starts_with("soaking: the soak goes on until there is a verdict, at most until 1970-"),
        "{said:?}"
    );
    assert!(why.ends_with(" answers of green, of 200 that prove something"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn its_end_is_bounded() {
    let extend = json!({ "on_inconclusive": "extend", "extend_limit": "20s" });
    let (end, cause, said) = ended(extend, |_| {}).await;
    assert_eq!((end.as_str(), cause, said.len()), ("rolled_back", Some(CauseKind::Inconclusive), 1));
    let at_once = json!({ "on_inconclusive": "extend", "extend_limit": "0s" });
    let (end, cause, said) = ended(at_once, |_| {}).await;
    assert_eq!((end.as_str(), cause, said.len()), ("rolled_back", Some(CauseKind::Inconclusive), 0));
}

#[tokio::test(start_paused = true)]
async fn without_an_extension_the_policy_decides_at_once() {
    for (policy, end) in [("rollback", "rolled_back"), ("promote", "completed")] {
        let (ended, _, said) = ended(json!({ "on_inconclusive": policy }), |_| {}).await;
        assert_eq!((ended.as_str(), said.len()), (end, 0), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_turns_bad_meanwhile_is_taken_back() {
    let extend = json!({ "on_inconclusive": "extend" });
    let (end, cause, said) = ended(extend, |scene| scene.bad_after = Some(("2".to_owned(), 60))).await;
    assert_eq!((end.as_str(), cause, said.len()), ("rolled_back", Some(CauseKind::Soak), 1));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_hangs_is_bad_and_not_extended() {
    let extend = json!({ "on_inconclusive": "extend", "signals": { "errors": false } });
    let (end, cause, said) = ended(extend, |scene| scene.hangs = Some(("2".to_owned(), 100))).await;
    assert_eq!((end.as_str(), cause, said.len()), ("rolled_back", Some(CauseKind::Soak), 0));
}

#[tokio::test(start_paused = true)]
async fn an_extended_soak_survives_a_restart() {
    let world = Arc::new(Scripted::new());
    world.scene().traffic = 1;
    let (driver, mut handle, journal) = begin_this(&world, quiet(json!({ "on_inconclusive": "extend" })));
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    running.abort();
    let _ = running.await;
    let driver = resume(&world, &journal, Time(60_000)).await.unwrap();
    assert_eq!(driver.run().await.unwrap().phase.name(), "completed");
}
