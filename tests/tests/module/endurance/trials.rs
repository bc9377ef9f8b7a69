//! Many reloads with trials and splits in every state, and many trials without a reload: descriptors, mappings and memory do
//! not grow.

use cutover_core::api::{Group, TrialPhase};
use cutover_core::event::Kind;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Action, client, wait};

use super::reloads::{OTHER_GROUPS, WARM_UP, assert_flat, look, other_groups};

/// The path selects one of the other groups; the request fails.
const BAD: &str = "location ~ ^/bad/(other[0-9]+)$ { proxy_pass http://$1; }";

/// What happens to a group's trial over one reload.
#[derive(Clone, Copy, Debug)]
enum TrialCase {
    LeaseEnds,
    GuardGoesBack,
    RenewedAndConfirmed,
    Overtaken,
    SplitMoves,
    LeftArmed,
}

const TRIAL_CASES: [TrialCase; 6] = [
    TrialCase::LeaseEnds,
    TrialCase::GuardGoesBack,
    TrialCase::RenewedAndConfirmed,
    TrialCase::Overtaken,
    TrialCase::SplitMoves,
    TrialCase::LeftArmed,
];

#[tokio::test(flavor = "multi_thread")]
async fn ten_reloads_during_trials_leak_nothing() {
    assert_no_leak(10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn two_hundred_reloads_during_trials_leak_nothing() {
    assert_no_leak(200).await;
}

async fn assert_no_leak(reloads: u32) {
    let http = TestEdge::http(UPSTREAMS, &format!("{LOCATION} {BAD}")) + &other_groups();
    let edge = TestEdge::start(&http).await.unwrap();
    for backend in [&edge.blue, &edge.green] {
        backend.on("/bad", Action::status(500));
    }
    under_load(&edge, WARM_UP, true).await;
    let before = look(&edge.nginx).await;
    under_load(&edge, reloads, true).await;
    let after = look(&edge.nginx).await;
    assert_flat(before, after, &format!("{reloads} reloads during trials"));

    // Without reloads, because new workers would hide a leak.
    under_load(&edge, WARM_UP / 2, false).await;
    let before = look(&edge.nginx).await;
    under_load(&edge, reloads, false).await;
    let after = look(&edge.nginx).await;
    assert_flat(before, after, &format!("{reloads} rounds of trials"));

    let groups = edge.nginx.admin().groups().await.unwrap().groups;
    let armed = groups.iter().filter_map(|group| group.route.trial.as_ref());
    assert!(armed.clone().count() > 0 && armed.clone().all(|trial| trial.phase == TrialPhase::Armed));
}

async fn under_load(edge: &TestEdge, rounds: u32, reloads: bool) {
    let load = edge.load().unwrap();
    let work = async {
        for round in 0..rounds as usize {
            let groups = (0..TRIAL_CASES.len()).map(|n| (round * TRIAL_CASES.len() + n) % OTHER_GROUPS);
            let groups: Vec<_> = groups.map(|n| format!("other{n}")).zip(TRIAL_CASES).collect();
            for (group, case) in &groups {
                begin(edge, group, *case).await;
            }
            if reloads {
                edge.nginx.reload().await?;
            }
            for (group, case) in &groups {
                end(edge, group, *case).await;
            }
            load.answers(20).await?;
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("{rounds} rounds of trials, {switches} switches"), &report).unwrap();
    edge.shop.assert_settled().await.unwrap();
}

async fn change(edge: &TestEdge, group: &str, json: &str) -> Group {
    edge.nginx.admin().change_json(group, json).await.unwrap()
}

/// Changes the route before the reload. The fence ends what is left of the last round.
async fn begin(edge: &TestEdge, group: &str, case: TrialCase) {
    change(edge, group, r#"{"active":"two","fence":true}"#).await;
    let json = match case {
        TrialCase::LeaseEnds => r#"{"active":"one","lease_ms":100}"#,
        TrialCase::GuardGoesBack => {
            r#"{"active":"one","guard":{"min_requests":2,"max_error_ratio":0.5,"window_ms":600000}}"#
        }
        TrialCase::RenewedAndConfirmed => {
            r#"{"split":{"one":20,"two":80},"lease_ms":600000,
                "guard":{"min_requests":100,"max_slow_ratio":0.5,"slow_ms":1000,"window_ms":5000}}"#
        }
        TrialCase::Overtaken => r#"{"active":"one","lease_ms":600000,"rescue":true}"#,
        TrialCase::SplitMoves => r#"{"split":{"one":1,"two":99}}"#,
        TrialCase::LeftArmed => r#"{"active":"one","lease_ms":600000,"rescue":true}"#,
    };
    change(edge, group, json).await;
}

/// Waits for the end of the trial after the reload, or ends it.
async fn end(edge: &TestEdge, group: &str, case: TrialCase) {
    let admin = edge.nginx.admin();
    match case {
        TrialCase::LeaseEnds => gone_back(edge, group, Kind::Lease, None).await,
        TrialCase::GuardGoesBack => gone_back(edge, group, Kind::Guard, Some(&format!("/bad/{group}"))).await,
        TrialCase::RenewedAndConfirmed => {
            assert_eq!(admin.renew(group, 700_000).await.unwrap().status, 200);
            assert_eq!(admin.confirm(group).await.unwrap().status, 200);
        }
        TrialCase::Overtaken => {
            assert_eq!(change(edge, group, r#"{"active":"two"}"#).await.route.trial, None);
        }
        TrialCase::SplitMoves => {
            let group = change(edge, group, r#"{"split":{"one":99,"two":1}}"#).await;
            assert_eq!(group.route.active, "two");
        }
        TrialCase::LeftArmed => {
            assert!(admin.group(group).await.unwrap().route.trial.unwrap().lease_left_ms.unwrap() > 0);
        }
    }
}

/// Waits until this rule has taken the trial back, sending requests for `target` if there is one.
async fn gone_back(edge: &TestEdge, group: &str, rule: Kind, target: Option<&str>) {
    let back = async || {
        if let Some(target) = target {
            client::get(edge.nginx.address("main").unwrap(), target).await.unwrap();
        }
        let group = edge.nginx.admin().group(group).await.unwrap();
        group.route.active == "two" && group.events.last().is_some_and(|event| event.kind == rule)
    };
    wait::until_async(wait::PATIENCE, &format!("{group} to go back: {rule:?}"), back).await.unwrap();
}
