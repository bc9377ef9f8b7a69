//! Which requests of operators are possible in which phase.

use cutover_core::api::Group as Seen;
use cutover_core::deployment::{Outcome, Time};

use cutover_engine::journal::Deployment;
use cutover_engine::policy::Policy;

use super::*;
use crate::config::tests::loaded;
use crate::config::{EdgeSection, ModuleSection};
use crate::journal::Superseded;
use cutover_edges::module::AdminAddress;
use cutover_engine::policy::Duration;
use cutover_engine::scripted::{self, Fault, Scripted};

mod acts;
mod advice;
mod again;
mod database;
mod fleet;
mod fleet_faults;
mod panics;
mod proof;
mod sessions;
mod stuck;
mod switched;
mod target;
mod together;
mod vigil;

struct Bench {
    control: Control<Scripted>,
    world: Arc<Scripted>,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let world = Arc::new(Scripted::new());
        let folder = tempfile::tempdir().unwrap();
        let control = Self::control(&world, &folder, Time(1_000_000)).await;
        Self { control, world, folder }
    }

    async fn with_warm(seconds: u64) -> Self {
        Self::with(|policy| policy.warm.duration = Duration::seconds(seconds)).await
    }

    /// A bench whose groups have a changed policy.
    async fn with(change: impl FnMut(&mut Policy)) -> Self {
        let (world, folder) = (Arc::new(Scripted::new()), tempfile::tempdir().unwrap());
        let mut loaded = loaded();
        loaded.config.group.values_mut().for_each(change);
        let control = Self::control_with(loaded, &world, &folder, Time(1_000_000)).await;
        Self { control, world, folder }
    }

    /// A bench with these edges.
    async fn over(edges: &[&str], change: impl FnMut(&mut Policy)) -> Self {
        let (world, folder) = (Arc::new(Scripted::of(edges)), tempfile::tempdir().unwrap());
        let mut loaded = loaded();
        loaded.config.group.values_mut().for_each(change);
        let control = Self::control_with(loaded, &world, &folder, Time(1_000_000)).await;
        Self { control, world, folder }
    }

    async fn control(world: &Arc<Scripted>, folder: &tempfile::TempDir, now: Time) -> Control<Scripted> {
        Self::control_with(loaded(), world, folder, now).await
    }

    async fn control_with(
        loaded: Loaded,
        world: &Arc<Scripted>,
        folder: &tempfile::TempDir,
        now: Time,
    ) -> Control<Scripted> {
        let journal = crate::journal::SqliteJournal::open(folder.path()).unwrap();
        Control::resume(loaded, Arc::clone(world), journal, Clock::starting_at(now)).await.unwrap()
    }

    async fn deploy(&self, version: &str) -> Result<Deployment, Refusal> {
        let wanted = NewDeployment {
            version: version.to_owned(),
            asked_by: "me".to_owned(),
            ..NewDeployment::default()
        };
        self.control.deploy("shop", wanted).await
    }

    async fn until(&self, id: &str, phase: &str) {
        let mut changes = self.control.journal().changes();
        loop {
            let entry = self.control.journal().entry(id).await.unwrap().unwrap();
            if entry.state.phase.name() == phase {
                return;
            }
            assert!(!entry.state.phase.is_final(), "{id} is {}, not {phase}", entry.state.phase.name());
            changes.changed().await.unwrap();
        }
    }

    async fn outcome(&self, id: &str) -> Option<Outcome> {
        self.control.journal().entry(id).await.unwrap().unwrap().outcome
    }

    async fn switch(&self, to: &str, force: bool) -> Result<Seen, Refusal> {
        let wanted = ManualSwitch {
            to: to.to_owned(),
            reason: "test".to_owned(),
            force,
            asked_by: "me".to_owned(),
            waiting: None,
        };
        self.control.switch("shop", wanted).await
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_deployments_at_once_one_is_told_the_other() {
    let bench = Bench::new().await;
    let (one, two) = tokio::join!(bench.deploy("2"), bench.deploy("3"));
    let (begun, refused) = match (one, two) {
        (Ok(begun), Err(refused)) | (Err(refused), Ok(begun)) => (begun, refused),
        other => panic!("{other:?}"),
    };
    assert!(matches!(&refused, Refusal::Busy(busy) if busy.id.as_ref() == Some(&begun.id)), "{refused:?}");
    assert_eq!(refused.status(), 409);
    bench.until(&begun.id, "warm").await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_itself_refuses_a_second_open_deployment() {
    let bench = Bench::new().await;
    let begun = bench.deploy("2").await.unwrap();
    let state = begun.plan.begin(Time(0));
    let again = Deployment { id: "shop-other".to_owned(), ..begun.clone() };
    let refused = bench.control.journal().begin(again, &state, "").await.unwrap_err();
    assert!(matches!(refused, JournalError::Open(id) if id == begun.id));
}

#[tokio::test(start_paused = true)]
async fn versions_follow_each_other() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    assert_eq!((two.plan.from.as_str(), two.plan.to.as_str(), two.previous.as_str()), ("blue", "green", ""));
    bench.until(&two.id, "warm").await;
    let three = bench.deploy("3").await.unwrap();
    assert_eq!((three.plan.from.as_str(), three.previous.as_str()), ("green", "2"));
    assert_eq!(
        bench.control.journal().entry(&two.id).await.unwrap().unwrap().state.phase.name(),
        "completed"
    );
    bench.until(&three.id, "completed").await;
    assert_eq!(bench.world.scene().violations, [""; 0]);
    let commands = bench.world.scene().commands.clone();
    let stops: Vec<_> = commands.iter().filter(|command| command.starts_with("decommission")).collect();
    assert_eq!(stops, ["decommission green"], "the window of 2 was taken over, so blue was not stopped");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_out_of_the_warm_window_is_one_store() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    assert!(matches!(bench.control.rollback("shop", "me").await, Err(Refusal::NotSwitchedYet { .. })));
    bench.until(&two.id, "warm").await;
    assert!(matches!(bench.control.abort("shop", "me").await, Err(Refusal::AlreadyCompleted { .. })));
    assert_eq!(bench.control.rollback("shop", "me").await.unwrap(), two.id);
    bench.until(&two.id, "rolled_back").await;
    let after = bench.control.past_completion(&two.id, 0).await.unwrap();
    let rest = bench.control.journal().records(&two.id, after).await.unwrap();
    let ends: Vec<_> = rest.iter().filter_map(|record| record.outcome).collect();
    assert_eq!(ends, [Outcome::RolledBack], "a completion just before is not the end that is followed");
    assert_eq!(bench.outcome(&two.id).await, Some(Outcome::RolledBack));
    let scene = bench.world.scene();
    assert_eq!(scene.moves, ["blue->green", "green->blue"]);
    assert_eq!(scene.database.len(), 1, "users have written with it");
}

#[tokio::test(start_paused = true)]
async fn a_second_rollback_is_told_the_end_of_the_first_one() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene().held = 1;
    assert_eq!(bench.control.rollback("shop", "me").await.unwrap(), two.id);
    bench.until(&two.id, "rolling_back").await;
    assert_eq!(bench.control.rollback("shop", "alice").await.unwrap(), two.id);
    let records = bench.control.journal().records(&two.id, 0).await.unwrap();
    let said = records.iter().any(|record| record.message.ends_with("a rollback was requested by alice"));
    assert!(said, "{records:?}");
    bench.world.scene().held = 0;
    bench.until(&two.id, "rolled_back").await;
    assert_eq!(bench.world.scene().moves, ["blue->green", "green->blue"], "once");
}

#[tokio::test(start_paused = true)]
async fn a_warm_slot_that_is_sick_is_no_way_back() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene().sick.push("blue".to_owned());
    assert!(matches!(bench.control.rollback("shop", "me").await, Err(Refusal::NoBetter { .. })));
    assert_eq!(bench.outcome(&two.id).await, Some(Outcome::Completed));
    assert_eq!(bench.world.scene().active, "green");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_with_nothing_warm_says_what_to_do() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "completed").await;
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "completed").await;
    let refused = bench.control.rollback("shop", "me").await.unwrap_err().to_string();
    assert!(refused.ends_with("cutover deploy shop --version 2"), "{refused}");
    assert!(matches!(bench.control.abort("shop", "me").await, Err(Refusal::NothingUnderWay { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_switch_by_hand_probes_first_and_waits_for_deployments() {
    let bench = Bench::new().await;
    assert!(matches!(bench.switch("green", false).await, Err(Refusal::Sick { .. })));
    assert!(matches!(bench.switch("red", false).await, Err(Refusal::UnknownSlot { .. })));
    assert_eq!(bench.switch("blue", false).await.unwrap().route.active, "blue");
    let two = bench.deploy("2").await.unwrap();
    assert!(matches!(bench.switch("green", true).await, Err(Refusal::Busy(_))));
    bench.until(&two.id, "warm").await;
    assert_eq!(bench.switch("blue", false).await.unwrap().route.active, "blue");
    bench.until(&two.id, "completed").await;
    assert_eq!(bench.world.scene().running.len(), 2, "neither slot was stopped");
    bench.world.scene().sick.push("green".to_owned());
    assert_eq!(bench.switch("green", true).await.unwrap().route.active, "green", "by force");
    let switches = bench.control.switches(Some("shop"), 10).await.unwrap();
    let slots: Vec<_> = switches.iter().map(|one| (one.from.as_str(), one.to.as_str())).collect();
    assert_eq!(slots, [("blue", "green"), ("green", "blue")], "the last first, and none that moved nothing");
}

#[tokio::test(start_paused = true)]
async fn a_switch_by_hand_that_nginx_refuses_costs_no_way_back() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene().switch_faults.push(Fault::Refused);
    assert_eq!(bench.switch("blue", false).await.unwrap_err().code(), "not_switched");
    assert_eq!(bench.control.rollback("shop", "me").await.unwrap(), two.id);
}

#[tokio::test(start_paused = true)]
async fn a_switch_by_hand_whose_answer_is_lost_never_comes_late() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene().switch_faults.push(Fault::LostUndone);
    assert_eq!(bench.switch("blue", false).await.unwrap().route.active, "blue", "it is asked again");
    bench.switch("green", false).await.unwrap();
    bench.world.scene().switch_faults.extend([Fault::Late; 4]);
    let refused = bench.switch("blue", false).await.unwrap_err().to_string();
    assert!(refused.contains("nothing has moved"), "{refused}");
    bench.world.scene().deliver();
    assert_eq!(bench.world.scene().active, "green");
    bench.world.scene().switch_faults.push(Fault::LostDone);
    assert_eq!(bench.switch("blue", false).await.unwrap().route.active, "blue");
    bench.world.scene().switch_faults.extend([Fault::LostUndone; 5]);
    assert_eq!(bench.switch("green", false).await.unwrap_err().code(), "switch_unknown", "nor is the fence");
}

#[tokio::test(start_paused = true)]
async fn a_switch_by_hand_that_is_not_on_disk_has_moved_all_the_same() {
    let bench = Bench::new().await;
    bench.world.scene().running.insert("green".to_owned(), "2".to_owned());
    bench.world.scene().switch_faults.push(Fault::NotDurable);
    assert_eq!(bench.switch("green", false).await.unwrap().route.active, "green", "it is asked again");
    bench.world.scene().switch_faults.extend([Fault::NotDurable; 4]);
    let refused = bench.switch("blue", false).await.unwrap_err();
    assert_eq!(refused.status(), 507);
    assert!(refused.to_string().starts_with("switched: slot \"blue\""), "{refused}");
    assert_eq!(bench.world.scene().active, "blue");
    bench.world.scene().switch_faults.push(Fault::NotDurable);
    assert_eq!(
        bench.switch("blue", false).await.unwrap().route.active,
        "blue",
        "asked for what is, it flushes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_fails_early_leaves_the_warm_slot_as_a_way_back() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene().fail("migrate", 1);
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "failed").await;
    let two = bench.control.deployment(&two.id).await.unwrap();
    assert!(two.message.ends_with("slot \"blue\" is left running"), "{}", two.message);
    let refused = bench.control.rollback("shop", "me").await.unwrap_err().to_string();
    assert!(refused.ends_with("cutover switch shop --to blue"), "{refused}");
    bench.switch("blue", false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_warm_window_ends_together_with_the_next_beginning_or_not_at_all() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    let journal = bench.control.journal();
    let entry = journal.entry(&two.id).await.unwrap().unwrap();
    let superseded = Superseded::of(&entry, Time(0)).unwrap();
    let state = two.plan.begin(Time(0));
    // The id exists already, so the new deployment cannot be written.
    journal.begin_after(superseded.clone(), two.clone(), &state, "").await.unwrap_err();
    assert_eq!(journal.entry(&two.id).await.unwrap().unwrap().state, entry.state);
    let other = Deployment { id: "shop-other".to_owned(), ..two.clone() };
    let mut later = two.plan.step(&entry.state, Event::WarmOver, Time(0)).unwrap();
    later.abort = None;
    journal.append(&two.id, Time(0), &later, "").await.unwrap();
    let refused = journal.begin_after(superseded, other, &state, "").await.unwrap_err();
    assert!(matches!(refused, JournalError::Open(id) if id == two.id), "it has gone on meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_refused_rollback_does_not_name_the_version_that_is_live() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "completed").await;
    bench.world.scene().bad_version = Some("3".to_owned());
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "rolled_back").await;
    let refused = bench.control.rollback("shop", "me").await.unwrap_err().to_string();
    assert!(refused.ends_with("cutover deploy shop --version VERSION"), "2 is live: {refused}");
    let aborted = bench.control.abort("shopp", "me").await.unwrap_err();
    for ask in [aborted, bench.control.rollback("shopp", "me").await.unwrap_err()] {
        assert_eq!(ask.code(), "unknown_group");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_that_nginx_would_refuse_in_the_end() {
    let mut bench = Bench::new().await;
    let mut loaded = loaded();
    let edge = loaded.config.edge.values_mut().next().unwrap();
    *edge = at(AdminAddress::Tcp(([127, 0, 0, 1], 1).into()));
    bench.control.loaded = Arc::new(ArcSwap::from_pointee((loaded, Time(0))));
    assert_eq!(bench.deploy("2").await.unwrap_err().code(), "reads_only");
    assert_eq!(bench.switch("green", true).await.unwrap_err().code(), "reads_only");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_needs_a_slot_without_traffic() {
    let bench = Bench::new().await;
    for (to, code) in [("blue", "slot_is_active"), ("red", "unknown_slot")] {
        let wanted = NewDeployment { to: Some(to.to_owned()), ..NewDeployment::default() };
        assert_eq!(bench.control.deploy("shop", wanted).await.unwrap_err().code(), code);
    }
    let refused = bench.control.deploy("shopp", NewDeployment::default()).await.unwrap_err().to_string();
    assert_eq!(refused, "no group \"shopp\" in the configuration; it has: shop");
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_while_nginx_does_not_answer() {
    let bench = Bench::new().await;
    bench.world.scene().fail("group", 1);
    assert_eq!(bench.deploy("2").await.unwrap_err().code(), "edge");
    assert!(bench.control.history(None, 10).await.unwrap().is_empty());
    bench.deploy("2").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_daemon_goes_on_and_still_refuses_a_second_one() {
    let Bench { control, world, folder } = Bench::new().await;
    let wanted = NewDeployment { version: "2".to_owned(), ..NewDeployment::default() };
    let two = control.deploy("shop", wanted).await.unwrap();
    control.stop().await;
    drop(control);
    let control = Bench::control(&world, &folder, Time(1_005_000)).await;
    let bench = Bench { control, world, folder };
    assert!(matches!(bench.deploy("3").await, Err(Refusal::Busy(busy)) if busy.id.as_ref() == Some(&two.id)));
    bench.until(&two.id, "completed").await;
    assert_eq!(bench.world.scene().moves, ["blue->green"]);
}

#[tokio::test(start_paused = true)]
async fn a_migration_ends_before_the_daemon_does() {
    let Bench { control, world, folder: _folder } = Bench::new().await;
    let wanted = NewDeployment { version: "2".to_owned(), ..NewDeployment::default() };
    let two = control.deploy("shop", wanted).await.unwrap();
    control.stop().await;
    assert_eq!(world.scene().database, std::slice::from_ref(&two.id));
    let entry = control.journal().entry(&two.id).await.unwrap().unwrap();
    assert!(entry.state.migrated, "{:?}", entry.state);
}

#[tokio::test(start_paused = true)]
async fn old_deployments_are_forgotten() {
    let bench = Bench::new().await;
    let all = KEPT as usize + 10;
    for _ in 0..all {
        bench.world.scene().exit_code.insert("migrate".to_owned(), 1);
        let begun = bench.deploy("2").await.unwrap();
        bench.until(&begun.id, "failed").await;
    }
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        if bench.control.history(None, 1_000).await.unwrap().len() == KEPT as usize {
            return;
        }
    }
    panic!("{} are kept", bench.control.history(None, 1_000).await.unwrap().len());
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_read_again_counts_for_what_is_new() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    let mut new = loaded();
    new.config.group.values_mut().for_each(|policy| policy.warm.duration = Duration::seconds(0));
    bench.control.reload(new).unwrap();
    bench.until(&two.id, "warm").await;
    let three = bench.deploy("3").await.unwrap();
    assert_eq!(three.plan.warm, std::time::Duration::ZERO);
    bench.until(&three.id, "completed").await;
    assert_eq!(two.plan.warm, std::time::Duration::from_secs(20), "it ends as it began");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_gone_from_the_configuration_can_still_be_taken_back() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    let mut new = loaded();
    new.config.group.clear();
    bench.control.reload(new).unwrap();
    assert_eq!(bench.deploy("3").await.unwrap_err().code(), "unknown_group");
    assert_eq!(bench.control.status().await.unwrap().len(), 1, "its deployment is under way");
    bench.control.rollback("shop", "me").await.unwrap();
    bench.until(&two.id, "rolled_back").await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_once_and_for_all_is_refused() {
    let bench = Bench::new().await;
    let mut new = loaded();
    new.config.daemon.state = "/elsewhere".into();
    let refused = bench.control.reload(new).unwrap_err().to_string();
    assert_eq!(refused, "[daemon] has changed, so the daemon must be restarted");
    let mut new = loaded();
    *new.config.edge.values_mut().next().unwrap() = at(AdminAddress::Unix("/elsewhere".into()));
    new.config.group.clear();
    let refused = bench.control.reload(new).unwrap_err().to_string();
    assert_eq!(refused, "[edge.nginx] has changed, so the daemon must be restarted");
    bench.deploy("2").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_begun_with_a_broken_configuration() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "soaking").await;
    let mut broken = loaded();
    broken.config.group.clear();
    broken.broken = Some("line 7: no".to_owned());
    let control = Bench::control_with(broken, &bench.world, &bench.folder, Time(1_100_000)).await;
    let bench = Bench { control, ..bench };
    bench.until(&two.id, "warm").await;
    let refused = bench.deploy("3").await.unwrap_err();
    assert_eq!(refused.code(), "broken_configuration");
    assert!(refused.to_string().ends_with("systemctl reload cutover; line 7: no"), "{refused}");
    bench.control.reload(loaded()).unwrap();
    bench.deploy("3").await.unwrap();
}

/// A section of nginx with the module at this address.
fn at(admin: AdminAddress) -> EdgeSection {
    EdgeSection::Module(ModuleSection { admin, token_file: None, tls: Default::default() })
}
