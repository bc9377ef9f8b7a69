//! One edge of three fails at each record of a deployment. In the end all edges have the same version, and users have not seen
//! both for longer than the lease before the commit, and for longer than one repair after it.

use std::time;

use cutover_engine::scripted::Away;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;

const EDGES: [&str; 3] = ["lyon", "nice", "paris"];
/// The edge that fails.
const NICE: &str = "nice";
/// How long it fails.
const OUTAGE: time::Duration = time::Duration::from_secs(45);
/// The lease of the usual policy, and the time between two looks of this test.
const LEASE: time::Duration = time::Duration::from_millis(30_200);
/// A vigil reads each second, and probes.
const REPAIR: time::Duration = time::Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Down,
    Cut,
    Paused,
    Slow,
    MovedToBlue,
    MovedToGreen,
}

const FAILURES: [Failure; 6] = [
    Failure::Down,
    Failure::Cut,
    Failure::Paused,
    Failure::Slow,
    Failure::MovedToBlue,
    Failure::MovedToGreen,
];

impl Failure {
    fn begin(self, world: &Scripted) {
        let mut scene = world.scene_of(NICE);
        match self {
            Self::Down => scene.away = Some(Away::Down),
            Self::Cut => scene.away = Some(Away::Cut),
            Self::Paused => scene.away = Some(Away::Paused),
            Self::Slow => scene.delay = time::Duration::from_millis(200),
            Self::MovedToBlue => scene.move_route("blue"),
            Self::MovedToGreen => scene.move_route("green"),
        }
    }

    fn end(self, world: &Scripted) {
        let mut scene = world.scene_of(NICE);
        scene.delay = time::Duration::from_millis(1);
        scene.back();
    }
}

/// The longest times in which users could see both versions.
#[derive(Debug, Default)]
struct Mixed {
    /// Before the deployment was committed, or after it was taken back.
    before: time::Duration,
    /// After that, while all edges could be reached.
    after: time::Duration,
}

async fn watch_mix(
    world: Arc<Scripted>,
    control: Control<Scripted>,
    mut over: oneshot::Receiver<()>,
) -> Mixed {
    let mut mixed = Mixed::default();
    let (mut before, mut after) = (None::<Instant>, None::<Instant>);
    let mut changes = control.journal().changes();
    let mut committed = false;
    while over.try_recv().is_err() {
        let mut actives = Vec::new();
        let mut all_there = true;
        for edge in EDGES {
            let mut scene = world.scene_of(edge);
            all_there &= scene.away.is_none();
            // An edge that is down or paused serves nobody.
            if !matches!(scene.away, Some(Away::Down | Away::Paused)) {
                scene.end_lease();
                actives.push(scene.active.clone());
            }
        }
        let differ = actives.iter().any(|active| *active != actives[0]);
        if changes.has_changed().unwrap() {
            changes.mark_unchanged();
            let last = control.journal().history(Some("shop"), 1).await.unwrap().pop();
            committed = last.is_some_and(|last| {
                matches!(last.state.phase.name(), "draining" | "warm" | "decommissioning" | "completed")
            });
        }
        for (is_mixed, since, longest) in [
            (differ && !committed, &mut before, &mut mixed.before),
            (differ && committed && all_there, &mut after, &mut mixed.after),
        ] {
            match is_mixed {
                true => *longest = (*longest).max(since.get_or_insert_with(Instant::now).elapsed()),
                false => *since = None,
            }
        }
        tokio::time::sleep(time::Duration::from_millis(100)).await;
    }
    mixed
}

/// Lets the edge fail after this many records. Returns the phase at that moment and the end, or nothing if the deployment has
/// ended before.
async fn fail_at(failure: Failure, is_bad: bool, at: usize) -> Option<(String, String, Mixed)> {
    let bench = Bench::over(&EDGES, |policy| policy.warm.duration = Duration::seconds(3600)).await;
    if is_bad {
        EDGES.iter().for_each(|edge| bench.world.scene_of(edge).bad_version = Some("2".to_owned()));
    }
    let (over, is_over) = oneshot::channel();
    let mix = tokio::spawn(watch_mix(Arc::clone(&bench.world), bench.control.clone(), is_over));
    let id = bench.deploy("2").await.unwrap().id;
    let journal = bench.control.journal().clone();
    let mut changes = journal.changes();
    let is_over = |phase: &Phase| phase.is_final() || matches!(phase, Phase::Warm { .. });
    let phase = loop {
        let entry = journal.entry(&id).await.unwrap().unwrap();
        if journal.records(&id, 0).await.unwrap().len() >= at {
            break entry.state.phase;
        }
        if is_over(&entry.state.phase) {
            return None;
        }
        changes.changed().await.unwrap();
    };
    failure.begin(&bench.world);
    tokio::time::sleep(OUTAGE).await;
    failure.end(&bench.world);
    let ended = loop {
        let entry = journal.entry(&id).await.unwrap().unwrap();
        if is_over(&entry.state.phase) {
            break entry;
        }
        changes.changed().await.unwrap();
    };
    // What is left of a lease, and a repair.
    tokio::time::sleep(LEASE + REPAIR).await;
    over.send(()).unwrap();
    let mixed = mix.await.unwrap();
    let actives = EDGES.map(|edge| bench.world.scene_of(edge).active.clone());
    let records = journal.records(&id, 0).await.unwrap();
    let said: String =
        records.iter().map(|record| format!("{}: {}\n", record.phase, record.message)).collect();
    let name = format!("{failure:?} after {at} records, in {}, bad: {is_bad}", phase.name());
    assert!(actives.iter().all(|active| *active == actives[0]), "{name}: {actives:?}\n{said}");
    for edge in EDGES {
        assert_eq!(bench.world.scene_of(edge).violations, [""; 0], "{name}\n{said}");
    }
    assert!(mixed.before <= LEASE, "{name}: {mixed:?}\n{said}");
    assert!(mixed.after <= REPAIR, "{name}: {mixed:?}\n{said}");
    Some((phase.name().to_owned(), ended.state.phase.name().to_owned(), mixed))
}

/// Fails the edge at each record. Prints a row for each.
async fn fail_at_records(failure: Failure) {
    for is_bad in [false, true] {
        let mut at = 1;
        while let Some((phase, end, Mixed { before, after })) = fail_at(failure, is_bad, at).await {
            let version = if is_bad { "bad" } else { "good" };
            println!("| {failure:?} | {version} | {at} | {phase} | {end} | {before:?} | {after:?} |");
            at += 1;
        }
        assert!(at > 5, "{failure:?}: {at} records");
    }
}

#[tokio::test(start_paused = true)]
async fn one_edge_fails_at_some_records() {
    for (failure, is_bad, at) in [
        (Failure::Down, true, 10),
        (Failure::Cut, false, 9),
        (Failure::Paused, true, 8),
        (Failure::Slow, false, 7),
        (Failure::MovedToBlue, false, 9),
        (Failure::MovedToGreen, false, 6),
        (Failure::MovedToGreen, true, 12),
    ] {
        assert!(fail_at(failure, is_bad, at).await.is_some(), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "takes some minutes: each failure at each record"]
async fn one_edge_fails_at_each_record() {
    for failure in FAILURES {
        fail_at_records(failure).await;
    }
}
