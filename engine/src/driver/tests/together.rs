//! Deployments of two groups that move together: both move, or none.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::Instant;

use super::*;
use crate::companions::Companions;
use crate::scripted::{Cut, Scene, SideBySide, in_steps};

const GROUPS: [&str; 2] = ["shop", "api"];

/// Both groups move at the same time, up to what the watch over them can see.
const AT_ONCE: Duration = Duration::from_millis(40);

/// What a test sees of both groups.
struct Ended {
    phases: [String; 2],
    states: [State; 2],
    /// The longest time with one group on each version.
    mixed: Duration,
}

fn deployments(steps: &[&str]) -> [Deployment; 2] {
    SideBySide::deployments().map(|mut deployment| {
        if !steps.is_empty() {
            in_steps(&mut deployment, steps);
        }
        deployment
    })
}

fn begin_both(journal: &MemoryJournal, deployments: [Deployment; 2]) {
    for deployment in deployments {
        let state = deployment.plan.begin(Time(1_000));
        journal.begin(deployment, state);
    }
}

/// Drives what is open, as a process that has just started. `cut`: the group whose journal fails, and where. Then the process ends.
async fn drive(
    world: &Arc<SideBySide>,
    journal: &MemoryJournal,
    now: u64,
    cut: Option<(&str, i64, bool)>,
) -> bool {
    let all = GROUPS.map(|group| format!("{group}-1"));
    let known = all.each_ref().map(|id| journal.entry(id).expect("it has begun"));
    let companions = Companions::new(known);
    let mut running = Vec::new();
    let (failed, mut killed) = mpsc::channel::<()>(2);
    for entry in journal.open().await.unwrap() {
        let (at, written) = match cut {
            Some((group, at, written)) if entry.deployment.plan.group == group => (at, written),
            _ => (i64::MAX, false),
        };
        let journal = match written {
            true => Cut::stop_after(journal.clone(), at),
            false => Cut::lose_after(journal.clone(), at),
        };
        let clock = Clock::starting_at(Time(now));
        let (driver, handle) = Driver::among(Arc::clone(world), journal, clock, entry, Some(&companions));
        let failed = failed.clone();
        let task = tokio::spawn(async move {
            if driver.run().await.is_err() {
                let _ = failed.send(()).await;
            }
        });
        running.push((task, handle));
    }
    drop(failed);
    let was_killed = killed.recv().await.is_some();
    for (task, _) in running {
        if was_killed {
            task.abort();
        }
        let _ = task.await;
    }
    was_killed
}

/// The longest time in which the groups are on different slots, until the watch is dropped.
async fn watch_mixture(world: Arc<SideBySide>, longest: Arc<std::sync::Mutex<Duration>>) {
    let mut since: Option<Instant> = None;
    loop {
        let on = GROUPS.map(|group| {
            let mut scene = world.of(group).scene();
            scene.end_lease();
            (scene.active.clone(), scene.split.clone())
        });
        match on[0] == on[1] {
            true => since = None,
            false => {
                let time = since.get_or_insert_with(Instant::now).elapsed();
                let mut longest = longest.lock().unwrap();
                *longest = (*longest).max(time);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run_both(
    world: &Arc<SideBySide>,
    deployments: [Deployment; 2],
    cut: Option<(&str, i64, bool)>,
) -> (Ended, bool) {
    let journal = MemoryJournal::default();
    begin_both(&journal, deployments);
    let longest = Arc::default();
    let watching = tokio::spawn(watch_mixture(Arc::clone(world), Arc::clone(&longest)));
    let killed = drive(world, &journal, 1_000, cut).await;
    if killed {
        drive(world, &journal, 30_000, None).await;
    }
    watching.abort();
    let states = GROUPS.map(|group| journal.entry(&format!("{group}-1")).unwrap().state);
    let phases = states.each_ref().map(|state| state.phase.name().to_owned());
    for group in GROUPS {
        assert_eq!(world.of(group).scene().violations, [""; 0], "{group}: {states:?}");
    }
    let mixed = *longest.lock().unwrap();
    (Ended { phases, states, mixed }, killed)
}

fn active(world: &SideBySide) -> [String; 2] {
    GROUPS.map(|group| world.of(group).scene().active.clone())
}

struct Case {
    name: &'static str,
    /// What happens to group `api`.
    script: fn(&mut Scene),
    ends: [&'static str; 2],
    active: [&'static str; 2],
    mixed: Duration,
}

const BLUE: [&str; 2] = ["blue"; 2];
const GREEN: [&str; 2] = ["green"; 2];

const CASES: &[Case] = &[
    Case { name: "good", script: |_| {}, ends: ["completed"; 2], active: GREEN, mixed: AT_ONCE },
    Case {
        name: "its migration fails",
        script: |scene| scene.fail("migrate", 1),
        ends: ["failed"; 2],
        active: BLUE,
        mixed: Duration::ZERO,
    },
    Case {
        name: "it does not start",
        script: |scene| scene.fail("provision", 1),
        ends: ["failed"; 2],
        active: BLUE,
        mixed: Duration::ZERO,
    },
    Case {
        name: "never healthy",
        script: |scene| scene.sick.push("green".to_owned()),
        ends: ["failed"; 2],
        active: BLUE,
        mixed: Duration::ZERO,
    },
    Case {
        name: "its smoke test fails",
        script: |scene| scene.bad_smoke = true,
        ends: ["failed"; 2],
        active: BLUE,
        mixed: Duration::ZERO,
    },
    Case {
        name: "sick between the smoke test and the switch",
        script: |scene| scene.sick_after_smoke = true,
        ends: ["failed"; 2],
        active: BLUE,
        mixed: Duration::ZERO,
    },
    Case {
        name: "the edge refuses its switch, so the other goes back",
        script: |scene| scene.switch_faults.push(Fault::Refused),
        ends: ["rolled_back", "failed"],
        active: BLUE,
        mixed: Duration::from_millis(100),
    },
    Case {
        name: "somebody else moves its route first, so the other goes back",
        script: |scene| scene.switch_faults.push(Fault::OtherFirst),
        ends: ["rolled_back", "failed"],
        active: BLUE,
        mixed: Duration::from_secs(1),
    },
    Case {
        name: "the reply of its switch is lost",
        script: |scene| scene.switch_faults.push(Fault::LostDone),
        ends: ["completed"; 2],
        active: GREEN,
        mixed: AT_ONCE,
    },
    Case {
        name: "its switch is never certain",
        script: |scene| scene.switch_faults.extend([Fault::LostUndone; 8]),
        ends: ["rolled_back"; 2],
        active: BLUE,
        mixed: Duration::from_secs(6),
    },
    Case {
        name: "bad for users",
        script: |scene| scene.bad_version = Some("2".to_owned()),
        ends: ["rolled_back"; 2],
        active: BLUE,
        mixed: Duration::from_millis(100),
    },
    Case {
        name: "no traffic, so there is no verdict",
        script: |scene| scene.traffic = 0,
        ends: ["rolled_back"; 2],
        active: BLUE,
        mixed: Duration::from_millis(100),
    },
    Case {
        name: "its guard takes it back",
        script: |scene| scene.taken_back_after = Some(5),
        ends: ["rolled_back"; 2],
        active: BLUE,
        mixed: Duration::from_secs(2),
    },
    Case {
        name: "bad, and its old version is not healthy, so it stays and the other has gone back",
        script: |scene| {
            scene.bad_version = Some("2".to_owned());
            scene.sick_after_switch = Some("blue".to_owned());
        },
        ends: ["rolled_back", "stuck"],
        active: ["blue", "green"],
        mixed: Duration::MAX,
    },
    Case {
        name: "its database cannot be reverted",
        script: |scene| {
            scene.bad_version = Some("2".to_owned());
            scene.fail("revert", ALWAYS);
        },
        ends: ["rolled_back", "stuck"],
        active: BLUE,
        mixed: Duration::from_millis(100),
    },
    Case {
        name: "its old slot cannot be stopped",
        script: |scene| scene.fail("decommission", ALWAYS),
        ends: ["completed"; 2],
        active: GREEN,
        mixed: AT_ONCE,
    },
];

#[tokio::test(start_paused = true)]
async fn what_happens_to_one_happens_to_both() {
    for case in CASES {
        let world = Arc::new(SideBySide::default());
        (case.script)(&mut world.of("api").scene());
        let (ended, _) = run_both(&world, deployments(&[]), None).await;
        let (name, states) = (case.name, &ended.states);
        assert_eq!(ended.phases, case.ends, "{name}: {states:?}");
        assert_eq!(active(&world), case.active, "{name}");
        assert!(ended.mixed <= case.mixed, "{name}: two versions for {:?}", ended.mixed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_version_is_not_blamed() {
    let world = Arc::new(SideBySide::default());
    world.of("api").scene().bad_version = Some("2".to_owned());
    let (ended, _) = run_both(&world, deployments(&[]), None).await;
    let causes = ended.states.each_ref().map(|state| state.phase.cause().unwrap().clone());
    assert!(!causes[0].blames_version && causes[1].blames_version, "{causes:?}");
    assert!(
        causes[0].text.starts_with("group \"api\", which moves with this one, goes back: "),
        "{}",
        causes[0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stuck_one_names_the_version_that_the_others_have() {
    let world = Arc::new(SideBySide::default());
    {
        let mut scene = world.of("api").scene();
        scene.bad_version = Some("2".to_owned());
        scene.sick_after_switch = Some("blue".to_owned());
    }
    let (ended, _) = run_both(&world, deployments(&[]), None).await;
    let Phase::Stuck { reason, .. } = &ended.states[1].phase else { panic!("{:?}", ended.states) };
    assert!(
        reason.ends_with("; group \"shop\" goes back to slot \"blue\", so users may have two versions"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_record_of_each() {
    for (steps, bad) in [(&[][..], false), (&[][..], true), (&["10% 10s", "100%"][..], false)] {
        for group in GROUPS {
            for written in [true, false] {
                let mut kills = 0;
                loop {
                    let world = Arc::new(SideBySide::default());
                    for group in GROUPS {
                        world.of(group).scene().traffic = 10_000;
                    }
                    if bad {
                        world.of("api").scene().bad_version = Some("2".to_owned());
                    }
                    let at = kills + i64::from(written);
                    let (ended, killed) =
                        run_both(&world, deployments(steps), Some((group, at, written))).await;
                    let name = format!("{steps:?}, bad: {bad}, {group} killed at {at}, written: {written}");
                    let phases = ended.phases.each_ref().map(String::as_str);
                    let (end, slots) = if bad { ("rolled_back", BLUE) } else { ("completed", GREEN) };
                    assert_eq!(
                        (phases, active(&world)),
                        ([end; 2], slots.map(str::to_owned)),
                        "{name}: {:?}",
                        ended.states
                    );
                    assert!(ended.mixed <= Duration::from_secs(1), "{name}: {:?}", ended.mixed);
                    if !killed {
                        break;
                    }
                    kills += 1;
                }
                assert!(kills >= 7, "{group}: {kills} kills");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_waits_however_long_the_other_takes() {
    let world = Arc::new(SideBySide::default());
    let mut both = deployments(&["10% 10s", "100%"]);
    both[1].policy.steps = serde_json::from_value(serde_json::json!(["10% 300s", "100%"])).unwrap();
    both[1].plan.steps = both[1].policy.steps.get();
    let (ended, _) = run_both(&world, both, None).await;
    assert_eq!(ended.phases, ["completed"; 2], "its lease is renewed meanwhile: {:?}", ended.states);
    for group in GROUPS {
        assert_eq!(world.of(group).scene().moves, ["blue->10 % green", "blue->green"]);
    }
    assert!(ended.mixed <= AT_ONCE, "{:?}", ended.mixed);
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_both() {
    for (phase, event, end) in [
        ("provisioning", Event::Abort("me".to_owned()), "failed"),
        ("soaking", Event::Abort("me".to_owned()), "rolled_back"),
        ("warm", Event::Rollback("me".to_owned()), "rolled_back"),
    ] {
        let world = Arc::new(SideBySide::default());
        let (running, [mut handle, _api]) = start_both(&world, &MemoryJournal::default());
        handle.state.wait_for(|state| state.phase.name() == phase).await.unwrap();
        let (reply, answer) = oneshot::channel();
        handle.requests.send(Request { event: Some(event), reply }).await.unwrap();
        answer.await.unwrap().unwrap();
        let ends = running.await.unwrap().map(|state| state.phase.name());
        assert_eq!(ends, [end; 2], "in {phase}");
        assert_eq!(active(&world), BLUE, "in {phase}");
    }
}

/// Both deployments under way, and their handles.
fn start_both(
    world: &Arc<SideBySide>,
    journal: &MemoryJournal,
) -> (tokio::task::JoinHandle<[State; 2]>, [Handle; 2]) {
    begin_both(journal, deployments(&[]));
    let entries = GROUPS.map(|group| journal.entry(&format!("{group}-1")).unwrap());
    let companions = Companions::new(entries.clone());
    let clock = Clock::starting_at(Time(1_000));
    let [shop, api] = entries
        .map(|entry| Driver::among(Arc::clone(world), journal.clone(), clock, entry, Some(&companions)));
    let running = tokio::spawn(async move {
        let (shop, api) = join(shop.0.run(), api.0.run()).await;
        [shop.unwrap(), api.unwrap()]
    });
    (running, [shop.1, api.1])
}

#[tokio::test(start_paused = true)]
async fn where_one_has_no_way_back_both_stay() {
    let world = Arc::new(SideBySide::default());
    let (running, [mut shop, mut api]) = start_both(&world, &MemoryJournal::default());
    for handle in [&mut shop, &mut api] {
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    }
    {
        let scene = &mut world.of("api").scene();
        scene.sick.push("blue".to_owned());
        scene.trial.as_mut().unwrap().phase = cutover_core::api::TrialPhase::Held;
    }
    let states = running.await.unwrap();
    let Phase::Stuck { reason, next, .. } = &states[0].phase else { panic!("{states:?}") };
    for said in [
        "group \"api\", which moves with this one, is stuck",
        "stays on slot \"green\"",
        "this group stays with it",
    ] {
        assert!(reason.contains(said), "{reason}");
    }
    assert_eq!(next, "cutover switch shop --to blue");
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.of("shop").scene().end_lease();
    assert_eq!(active(&world), GREEN, "no lease takes one of them back later");
}

#[tokio::test(start_paused = true)]
async fn where_somebody_moves_one_back_the_other_follows() {
    for to in ["blue", "green"] {
        let world = Arc::new(SideBySide::default());
        let (running, [mut shop, mut api]) = start_both(&world, &MemoryJournal::default());
        for handle in [&mut shop, &mut api] {
            handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        }
        world.of("api").scene().move_route(to);
        let states = running.await.unwrap();
        assert_eq!(active(&world), [to, to], "both are where somebody wants the one: {states:?}");
        let end = if to == "blue" { "rolled_back" } else { "stuck" };
        assert_eq!([states[0].phase.name(), states[1].phase.name()], [end, "stuck"], "{states:?}");
    }
}
