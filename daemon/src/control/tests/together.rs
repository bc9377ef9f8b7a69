//! Several groups that are deployed together.

use cutover_engine::policy::OnBad;
use cutover_engine::scripted::SideBySide;

use super::*;
use crate::journal::SqliteJournal;

const GROUPS: [&str; 2] = ["api", "shop"];

struct Both {
    control: Control<SideBySide>,
    world: Arc<SideBySide>,
    folder: tempfile::TempDir,
}

fn two_groups(mut change: impl FnMut(&str, &mut Policy)) -> Loaded {
    let mut loaded = loaded();
    let usual = loaded.config.group.values().next().unwrap().clone();
    loaded.config.group = GROUPS
        .into_iter()
        .map(|group| {
            let mut policy = usual.clone();
            change(group, &mut policy);
            (serde_json::from_value(serde_json::json!(group)).unwrap(), policy)
        })
        .collect();
    loaded
}

impl Both {
    async fn new() -> Self {
        Self::with(|_, policy| policy.warm.duration = Duration::seconds(3600)).await
    }

    async fn with(change: impl FnMut(&str, &mut Policy)) -> Self {
        let (world, folder) = (Arc::new(SideBySide::default()), tempfile::tempdir().unwrap());
        let control = Self::control(&world, &folder, two_groups(change), 1_000_000).await;
        Self { control, world, folder }
    }

    async fn control(
        world: &Arc<SideBySide>,
        folder: &tempfile::TempDir,
        loaded: Loaded,
        now: u64,
    ) -> Control<SideBySide> {
        let journal = SqliteJournal::open(folder.path()).unwrap();
        Control::resume(loaded, Arc::clone(world), journal, Clock::starting_at(Time(now))).await.unwrap()
    }

    async fn deploy(&self, version: &str) -> Result<Vec<Deployment>, Refusal> {
        let wanted = NewDeployment {
            version: version.to_owned(),
            asked_by: "me".to_owned(),
            ..NewDeployment::default()
        };
        self.control.deploy_together(&GROUPS.map(str::to_owned), wanted).await
    }

    async fn deploy_one(&self, group: &str, version: &str) -> Result<Deployment, Refusal> {
        let wanted = NewDeployment { version: version.to_owned(), ..NewDeployment::default() };
        self.control.deploy(group, wanted).await
    }

    async fn until(&self, begun: &[Deployment], phase: &str) {
        let mut changes = self.control.journal().changes();
        loop {
            let phases = self.phases(begun).await;
            if phases.iter().all(|is| is == phase) {
                return;
            }
            let is_over =
                |is: &String| ["failed", "rolled_back", "stuck", "completed"].contains(&is.as_str());
            let states = self.states(begun).await;
            assert!(!phases.iter().all(is_over), "{phases:?}, not {phase}: {states:?}");
            changes.changed().await.unwrap();
        }
    }

    async fn phases(&self, begun: &[Deployment]) -> Vec<String> {
        self.states(begun).await.iter().map(|phase| phase.name().to_owned()).collect()
    }

    async fn states(&self, begun: &[Deployment]) -> Vec<Phase> {
        let mut phases = Vec::new();
        for Deployment { id, .. } in begun {
            phases.push(self.control.journal().entry(id).await.unwrap().unwrap().state.phase);
        }
        phases
    }

    fn active(&self) -> [String; 2] {
        GROUPS.map(|group| self.world.of(group).scene().active.clone())
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for group in GROUPS {
                assert_eq!(self.world.of(group).scene().violations, [""; 0], "{group}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_are_live_and_say_with_whom_they_move() {
    let both = Both::new().await;
    let begun = both.deploy("2").await.unwrap();
    both.until(&begun, "warm").await;
    assert_eq!(both.active(), ["green"; 2]);
    let shop = both.control.group_status("shop").await.unwrap().deployment.unwrap();
    assert_eq!(shop.with, ["api"]);
    let records = both.control.journal().records(&begun[1].id, 0).await.unwrap();
    assert!(records[0].message.contains("together with \"api\""), "{}", records[0].message);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_keeps_both_from_beginning() {
    let both = Both::new().await;
    both.world.of("shop").scene().fail("group", 1);
    assert_eq!(both.deploy("2").await.unwrap_err().code(), "edge");
    let alone = both.deploy_one("api", "3").await.unwrap();
    let refused = both.deploy("2").await.unwrap_err();
    assert_eq!(refused.code(), "busy");
    let said = refused.to_string();
    assert!(
        said.starts_with("group \"api\": deployment") && said.ends_with("with the others either"),
        "{said}"
    );
    both.until(&[alone], "warm").await;
    assert_eq!(both.control.history(None, 10).await.unwrap().len(), 1, "nothing else has begun");
    let none = both.control.deploy_together(&[], NewDeployment::default()).await;
    assert_eq!(none.unwrap_err().code(), "no_group");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_late_leaves_the_warm_windows() {
    let both = Both::new().await;
    let two = both.deploy("2").await.unwrap();
    both.until(&two, "warm").await;
    // The journal refuses the id of the second group, after the drivers of both windows were stopped.
    let mut loaded = two_groups(|_, policy| policy.warm.duration = Duration::seconds(3600));
    loaded.config.group.values_mut().last().unwrap().steps =
        serde_json::from_value(serde_json::json!(["10% 5s", "100%"])).unwrap();
    both.control.reload(loaded).unwrap();
    assert_eq!(both.deploy("3").await.unwrap_err().code(), "steps_differ");
    assert_eq!(both.phases(&two).await, ["warm"; 2]);
    both.control.rollback("api", "me").await.unwrap();
    both.until(&two, "rolled_back").await;
    assert_eq!(both.active(), ["blue"; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_next_deployment_of_both_takes_over() {
    let both = Both::new().await;
    let two = both.deploy("2").await.unwrap();
    both.until(&two, "warm").await;
    let three = both.deploy("3").await.unwrap();
    assert_eq!(both.phases(&two).await, ["completed"; 2]);
    both.until(&three, "warm").await;
    assert_eq!(both.active(), ["blue"; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_next_deployment_of_one_leaves_the_other_its_window() {
    let both = Both::with(|_, policy| policy.warm.duration = Duration::seconds(60)).await;
    let two = both.deploy("2").await.unwrap();
    both.until(&two, "warm").await;
    let three = both.deploy_one("api", "3").await.unwrap();
    both.until(&[three], "completed").await;
    both.until(&two, "completed").await;
    assert_eq!(both.active(), ["blue", "green"]);
}

#[tokio::test(start_paused = true)]
async fn requests_to_one_are_requests_to_both() {
    let both = Both::with(|_, policy| {
        policy.steps = serde_json::from_value(serde_json::json!(["10% manual", "100%"])).unwrap();
        policy.warm.duration = Duration::seconds(3600);
    })
    .await;
    let begun = both.deploy("2").await.unwrap();
    both.until(&begun, "soaking").await;
    let paused =
        async |group: &str| both.control.group_status(group).await.unwrap().deployment.unwrap().paused_by;
    both.control.steer("shop", Steering::Pause, None, "me").await.unwrap();
    assert_eq!([paused("shop").await, paused("api").await].map(Option::unwrap), ["me"; 2]);
    both.control.steer("api", Steering::Resume, None, "me").await.unwrap();
    assert_eq!([paused("shop").await, paused("api").await], [None, None]);
    both.control.steer("api", Steering::Promote, Some(1), "me").await.unwrap();
    both.until(&begun, "warm").await;
    assert_eq!(both.active(), ["green"; 2]);
    assert_eq!(both.control.companions("shop").await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abort_of_one_ends_both() {
    for phase in ["provisioning", "soaking"] {
        let both = Both::new().await;
        let begun = both.deploy("2").await.unwrap();
        both.until(&begun, phase).await;
        both.control.abort("shop", "me").await.unwrap();
        both.until(&begun, if phase == "soaking" { "rolled_back" } else { "failed" }).await;
        assert_eq!(both.active(), ["blue"; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_rollback_begins_that_only_one_can_make() {
    let both = Both::new().await;
    let begun = both.deploy("2").await.unwrap();
    both.until(&begun, "warm").await;
    both.world.of("api").scene().sick.push("blue".to_owned());
    let refused = both.control.rollback("shop", "me").await.unwrap_err();
    assert_eq!(refused.code(), "no_better");
    assert!(refused.to_string().starts_with("group \"api\": "), "{refused}");
    assert_eq!(both.phases(&begun).await, ["warm"; 2]);
    both.world.of("api").scene().sick.clear();
    both.control.rollback("shop", "me").await.unwrap();
    both.until(&begun, "rolled_back").await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_turns_bad_while_warm_takes_both_back() {
    let both = Both::with(|_, policy| {
        policy.warm.duration = Duration::seconds(3600);
        policy.warm.on_bad = OnBad::Rollback;
    })
    .await;
    let begun = both.deploy("2").await.unwrap();
    both.until(&begun, "warm").await;
    both.world.of("api").scene().bad_version = Some("2".to_owned());
    both.until(&begun, "rolled_back").await;
    assert_eq!(both.active(), ["blue"; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_windows_end_together() {
    let both = Both::with(|group, policy| {
        policy.warm.duration = Duration::seconds(if group == "api" { 0 } else { 60 });
    })
    .await;
    let begun = both.deploy("2").await.unwrap();
    assert_eq!(begun[0].plan.warm, begun[1].plan.warm);
    both.until(&begun, "warm").await;
    both.until(&begun, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_daemon_goes_on_with_both() {
    for phase in ["provisioning", "soaking", "draining", "warm"] {
        let both = Both::new().await;
        let begun = both.deploy("2").await.unwrap();
        both.until(&begun[..1], phase).await;
        both.control.stop().await;
        let loaded = two_groups(|_, policy| policy.warm.duration = Duration::seconds(3600));
        let control = Both::control(&both.world, &both.folder, loaded, 1_005_000).await;
        let again = control.companions("shop").await.unwrap();
        assert_eq!(again.len(), 1, "in {phase}");
        let mut changes = control.journal().changes();
        for Deployment { id, .. } in &begun {
            while control.journal().entry(id).await.unwrap().unwrap().state.phase.name() != "warm" {
                changes.changed().await.unwrap();
            }
        }
        control.rollback("shop", "me").await.unwrap();
        for Deployment { id, .. } in &begun {
            while control.journal().entry(id).await.unwrap().unwrap().state.phase.name() != "rolled_back" {
                changes.changed().await.unwrap();
            }
        }
        assert_eq!(both.active(), ["blue"; 2], "in {phase}");
    }
}
