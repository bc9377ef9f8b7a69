//! Versions that have to be proven.

use super::advice::type_it;
use super::*;

/// The probe expects the version.
async fn proving() -> Bench {
    Bench::with(|policy| {
        policy
            .probe
            .check
            .expect_mut()
            .unwrap()
            .headers
            .insert("x-version".to_owned(), "{version}".to_owned());
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_expected_must_be_named() {
    let bench = proving().await;
    let refused = bench.deploy("").await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("needs_version", 422));
    let refused = refused.to_string();
    assert_eq!(
        refused,
        "group.shop.probe.expect contains {version}, so a deployment needs a version: cutover deploy shop --version VERSION"
    );
    let id = type_it(&bench, &refused).await.unwrap();
    bench.until(&id, "completed").await;
    assert_eq!(Bench::new().await.deploy("").await.unwrap().version, "", "nothing expects one here");
}

#[tokio::test(start_paused = true)]
async fn a_smoke_test_that_sends_the_version_needs_it_as_well() {
    let bench = Bench::with(|policy| {
        let test = serde_json::json!({ "name": "page", "path": "/{version}" });
        policy.smoke = vec![serde_json::from_value(test).unwrap()];
    })
    .await;
    let wanted = NewDeployment { to: Some("green".to_owned()), ..NewDeployment::default() };
    let refused = bench.control.deploy("shop", wanted).await.unwrap_err().to_string();
    assert!(refused.starts_with("group.shop.smoke \"page\" contains {version}"), "{refused}");
    assert!(refused.ends_with("cutover deploy shop --version VERSION --to green"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_switch_by_hand_asks_for_the_version_that_the_journal_knows() {
    let bench = proving().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "completed").await;
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "warm").await;
    for (running, code) in [("7", Some("sick")), ("2", None)] {
        bench.world.scene().running.insert("green".to_owned(), running.to_owned());
        let switched = bench.switch("green", false).await;
        assert_eq!(switched.as_ref().err().map(Refusal::code), code, "{running}: {switched:?}");
    }
    // The last deployment went from green to blue, so this goes to a slot that it does not know as the old one.
    for (running, code) in [("7", Some("sick")), ("3", None)] {
        bench.world.scene().running.insert("blue".to_owned(), running.to_owned());
        let switched = bench.switch("blue", false).await;
        assert_eq!(switched.as_ref().err().map(Refusal::code), code, "{running}: {switched:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_asks_for_the_version_that_users_had() {
    let bench = Bench::with(|policy| {
        policy.warm.duration = Duration::seconds(3600);
        policy
            .probe
            .check
            .expect_mut()
            .unwrap()
            .headers
            .insert("x-version".to_owned(), "{version}".to_owned());
    })
    .await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "warm").await;
    bench.world.scene().running.insert("green".to_owned(), "7".to_owned());
    let refused = bench.control.rollback("shop", "me").await.unwrap_err();
    assert_eq!(refused.code(), "no_better", "{refused}");
    bench.world.scene().running.insert("green".to_owned(), "2".to_owned());
    bench.control.rollback("shop", "me").await.unwrap();
    bench.until(&three.id, "rolled_back").await;
}
