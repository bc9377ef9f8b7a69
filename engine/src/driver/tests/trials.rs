//! Switches on trial: renewed in the soak, confirmed after it, taken back when nobody is there.

use std::time::Duration;

use super::*;
use crate::edge::{Look, Shift, TrialTerms};
use crate::fleet::{FleetRequest, FleetShifted};
use crate::shifting::Fit;

#[tokio::test(start_paused = true)]
async fn a_good_version_is_renewed_and_confirmed() {
    let world = Arc::new(Scripted::new());
    let mut deployment = deployment();
    // The soak is longer than the lease.
    deployment.policy.trial.lease = Some(crate::policy::Duration::seconds(3));
    let (driver, mut handle, _) = begin_this(&world, deployment);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    let trial = world.scene().trial.clone().unwrap();
    assert_eq!((trial.slot.as_str(), trial.fallback.as_str(), trial.rescue), ("green", "blue", true));
    assert!(trial.guard.is_some());
    handle.state.wait_for(|state| state.phase.name() == "warm").await.unwrap();
    assert!(world.scene().trial.is_none(), "nothing takes it back any more");
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "completed");
    assert_eq!(world.scene().moves, ["blue->green"]);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_gone_for_good_leaves_the_users_on_the_old_version() {
    for comes_back in [true, false] {
        let world = Arc::new(Scripted::new());
        let (driver, mut handle, journal) = begin(&world);
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        running.abort();
        let _ = running.await;
        tokio::time::sleep(Duration::from_secs(31)).await;
        let active = world.fleet(&[]).look("shop").await.unwrap().group.route.active;
        assert_eq!(active, "blue", "the lease is over");
        if comes_back {
            let driver = resume(&world, &journal, Time(40_000)).await.unwrap();
            assert_eq!(driver.run().await.unwrap().phase.name(), "rolled_back");
            let scene = world.scene();
            assert!(scene.database.is_empty() && !scene.running.contains_key("green"), "{scene:?}");
            assert_eq!(scene.violations, [""; 0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_within_the_lease_goes_on_with_the_soak() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, journal) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    running.abort();
    let _ = running.await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let driver = resume(&world, &journal, Time(5_000)).await.unwrap();
    assert_eq!(driver.run().await.unwrap().phase.name(), "completed");
    assert_eq!(world.scene().moves, ["blue->green"]);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_cannot_be_confirmed_does_not_stay() {
    let world = Arc::new(Scripted::new());
    world.scene().fail("confirm", 3);
    assert_eq!(run(&world).await.phase.name(), "completed");
    let world = Arc::new(Scripted::new());
    world.scene().fail("confirm", ALWAYS);
    let state = run(&world).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().active, "blue");
}

#[tokio::test(start_paused = true)]
async fn a_policy_without_a_trial_and_a_first_release_have_none() {
    let first = Arc::new(Scripted::new());
    first.scene().running.clear();
    let mut off = deployment();
    off.policy.trial.lease = None;
    off.policy.trial.guard = crate::policy::Guard::Switch(false);
    off.policy.trial.rescue = Some(false);
    for (world, deployment) in [(first, deployment()), (Arc::new(Scripted::new()), off)] {
        let (driver, mut handle, _) = begin_this(&world, deployment);
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        assert!(world.scene().trial.is_none());
        assert_eq!(running.await.unwrap().unwrap().phase.name(), "completed");
    }
}

/// The rollback probes for longer than the lease: what the probes fail does not get the traffic.
#[tokio::test(start_paused = true)]
async fn a_lease_does_not_lead_to_a_slot_that_fails_its_probes() {
    for not_durable in [0, 8] {
        let world = Arc::new(Scripted::new());
        {
            let mut scene = world.scene();
            scene.bad_version = Some("2".to_owned());
            scene.sick_after_switch = Some("blue".to_owned());
            scene.switch_faults.extend(vec![Fault::NotDurable; not_durable]);
        }
        let mut deployment = deployment();
        deployment.policy.probe.interval = crate::policy::Duration::seconds(20);
        deployment.policy.probe.deadline = crate::policy::Duration::seconds(60);
        deployment.plan.probe_deadline = Duration::from_secs(60);
        let state = run_this(&world, deployment).await;
        assert_eq!(state.phase.name(), "stuck", "{state:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.fleet(&[]).look("shop").await.unwrap().group.route.active, "green");
        assert_eq!(world.scene().violations, [""; 0]);
        assert_eq!(world.scene().moves, ["blue->green"]);
    }
}

/// The guard is faster than the reply to the switch.
#[tokio::test(start_paused = true)]
async fn a_guard_that_acts_before_the_reply_brings_the_whole_rollback() {
    let world = Arc::new(Scripted::new());
    world.scene().taken_back_in_reply = true;
    let state = run(&world).await;
    assert_eq!(state.phase.name(), "rolled_back", "{state:?}");
    assert_eq!(world.scene().active, "blue");
    assert_eq!(
        world.scene().commands,
        ["migrate green", "provision green", "revert green", "teardown green"]
    );
}

/// Both versions fail. nginx does not exchange one for the other, and an operator needs to know both.
#[tokio::test(start_paused = true)]
async fn a_trial_that_is_held_says_what_both_slots_do() {
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, _) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    {
        let mut scene = world.scene();
        scene.sick.push("blue".to_owned());
        scene.trial.as_mut().unwrap().phase = cutover_core::api::TrialPhase::Held;
    }
    let state = running.await.unwrap().unwrap();
    let Phase::Stuck { reason, next, .. } = &state.phase else { panic!("{state:?}") };
    for said in [
        "stays on \"green\"",
        "slot \"green\" has 1 of 1 servers healthy",
        "slot \"blue\" has 0 of 1 servers healthy (",
    ] {
        assert!(reason.contains(said), "{said}: {reason}");
    }
    assert_eq!(next, "cutover switch shop --to blue");
}

/// A driver that takes over fences a switch of the driver before that has arrived on one edge of several. The switch is there, so
/// it is not sent again, and the slot need not be fit for it.
#[tokio::test(start_paused = true)]
async fn a_switch_that_was_there_before_the_fence_is_done() {
    struct Sick;
    impl Fit for Sick {
        async fn check(&self, _: &Look) -> Result<(), String> {
            Err("the new slot is sick".to_owned())
        }
    }
    let world = Arc::new(Scripted::new());
    let (driver, mut handle, _) = begin(&world);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    running.abort();
    let _ = running.await;
    let fleet = world.fleet(&[]);
    let look = fleet.look("shop").await.unwrap();
    let terms = TrialTerms { lease: Some(Duration::from_secs(30)), guard: None, rescue: false };
    let (to, reason) = ("green".to_owned(), "deployment 1".to_owned());
    let shift = Shift { to, share: None, reason, trial: Some(terms), fence: false };
    let expected = look.revisions();
    let request = FleetRequest {
        group: "shop",
        shift: &shift,
        expected: &expected,
        tries: 1,
        patience: Duration::from_secs(5),
    };
    let moved = fleet.forward(&request, &Sick).await;
    assert!(
        matches!(&moved, FleetShifted::Done(now) if now["nginx"].revision == expected["nginx"]),
        "{moved:?}"
    );
    let scene = world.scene();
    assert_eq!(scene.moves, ["blue->green"]);
    assert!(scene.trial.is_some(), "the trial goes on");
}

/// An edge that refuses every change refuses the fence before the teardown, too. The deployment fails all the same, and needs no
/// operator.
#[tokio::test(start_paused = true)]
async fn an_edge_that_refuses_all_changes_ends_a_deployment_as_failed() {
    let world = Arc::new(Scripted::new());
    world.scene().switch_faults.extend([Fault::Refused; 9]);
    assert_eq!(run(&world).await.phase.name(), "failed");
    let scene = world.scene();
    assert!(scene.moves.is_empty() && !scene.running.contains_key("green"), "{scene:?}");
}
