//! The daemon killed at each record of the journal: right after it was written, and just before.

use super::*;
use crate::journal::JournalError;

struct Story {
    name: &'static str,
    script: fn(&mut crate::scripted::Scene),
    end: &'static str,
    moves: &'static [&'static str],
    migrated: bool,
}

const STORIES: &[Story] = &[
    Story { name: "good", script: |_| {}, end: "completed", moves: &["blue->green"], migrated: true },
    Story {
        name: "bad for users",
        script: |scene| scene.bad_version = Some("2".to_owned()),
        end: "rolled_back",
        moves: &["blue->green", "green->blue"],
        migrated: false,
    },
    Story {
        name: "never healthy",
        script: |scene| scene.sick.push("green".to_owned()),
        end: "failed",
        moves: &[],
        migrated: false,
    },
    Story {
        name: "both sick",
        script: |scene| {
            scene.bad_version = Some("2".to_owned());
            scene.sick_after_switch = Some("blue".to_owned());
        },
        end: "stuck",
        moves: &["blue->green"],
        migrated: true,
    },
];

/// Runs with a kill at record `at`; false when the deployment ended before.
async fn kill_at(story: &Story, at: i64, written: bool) -> bool {
    let world = Arc::new(Scripted::new());
    (story.script)(&mut world.scene());
    let folder = tempfile::tempdir().unwrap();
    let (driver, _reins, journal) = begin(&world, folder.path()).await;
    if written {
        journal.cut.stop_after(at);
    } else {
        journal.cut.lose_after(at);
    }
    let killed = matches!(driver.run().await, Err(JournalError::Cut));
    drop(journal);
    // Far less than the soak, as after a quick restart; the clock has moved on a little.
    if let Some(driver) = resume(&world, folder.path(), Time(30_000)).await {
        driver.run().await.unwrap();
    }
    let journal = Journal::open(folder.path()).unwrap();
    let entry = journal.entry("shop-1").await.unwrap().unwrap();
    let scene = world.scene();
    let name = format!("{}, killed at {at}, record written: {written}", story.name);
    assert_eq!(entry.state.phase.name(), story.end, "{name}: {:?} {scene:?}", entry.state);
    assert_eq!(scene.moves, story.moves, "{name}");
    assert_eq!(!scene.database.is_empty(), story.migrated, "{name}");
    assert_eq!(scene.violations, [""; 0], "{name}");
    killed
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_record() {
    for story in STORIES {
        for written in [true, false] {
            let mut kills = 0;
            while kill_at(story, kills + i64::from(written), written).await {
                kills += 1;
            }
            assert!(kills >= 5, "{}: {kills} kills", story.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_again_and_again() {
    for story in STORIES {
        let world = Arc::new(Scripted::new());
        (story.script)(&mut world.scene());
        let folder = tempfile::tempdir().unwrap();
        let (driver, _reins, journal) = begin(&world, folder.path()).await;
        journal.cut.stop_after(1);
        let _ = driver.run().await;
        drop(journal);
        let mut now = 2_000;
        loop {
            let Some(driver) = resume(&world, folder.path(), Time(now)).await else { break };
            driver.scene.journal.cut.stop_after(1);
            let _ = driver.run().await;
            now += 12_000;
            assert!(now < 1_000_000, "{}: does not end", story.name);
        }
        let scene = world.scene();
        assert_eq!(scene.moves, story.moves, "{}", story.name);
        assert_eq!(scene.violations, [""; 0], "{}", story.name);
    }
}
