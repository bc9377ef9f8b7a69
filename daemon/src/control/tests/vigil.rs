//! The active slot without a deployment: what `status` says, and whether its command helps.

use cutover_core::verdict::Signal;

use super::*;
use crate::control::run::Rerun;

impl Bench {
    async fn health(&self) -> HealthStatus {
        self.control.group_status("shop").await.unwrap().health
    }

    async fn until_health(&self, state: HealthState) -> HealthStatus {
        for _ in 0..1_200 {
            let health = self.health().await;
            if health.state == state && (!state.is_trouble() || health.next.is_some()) {
                return health;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("not {state}: {:?}", self.health().await)
    }

    /// Types the command that helps.
    async fn follow(&self, next: &str) {
        match next {
            "cutover rollback shop" => drop(self.control.rollback("shop", "me").await.unwrap()),
            "cutover switch shop --to green" => drop(self.switch("green", false).await.unwrap()),
            "cutover run shop provision" => drop(self.provision().await.unwrap()),
            other => panic!("{other}"),
        }
    }

    async fn provision(&self) -> Result<String, Refusal> {
        self.world.scene().may_start_active = true;
        self.control.run("shop", Rerun::Provision, None, "me").await
    }

    fn kill(&self, slot: &str) {
        self.world.scene().running.remove(slot);
    }
}

#[tokio::test(start_paused = true)]
async fn an_active_slot_that_nobody_can_start_is_dead_until_it_is_back() {
    let bench = Bench::new().await;
    assert_eq!(bench.health().await, HealthStatus::default(), "not probed yet");
    let healthy = bench.until_health(HealthState::Healthy).await;
    assert_eq!((&healthy.why, &healthy.next), (&None, &None));
    bench.kill("blue");
    let dead = bench.until_health(HealthState::Dead).await;
    assert_eq!(dead.why.as_deref(), Some("127.0.0.1:1: no connection: connection refused"));
    let next = dead.next.unwrap();
    assert_eq!(
        next,
        "start its servers, or deploy a version that works, as by: cutover deploy shop --version VERSION"
    );
    let refused = bench.provision().await.unwrap_err();
    assert_eq!(refused.code(), "nothing_to_run");
    assert!(refused.to_string().contains("no deployment has started it"), "{refused}");
    bench.world.scene().running.insert("blue".to_owned(), "1".to_owned());
    let healthy = bench.until_health(HealthState::Healthy).await;
    assert!(healthy.next.is_none() && healthy.since > dead.since, "{healthy:?}");
}

#[tokio::test(start_paused = true)]
async fn with_a_warm_version_a_rollback_helps() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.until_health(HealthState::Healthy).await;
    bench.kill("green");
    let next = bench.until_health(HealthState::Dead).await.next.unwrap();
    assert_eq!(next, "cutover rollback shop");
    bench.follow(&next).await;
    bench.until(&two.id, "rolled_back").await;
    bench.until_health(HealthState::Healthy).await;
    assert_eq!(bench.world.scene().active, "blue");
}

#[tokio::test(start_paused = true)]
async fn with_another_healthy_slot_a_switch_helps() {
    let bench = Bench::new().await;
    bench.until_health(HealthState::Healthy).await;
    bench.world.scene().running.insert("green".to_owned(), "1".to_owned());
    bench.kill("blue");
    let next = bench.until_health(HealthState::Dead).await.next.unwrap();
    assert_eq!(next, "cutover switch shop --to green");
    bench.follow(&next).await;
    bench.until_health(HealthState::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_its_version_is_started_again() {
    for warm in [20, 3600] {
        let bench = Bench::with_warm(warm).await;
        let two = bench.deploy("2").await.unwrap();
        bench.until(&two.id, if warm == 20 { "completed" } else { "warm" }).await;
        bench.control.stop().await;
        bench.kill("blue");
        bench.kill("green");
        let mut config = loaded();
        config.config.group.values_mut().for_each(|group| group.warm.duration = Duration::seconds(warm));
        let control = Bench::control_with(config, &bench.world, &bench.folder, Time(1_100_000)).await;
        let bench = Bench { control, ..bench };
        let next = bench.until_health(HealthState::Dead).await.next.unwrap();
        assert_eq!(next, "cutover run shop provision");
        bench.follow(&next).await;
        assert_eq!(bench.world.scene().commands.last().unwrap(), "provision green");
        assert_eq!(bench.world.scene().running.get("green").unwrap(), "2");
        bench.until_health(HealthState::Healthy).await;
        let refused = bench.provision().await.unwrap_err();
        assert_eq!(refused.code(), "slot_is_healthy");
        assert!(refused.to_string().contains("1 of its 1 servers is healthy"), "{refused}");
        assert!(refused.to_string().ends_with("cutover deploy shop --version VERSION"), "{refused}");
        let entry = bench.control.journal().entry(&two.id).await.unwrap().unwrap();
        let said = bench.control.journal().records(&two.id, 0).await.unwrap();
        assert!(said.iter().any(|record| record.message == "provision was run again by me"), "{said:?}");
        let is_open = warm == 3600;
        assert_eq!(entry.message.contains("provision"), is_open, "a note hides no end: {}", entry.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_was_rolled_back_is_not_started_again() {
    let bench = Bench::new().await;
    bench.world.scene().bad_version = Some("2".to_owned());
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "rolled_back").await;
    bench.switch("green", true).await.unwrap();
    let refused = bench.provision().await.unwrap_err().to_string();
    assert!(refused.contains("the last deployment to it did not go through"), "{refused}");
    let other = bench.control.run("shop", Rerun::Provision, Some("shop-other"), "me").await;
    assert_eq!(other.unwrap_err().code(), "nothing_to_run");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_answers_errors_is_bad_although_its_page_is_fine() {
    let bench = Bench::new().await;
    bench.until_health(HealthState::Healthy).await;
    bench.world.scene().errors = Some(("1".to_owned(), 20));
    let bad = bench.until_health(HealthState::Bad).await;
    let why = bad.why.clone().unwrap();
    assert!(why.contains("answers of blue are errors") && why.ends_with("limit: 1 %"), "{why}");
    assert_eq!(
        bad.next.as_deref(),
        Some("deploy a version that works, as by: cutover deploy shop --version VERSION")
    );
    bench.world.scene().errors = None;
    let healthy = bench.until_health(HealthState::Healthy).await;
    assert!(healthy.since > bad.since);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_servers_is_degraded() {
    let bench = Bench::new().await;
    let peers = [1, 3].map(scripted::peer).to_vec();
    bench.world.scene().slots[0].1 = peers;
    bench.until_health(HealthState::Healthy).await;
    bench.world.scene().dead.push("127.0.0.1:3".to_owned());
    let degraded = bench.until_health(HealthState::Degraded).await;
    assert!(degraded.why.as_deref().is_some_and(|why| why.starts_with("127.0.0.1:3: ")), "{degraded:?}");
    bench.world.scene().dead.push("127.0.0.1:1".to_owned());
    bench.until_health(HealthState::Dead).await;
    bench.world.scene().dead.clear();
    bench.until_health(HealthState::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_is_left_to_its_driver() {
    let bench = Bench::new().await;
    bench.until_health(HealthState::Healthy).await;
    bench.world.scene().bad_version = Some("2".to_owned());
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "rolling_back").await;
    assert_ne!(bench.health().await.state, HealthState::Bad, "the soak says it");
    bench.until(&two.id, "rolled_back").await;
    bench.until_health(HealthState::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn groups_come_and_go_with_the_configuration() {
    let bench = Bench::new().await;
    bench.until_health(HealthState::Healthy).await;
    let mut without = loaded();
    without.config.group.clear();
    bench.control.reload(without).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(
        bench.control.vigils.health(bench.control.clock.now(), "shop", "blue").since.is_none(),
        "nobody watches it"
    );
    let mut strict = loaded();
    let policy = strict.config.group.values_mut().next().unwrap();
    policy.soak.signals.insert(Signal::Errors, cutover_engine::policy::Setting::Switch(false));
    bench.control.reload(strict).unwrap();
    bench.world.scene().errors = Some(("1".to_owned(), 100));
    bench.until_health(HealthState::Healthy).await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert_eq!(bench.health().await.state, HealthState::Healthy, "errors are not judged");
    bench.control.reload(loaded()).unwrap();
    bench.until_health(HealthState::Bad).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_compares_with_the_minutes_before_it() {
    let bench = Bench::new().await;
    bench.world.scene().errors_of_both(3);
    tokio::time::sleep(std::time::Duration::from_secs(240)).await;
    let two = bench.deploy("2").await.unwrap();
    let first = bench.control.journal().records(&two.id, 0).await.unwrap().remove(0).message;
    assert!(first.contains("compared with 4 min of slot \"blue\", 2"), "{first}");
    let known = two.plan.known.answers();
    assert!(known.of > 20_000 && (known.ratio() - 0.03).abs() < 0.001, "{known:?}");
    bench.until(&two.id, "warm").await;
    let marks = bench.control.journal().entry(&two.id).await.unwrap().unwrap().state.marks.unwrap();
    assert!(marks.known.answers().of > known.of, "the time of the deployment counts, too");
    assert!(marks.old.served.answered() < known.of, "the way back is compared with the last moments");
    // The route has moved since, so the next one compares with less.
    let three = bench.deploy("3").await.unwrap();
    assert!(three.plan.known.answers().of < known.of, "{:?}", three.plan.known.answers());
}

#[tokio::test(start_paused = true)]
async fn without_a_baseline_nothing_is_said() {
    let mut loaded = loaded();
    loaded.config.group.values_mut().for_each(|group| group.soak.baseline = Duration::seconds(0));
    let (world, folder) = (Arc::new(Scripted::new()), tempfile::tempdir().unwrap());
    let control = Bench::control_with(loaded, &world, &folder, Time(1_000_000)).await;
    let bench = Bench { control, world, folder };
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let two = bench.deploy("2").await.unwrap();
    assert_eq!(two.plan.known, Default::default());
    let first = bench.control.journal().records(&two.id, 0).await.unwrap().remove(0).message;
    assert!(!first.contains("compared"), "{first}");
}
