//! A deployment over three edges: all of them move, or none.

use std::time::Duration;

use cutover_core::deployment::RollbackStep;
use tokio::time::Instant;

use super::*;
use crate::edge::Shift;
use crate::scripted::Away;

const EDGES: [&str; 3] = ["lyon", "nice", "paris"];

/// The lease of the usual deployment.
const LEASE: Duration = Duration::from_secs(30);

struct Case {
    name: &'static str,
    script: fn(&Scripted),
    end: &'static str,
    /// The active slot of each edge in the end.
    active: [&'static str; 3],
    /// How long users may have seen both versions at most.
    mixed: Duration,
}

const BLUE: [&str; 3] = ["blue"; 3];
const GREEN: [&str; 3] = ["green"; 3];
/// All edges move at the same time, up to the tenth of a second between two looks.
const AT_ONCE: Duration = Duration::from_millis(200);

const CASES: &[Case] = &[
    Case { name: "good", script: |_| {}, end: "completed", active: GREEN, mixed: AT_ONCE },
    Case {
        name: "bad on all edges",
        script: |world| on_each(world, |scene| scene.bad_version = Some("2".to_owned())),
        end: "rolled_back",
        active: BLUE,
        mixed: AT_ONCE,
    },
    Case {
        name: "bad on one edge only",
        script: |world| world.scene_of("nice").bad_version = Some("2".to_owned()),
        end: "rolled_back",
        active: BLUE,
        mixed: AT_ONCE,
    },
    Case {
        name: "one edge refuses the switch, so the others go back",
        script: |world| world.scene_of("nice").switch_faults.push(Fault::Refused),
        end: "rolled_back",
        active: BLUE,
        mixed: Duration::from_secs(5),
    },
    Case {
        name: "the reply of one edge is lost",
        script: |world| world.scene_of("nice").switch_faults.push(Fault::LostDone),
        end: "completed",
        active: GREEN,
        mixed: Duration::from_secs(1),
    },
    Case {
        name: "one edge never gets the switch",
        script: |world| world.scene_of("nice").switch_faults.extend([Fault::NotSent; 8]),
        end: "rolled_back",
        active: BLUE,
        mixed: Duration::from_secs(6),
    },
    Case {
        name: "one edge does not answer when all should be read",
        script: |world| world.scene_of("paris").fail("group", ALWAYS),
        end: "failed",
        active: BLUE,
        mixed: Duration::ZERO,
    },
    Case {
        name: "the guard of one edge takes its traffic back",
        script: |world| world.scene_of("nice").taken_back_after = Some(3),
        end: "rolled_back",
        active: BLUE,
        mixed: Duration::from_secs(2),
    },
    Case {
        name: "somebody moves one edge back by hand in the soak",
        script: |world| world.scene_of("nice").moved_after = Some((22, "blue".to_owned())),
        end: "rolled_back",
        active: BLUE,
        mixed: Duration::from_secs(2),
    },
    Case {
        name: "one edge is slow",
        script: |world| world.scene_of("nice").delay = Duration::from_millis(200),
        end: "completed",
        active: GREEN,
        mixed: Duration::from_secs(1),
    },
    Case {
        name: "one edge goes away after its switch, so its lease takes its traffic back and the others follow",
        script: |world| world.scene_of("nice").blind_after_switch = ALWAYS,
        end: "stuck",
        active: BLUE,
        mixed: LEASE,
    },
    Case {
        name: "one edge is away for a moment",
        script: |world| world.scene_of("nice").blind_after_switch = 2,
        end: "completed",
        active: GREEN,
        mixed: AT_ONCE,
    },
    Case {
        name: "one edge does not get the confirmation: the others stay, and it is repaired later",
        script: |world| world.scene_of("nice").fail("confirm", ALWAYS),
        end: "completed",
        active: ["green", "blue", "green"],
        mixed: Duration::MAX,
    },
];

fn on_each(world: &Scripted, change: impl Fn(&mut crate::scripted::Scene)) {
    for edge in EDGES {
        change(&mut world.scene_of(edge));
    }
}

/// The longest time in which the edges had different active slots.
async fn longest_mix(world: Arc<Scripted>, mut over: oneshot::Receiver<()>) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, None::<Instant>);
    while over.try_recv().is_err() {
        let actives: Vec<String> = EDGES
            .iter()
            .map(|edge| {
                let mut scene = world.scene_of(edge);
                scene.end_lease();
                scene.active.clone()
            })
            .collect();
        if actives.iter().all(|active| *active == actives[0]) {
            since = None;
        } else {
            longest = longest.max(since.get_or_insert_with(Instant::now).elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn all_move_or_none() {
    for case in CASES {
        let world = Arc::new(Scripted::of(&EDGES));
        (case.script)(&world);
        let (over, is_over) = oneshot::channel();
        let mix = tokio::spawn(longest_mix(Arc::clone(&world), is_over));
        let (driver, _handle, journal) = begin(&world);
        let state = driver.run().await.unwrap();
        // What is left of a lease.
        tokio::time::sleep(LEASE).await;
        let actives = EDGES.map(|edge| {
            let mut scene = world.scene_of(edge);
            scene.end_lease();
            scene.active.clone()
        });
        over.send(()).unwrap();
        let mixed = mix.await.unwrap();
        let name = case.name;
        assert_eq!(state.phase.name(), case.end, "{name}: {:?}\n{}", state.phase, told(&journal));
        assert_eq!(actives, case.active, "{name}: {}", told(&journal));
        assert!(mixed <= case.mixed, "{name}: both versions for {mixed:?}");
        for edge in EDGES {
            assert_eq!(world.scene_of(edge).violations, [""; 0], "{name}, {edge}");
        }
    }
}

/// The switch of one edge is in transit while the edge is cut off, and arrives when the new slot has been stopped. Its lease has
/// not moved the traffic back, because the trial has never begun.
#[tokio::test(start_paused = true)]
async fn a_switch_that_arrives_after_its_lease_was_counted_does_not_count() {
    let world = Arc::new(Scripted::of(&EDGES));
    world.scene_of("nice").switch_faults.push(Fault::Late);
    let (driver, mut handle, journal) = begin(&world);
    let running = tokio::spawn(driver.run());
    while !world.scene_of("nice").switch_faults.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.scene_of("nice").away = Some(Away::Cut);
    let is_back = |state: &State| match &state.phase {
        Phase::RollingBack { step, .. } => *step != RollbackStep::SwitchBack,
        _ => false,
    };
    handle.state.wait_for(is_back).await.unwrap();
    world.scene_of("nice").away = None;
    let state = running.await.unwrap().unwrap();
    assert_eq!(state.phase.name(), "rolled_back", "{:?}\n{}", state.phase, told(&journal));
    world.scene_of("nice").deliver();
    for edge in EDGES {
        let scene = world.scene_of(edge);
        assert_eq!(scene.active, "blue", "{edge}: {}", told(&journal));
        assert_eq!(scene.violations, [""; 0], "{edge}");
    }
}

/// Nobody waits for an edge that is slow if all of them are.
#[tokio::test(start_paused = true)]
async fn edges_that_are_all_slow_are_read_all_the_same() {
    let world = Scripted::of(&EDGES);
    on_each(&world, |scene| scene.delay = Duration::from_millis(700));
    let view = world.fleet(&[]).look_quickly("shop").await.unwrap();
    assert_eq!(view.edges.len(), 3, "{:?}", view.away);
}

/// The others have moved by then, so they do not wait for it.
#[tokio::test(start_paused = true)]
async fn an_edge_that_was_late_once_goes_back_with_the_others() {
    let world = Scripted::of(&EDGES);
    world.scene_of("nice").delay = Duration::from_millis(700);
    let fleet = world.fleet(&[]);
    let seen = fleet.look_quickly("shop").await.unwrap();
    assert!(seen.away.contains_key("nice"));
    world.scene_of("nice").delay = Duration::from_millis(200);
    let shift =
        Shift { to: "blue".to_owned(), share: None, reason: "a test".to_owned(), trial: None, fence: true };
    let back = fleet.back("shop", &shift, &seen, Duration::from_secs(5)).await;
    assert!(back.values().all(Result::is_ok), "{back:?}");
}

fn told(journal: &MemoryJournal) -> String {
    journal.records().iter().map(|(phase, message)| format!("{phase}: {message}\n")).collect()
}
