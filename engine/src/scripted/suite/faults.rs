//! Lets each step of a deployment fail, and checks its end.

use std::sync::Arc;

use cutover_core::deployment::State;

use super::place::{Place, begin, drive};
use crate::scripted::{ALWAYS, Fault, Scene, Scripted};

struct Case {
    name: &'static str,
    script: fn(&mut Scene),
    end: &'static str,
    active: &'static str,
    /// Moves of the route.
    moves: usize,
    /// Whether the database keeps the migration.
    migrated: bool,
    /// Slots that run at the end.
    running: &'static [&'static str],
}

const BLUE: &[&str] = &["blue"];
const GREEN: &[&str] = &["green"];
const BOTH: &[&str] = &["blue", "green"];

fn bad(scene: &mut Scene) {
    scene.bad_version = Some("2".to_owned());
}

const CASES: &[Case] = &[
    Case {
        name: "migrate fails",
        script: |scene| scene.fail("migrate", 1),
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "provision fails",
        script: |scene| scene.fail("provision", 1),
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "the new slot never gets healthy",
        script: |scene| scene.sick.push("green".to_owned()),
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "a smoke test fails",
        script: |scene| scene.bad_smoke = true,
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "the new slot gets sick between the smoke test and the switch",
        script: |scene| scene.sick_after_smoke = true,
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "nginx refuses the switch",
        script: |scene| scene.switch_faults.push(Fault::Refused),
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "somebody else was first",
        script: |scene| scene.switch_faults.push(Fault::OtherFirst),
        end: "failed",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "the reply of a done switch is lost",
        script: |scene| scene.switch_faults.push(Fault::LostDone),
        end: "completed",
        active: "green",
        moves: 1,
        migrated: true,
        running: GREEN,
    },
    Case {
        name: "the reply of an undone switch is lost",
        script: |scene| scene.switch_faults.extend([Fault::LostUndone, Fault::NotSent]),
        end: "completed",
        active: "green",
        moves: 1,
        migrated: true,
        running: GREEN,
    },
    Case {
        name: "the switch is not on disk at first",
        script: |scene| scene.switch_faults.extend([Fault::NotDurable, Fault::NotDurable]),
        end: "completed",
        active: "green",
        moves: 1,
        migrated: true,
        running: GREEN,
    },
    Case {
        name: "the switch never gets on disk",
        script: |scene| scene.switch_faults.extend([Fault::NotDurable; 8]),
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "no reply of any switch",
        script: |scene| scene.switch_faults.extend([Fault::LostUndone; 8]),
        end: "rolled_back",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "no reply of any switch, and they all arrive when the deployment is over",
        script: |scene| scene.switch_faults.extend([Fault::Late; 8]),
        end: "rolled_back",
        active: "blue",
        moves: 0,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "bad for users",
        script: bad,
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "sick after the switch, without any traffic",
        script: |scene| {
            scene.traffic = 0;
            scene.sick_after_switch = Some("green".to_owned());
        },
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "no traffic proves nothing",
        script: |scene| scene.traffic = 0,
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "bad, and the old slot is not healthy either, so traffic stays",
        script: |scene| {
            bad(scene);
            scene.sick_after_switch = Some("blue".to_owned());
        },
        end: "stuck",
        active: "green",
        moves: 1,
        migrated: true,
        running: BOTH,
    },
    Case {
        name: "bad, and the switch back needs some tries",
        script: |scene| {
            bad(scene);
            scene.switch_faults = vec![Fault::LostDone, Fault::NotSent, Fault::NotSent, Fault::LostUndone];
        },
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "bad, and the reply of the switch back is lost",
        script: |scene| {
            bad(scene);
            scene.switch_faults = vec![Fault::LostDone, Fault::LostUndone, Fault::LostDone, Fault::LostDone];
        },
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "bad, and the bad slot does not drain, so its deadline passes",
        script: |scene| {
            bad(scene);
            scene.held = 3;
        },
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "bad, and revert fails twice",
        script: |scene| {
            bad(scene);
            scene.fail("revert", 2);
        },
        end: "rolled_back",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BLUE,
    },
    Case {
        name: "bad, and revert always fails",
        script: |scene| {
            bad(scene);
            scene.fail("revert", ALWAYS);
        },
        end: "stuck",
        active: "blue",
        moves: 2,
        migrated: true,
        running: BOTH,
    },
    Case {
        name: "bad, and the new slot cannot be stopped",
        script: |scene| {
            bad(scene);
            scene.fail("teardown", ALWAYS);
        },
        end: "stuck",
        active: "blue",
        moves: 2,
        migrated: false,
        running: BOTH,
    },
    Case {
        name: "never healthy, and revert always fails",
        script: |scene| {
            scene.sick.push("green".to_owned());
            scene.fail("revert", ALWAYS);
        },
        end: "stuck",
        active: "blue",
        moves: 0,
        migrated: true,
        running: BOTH,
    },
    Case {
        name: "the old slot does not drain, so its deadline passes",
        script: |scene| scene.held = 3,
        end: "completed",
        active: "green",
        moves: 1,
        migrated: true,
        running: GREEN,
    },
    Case {
        name: "the old slot cannot be stopped",
        script: |scene| scene.fail("decommission", ALWAYS),
        end: "completed",
        active: "green",
        moves: 1,
        migrated: true,
        running: BOTH,
    },
    Case {
        name: "nginx is away for some seconds of the soak",
        script: |scene| scene.blind_after_switch = 20,
        end: "completed",
        active: "green",
        moves: 1,
        migrated: true,
        running: GREEN,
    },
    Case {
        name: "nginx does not come back in the soak",
        script: |scene| scene.blind_after_switch = ALWAYS,
        end: "stuck",
        active: "green",
        moves: 1,
        migrated: true,
        running: BOTH,
    },
];

/// Lets each step of a deployment fail in turn. `new` creates an empty place.
pub async fn everything_fails_in_turn<P: Place>(new: impl Fn() -> P) {
    for case in CASES {
        let world = Arc::new(Scripted::new());
        (case.script)(&mut world.scene());
        let state = run(&new(), &world).await;
        let mut scene = world.scene();
        scene.deliver();
        let name = case.name;
        assert_eq!(state.phase.name(), case.end, "{name}: {state:?} {scene:?}");
        assert_eq!(scene.active, case.active, "{name}");
        assert_eq!(scene.moves.len(), case.moves, "{name}: {:?}", scene.moves);
        assert_eq!(!scene.database.is_empty(), case.migrated, "{name}");
        assert_eq!(scene.running.keys().collect::<Vec<_>>(), case.running, "{name}");
        assert_eq!(scene.violations, [""; 0], "{name}");
    }
}

/// Lets somebody else move the route at each point in time. The driver must not move it again. `new` creates an empty place.
pub async fn moved_by_somebody_else<P: Place>(new: impl Fn() -> P) {
    for reads in 1..80 {
        for to in ["blue", "green"] {
            let world = Arc::new(Scripted::new());
            world.scene().moved_after = Some((reads, to.to_owned()));
            bad(&mut world.scene());
            let state = run(&new(), &world).await;
            let scene = world.scene();
            assert!(state.phase.is_final());
            assert_eq!(scene.violations, [""; 0], "after {reads} reads, to {to}: {state:?}");
            assert!(scene.moves.len() <= 2, "after {reads} reads, to {to}: {:?}", scene.moves);
        }
    }
}

async fn run<P: Place>(place: &P, world: &Arc<Scripted>) -> State {
    let journal = begin(place).await;
    let ended = drive(world, journal, 1_000).await.expect("it has begun");
    ended.expect("the journal takes every record")
}
