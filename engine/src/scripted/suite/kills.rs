//! Kills the driver at each record and resumes the deployment.

use std::sync::Arc;

use super::place::{Place, begin_this, drive};
use crate::journal::{Deployment, Journal, JournalError};
use crate::scripted::{Cut, Scene, Scripted, deployment, in_steps};

struct Story {
    name: &'static str,
    script: fn(&mut Scene),
    end: &'static str,
    moves: &'static [&'static str],
    migrated: bool,
    /// Whether the traffic moves in steps.
    in_steps: bool,
}

const STORIES: &[Story] = &[
    Story {
        name: "good",
        script: |_| {},
        end: "completed",
        moves: &["blue->green"],
        migrated: true,
        in_steps: false,
    },
    Story {
        name: "in steps",
        script: |scene| scene.traffic = 10_000,
        end: "completed",
        moves: &["blue->1 % green", "blue->10 % green", "blue->green"],
        migrated: true,
        in_steps: true,
    },
    Story {
        name: "in steps, bad for users",
        script: |scene| {
            scene.traffic = 10_000;
            scene.bad_version = Some("2".to_owned());
        },
        end: "rolled_back",
        moves: &["blue->1 % green", "green->blue"],
        migrated: false,
        in_steps: true,
    },
    Story {
        name: "bad for users",
        script: |scene| scene.bad_version = Some("2".to_owned()),
        end: "rolled_back",
        moves: &["blue->green", "green->blue"],
        migrated: false,
        in_steps: false,
    },
    Story {
        name: "never healthy",
        script: |scene| scene.sick.push("green".to_owned()),
        end: "failed",
        moves: &[],
        migrated: false,
        in_steps: false,
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
        in_steps: false,
    },
];

impl Story {
    fn world(&self) -> Arc<Scripted> {
        let world = Arc::new(Scripted::new());
        (self.script)(&mut world.scene());
        world
    }

    fn deployment(&self) -> Deployment {
        let mut deployment = deployment();
        if self.in_steps {
            in_steps(&mut deployment, &["1% 10s", "10% 10s", "100%"]);
        }
        deployment
    }
}

/// Kills the driver at each record in turn, just before and right after it is written. The next driver must bring the deployment to
/// the same end. `new` creates an empty place.
pub async fn killed_at_every_record<P: Place>(new: impl Fn() -> P) {
    for story in STORIES {
        for written in [true, false] {
            let mut kills = 0;
            while kill_at(&new(), story, kills + i64::from(written), written).await {
                kills += 1;
            }
            assert!(kills >= 5, "{}: {kills} kills", story.name);
        }
    }
}

/// Kills each driver after its first record until the deployment has ended.
pub async fn killed_again_and_again<P: Place>(new: impl Fn() -> P) {
    for story in STORIES {
        let (place, world) = (new(), story.world());
        let journal = begin_this(&place, story.deployment()).await;
        drive(&world, Cut::stop_after(journal, 1), 1_000).await;
        let mut now = 2_000;
        while drive(&world, Cut::stop_after(place.open(), 1), now).await.is_some() {
            now += 12_000;
            assert!(now < 1_000_000, "{}: does not end", story.name);
        }
        let scene = world.scene();
        assert_eq!(scene.moves, story.moves, "{}", story.name);
        assert_eq!(scene.violations, [""; 0], "{}", story.name);
    }
}

/// Kills the driver at one record. Returns false if the deployment ended before it.
async fn kill_at<P: Place>(place: &P, story: &Story, at: i64, written: bool) -> bool {
    let world = story.world();
    let journal = begin_this(place, story.deployment()).await;
    let cut = if written { Cut::stop_after(journal, at) } else { Cut::lose_after(journal, at) };
    let killed = matches!(drive(&world, cut, 1_000).await, Some(Err(JournalError::Closed(_))));
    // The clock is later, as after a restart.
    let resumed = drive(&world, place.open(), 30_000).await;
    assert!(resumed.is_none_or(|ended| ended.is_ok()), "{}", story.name);
    let name = format!("{}, killed at {at}, record written: {written}", story.name);
    let state = place.open().state("shop-1").await.expect("the journal can be read");
    let state = state.expect("the deployment is there");
    let scene = world.scene();
    assert_eq!(state.phase.name(), story.end, "{name}: {state:?} {scene:?}");
    assert_eq!(scene.moves, story.moves, "{name}");
    assert_eq!(!scene.database.is_empty(), story.migrated, "{name}");
    assert_eq!(scene.violations, [""; 0], "{name}");
    killed
}
