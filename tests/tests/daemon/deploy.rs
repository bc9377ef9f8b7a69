//! Complete deployments: real nginx, the real daemon, a real shop with a database, under a load that checks every answer.
//!
//! Promises 4, 5 and 8: traffic moves only to a slot that has just been verified healthy, every deployment ends by itself,
//! and a rollback reverts only the migrations of its own deployment.

use cutover_tests::daemon::Deployed;
use cutover_tests::site::{GROUP, Release, Schema, Settings, Site, Traffic, TrafficReport, slot};

/// nginx takes nothing back by itself.
const NO_TRIAL: &str = "guard = false\nrescue = false";

/// A site under load, and its schema before the deployment.
struct SiteUnderLoad {
    site: Site,
    traffic: Traffic,
    schema: Schema,
}

impl SiteUnderLoad {
    async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    async fn start_with(settings: Settings) -> Self {
        let site = Site::start(settings).await.unwrap();
        let traffic = site.traffic().await.unwrap();
        let schema = site.schema().unwrap();
        Self { site, traffic, schema }
    }

    fn publish(&self, version: &str, schema: u32, fault: Option<&str>) {
        Release::new(version, schema, fault).publish(self.site.prefix().unwrap()).unwrap();
    }

    async fn deploy(&mut self, version: &str) -> Deployed {
        self.site.daemon().unwrap().deploy(GROUP, version).await.unwrap()
    }

    fn runs(&self, slot: &str) -> bool {
        slot::running(self.site.prefix().unwrap(), slot).is_some()
    }

    /// Stops the load. Asserts that no answer came from the wrong slot.
    async fn stop(self) -> (Site, Schema, TrafficReport) {
        let seen = self.traffic.stop().await.unwrap();
        assert_eq!(seen.report.stale, 0, "{}", seen.report);
        (self.site, self.schema, seen)
    }
}

/// The slots that got the traffic, without the fences: changes that moved nothing.
fn to_and_fro(seen: &TrafficReport) -> Vec<&str> {
    let mut slots: Vec<_> = seen.watched.switches.iter().map(String::as_str).collect();
    slots.dedup();
    slots
}

/// Asserts that every failed request has an answer that names this slot.
fn assert_only_failures_of(slot: &str, seen: &TrafficReport) {
    let foreign = seen
        .report
        .failures
        .iter()
        .find(|failure| failure.outcome.slot.as_deref().is_none_or(|of| of != slot));
    assert!(foreign.is_none(), "{foreign:?}: {}", seen.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_release_takes_the_traffic_without_losing_a_request() {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 2, None);
    let deployed = loaded.deploy("2.0.0").await;
    deployed.assert_ended("completed", 0).unwrap();
    assert!(loaded.runs("blue"), "the old release stays warm");
    let (site, _, seen) = loaded.stop().await;
    assert_eq!(seen.report.failed(), 0, "{}", seen.report);
    assert_eq!(seen.watched.switches, ["green"]);
    assert_eq!(site.schema().unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_never_gets_ready_gets_no_traffic() {
    assert_never_switched("never-ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_its_smoke_test_gets_no_traffic() {
    assert_never_switched("bad-catalogue").await;
}

async fn assert_never_switched(fault: &str) {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 2, Some(fault));
    let deployed = loaded.deploy("2.0.0").await;
    deployed.assert_ended("failed", 3).unwrap();
    assert!(!loaded.runs("green"), "a failed release is torn down");
    let (site, schema, seen) = loaded.stop().await;
    assert_eq!(seen.report.failed(), 0, "{}", seen.report);
    assert!(seen.watched.switches.is_empty(), "{:?}", seen.watched.switches);
    assert_eq!(site.schema().unwrap(), schema, "its migration is reverted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_turns_bad_is_rolled_back_with_its_migration() {
    assert_rolled_back("errors-after=30").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_dies_is_rolled_back() {
    assert_rolled_back("exit-after=30").await;
}

async fn assert_rolled_back(fault: &str) {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 3, Some(fault));
    let deployed = loaded.deploy("2.0.0").await;
    deployed.assert_ended("rolled_back", 4).unwrap();
    assert!(!loaded.runs("green"), "a bad release is torn down");
    let (site, schema, seen) = loaded.stop().await;
    assert!(seen.report.by_version.contains_key("2.0.0"), "users were on it: {}", seen.report);
    assert_only_failures_of("green", &seen);
    assert_eq!(to_and_fro(&seen), ["green", "blue"]);
    assert_eq!(site.schema().unwrap(), schema);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_may_reload_during_a_deployment() {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 2, None);
    let mut deployment = loaded.site.daemon().unwrap().begin_deploy(GROUP, "2.0.0").unwrap();
    for phase in ["migrating", "probing", "switching", "soaking"] {
        deployment.phase(phase).await.unwrap();
        loaded.site.nginx().unwrap().reload().await.unwrap();
    }
    deployment.finish().await.unwrap().assert_ended("completed", 0).unwrap();
    let (_, _, seen) = loaded.stop().await;
    assert_eq!(seen.report.failed(), 0, "{}", seen.report);
}

/// The new program's counters begin at zero, and both programs answer for a while.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_may_be_upgraded_during_a_soak() {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 2, None);
    let mut deployment = loaded.site.daemon().unwrap().begin_deploy(GROUP, "2.0.0").unwrap();
    deployment.phase("soaking").await.unwrap();
    let nginx = loaded.site.nginx().unwrap();
    let old = nginx.begin_upgrade().await.unwrap();
    loaded.traffic.answers(300).await.unwrap();
    nginx.retire(old).await.unwrap();
    deployment.finish().await.unwrap().assert_ended("completed", 0).unwrap();
    let (_, _, seen) = loaded.stop().await;
    assert_eq!(seen.report.failed(), 0, "{}", seen.report);
}

/// When both slots are bad, the active one keeps the traffic and the deployment is stuck.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_stays_when_the_old_slot_is_sick_too() {
    let mut loaded =
        SiteUnderLoad::start_with(Settings { lease: None, trial: NO_TRIAL, ..Settings::default() }).await;
    loaded.publish("2.0.0", 2, Some("errors-after=200"));
    let mut deployment = loaded.site.daemon().unwrap().begin_deploy(GROUP, "2.0.0").unwrap();
    deployment.phase("soaking").await.unwrap();
    slot::stop(loaded.site.prefix().unwrap(), "blue").unwrap();
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("stuck", 5).unwrap();
    assert!(loaded.runs("green"), "nothing is torn down");
    let (site, _, seen) = loaded.stop().await;
    assert_eq!(seen.watched.switches, ["green"]);
    assert_eq!(site.active().await.unwrap(), "green");
    assert_eq!(
        site.schema().unwrap().version,
        2,
        "no migration is reverted while its release has the traffic"
    );
}

/// The guard may move the traffic before the daemon has seen that the old slot is gone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_undone_when_the_guard_goes_back_to_a_slot_that_is_gone() {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 2, Some("errors-after=200"));
    let mut deployment = loaded.site.daemon().unwrap().begin_deploy(GROUP, "2.0.0").unwrap();
    deployment.phase("soaking").await.unwrap();
    slot::stop(loaded.site.prefix().unwrap(), "blue").unwrap();
    deployment.finish().await.unwrap().assert_ended("stuck", 5).unwrap();
    assert!(loaded.runs("green"), "it is all that is left");
    let (site, ..) = loaded.stop().await;
    assert_eq!(site.schema().unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soak_without_traffic_is_no_success() {
    let mut site = Site::start(Settings::default()).await.unwrap();
    Release::new("2.0.0", 2, None).publish(site.prefix().unwrap()).unwrap();
    let deployed = site.daemon().unwrap().deploy(GROUP, "2.0.0").await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    assert_eq!(site.active().await.unwrap(), "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_deployment_is_refused_while_one_runs() {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 2, None);
    let mut first = loaded.site.daemon().unwrap().begin_deploy(GROUP, "2.0.0").unwrap();
    let id = first.next().await.unwrap().unwrap().deployment;
    let second = loaded.deploy("2.1.0").await;
    assert_eq!(second.code, 6, "{second:?}");
    let said = format!("{}{:?}", second.stderr, second.events);
    assert!(said.contains(&id), "{said} does not name {id}");
    first.finish().await.unwrap().assert_ended("completed", 0).unwrap();
    loaded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_release_after_another() {
    let mut loaded = SiteUnderLoad::start().await;
    for (version, schema, fault, outcome, code) in [
        ("2.0.0", 2, None, "completed", 0),
        ("2.1.0", 3, Some("errors-after=30"), "rolled_back", 4),
        ("2.2.0", 3, None, "completed", 0),
    ] {
        loaded.publish(version, schema, fault);
        loaded.deploy(version).await.assert_ended(outcome, code).unwrap();
    }
    let (site, _, seen) = loaded.stop().await;
    assert_only_failures_of("blue", &seen);
    assert_eq!(to_and_fro(&seen), ["green", "blue", "green", "blue"]);
    assert_eq!(site.schema().unwrap().version, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_open_after_a_completed_deployment() {
    let mut loaded = SiteUnderLoad::start().await;
    loaded.publish("2.0.0", 1, None);
    loaded.deploy("2.0.0").await.assert_ended("completed", 0).unwrap();
    let back = loaded.site.daemon().unwrap().cli(&["rollback", GROUP]).unwrap();
    assert!(back.status.success(), "{back:?}");
    let (site, _, seen) = loaded.stop().await;
    assert_eq!(seen.report.failed(), 0, "{}", seen.report);
    assert_eq!(site.active().await.unwrap(), "blue");
}
