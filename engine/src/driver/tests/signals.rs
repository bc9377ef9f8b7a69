//! Soaks with signals from outside.

use std::time::Duration;

use cutover_core::deployment::CauseKind;
use serde_json::{Value, json};

use super::*;
use crate::scripted::{Said, Scene, in_steps};

/// A deployment with a soak of 60 s and one signal, which counts from 20 s after the switch on.
fn watched(signal: Value, soak: Value) -> Deployment {
    let mut deployment = deployment();
    let mut all = json!({ "duration": "60s", "patience": "2s" });
    all.as_object_mut().unwrap().extend(soak.as_object().unwrap().clone());
    deployment.policy.soak = serde_json::from_value(all).unwrap();
    let mut one = json!({
        "name": "checkout errors", "promql": "errors{slot=\"{slot}\"}", "url": "http://127.0.0.1:9090", "limit": 0.01,
        "window": "20s",
    });
    one.as_object_mut().unwrap().extend(signal.as_object().unwrap().clone());
    deployment.policy.signal = serde_json::from_value(json!([one])).unwrap();
    deployment.plan.soak = deployment.policy.soak.duration.get();
    deployment.plan.accept_inconclusive = deployment.policy.soak.accepts_inconclusive();
    deployment.policy.check_signals().unwrap();
    deployment
}

fn usual() -> Deployment {
    watched(json!({}), json!({}))
}

/// How a deployment ended.
struct Ended {
    state: State,
    world: Arc<Scripted>,
    said: Vec<String>,
}

impl Ended {
    fn phase(&self) -> &str {
        self.state.phase.name()
    }

    fn cause(&self) -> (CauseKind, &str) {
        let cause = self.state.phase.cause().unwrap_or_else(|| panic!("{:#?}", self.said));
        (cause.kind, &cause.text)
    }

    fn good(&self) -> &str {
        self.said
            .iter()
            .find(|message| message.starts_with("good: "))
            .unwrap_or_else(|| panic!("{:#?}", self.said))
    }
}

async fn ended(deployment: Deployment, script: impl FnOnce(&mut Scene)) -> Ended {
    ended_after(deployment, Duration::ZERO, script).await
}

/// Runs a deployment, and changes the scene so long after its soak has begun.
async fn ended_after(deployment: Deployment, after: Duration, script: impl FnOnce(&mut Scene)) -> Ended {
    let world = Arc::new(Scripted::new());
    world.scene().signals.insert("green".to_owned(), Said::Value(0.002));
    let (driver, mut handle, journal) = begin_this(&world, deployment);
    let running = tokio::spawn(driver.run());
    if !after.is_zero() {
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        tokio::time::sleep(after).await;
    }
    script(&mut world.scene());
    let state = running.await.unwrap().unwrap();
    assert_eq!(world.scene().violations, [""; 0]);
    Ended { state, world, said: journal.records().into_iter().map(|(_, message)| message).collect() }
}

fn green(scene: &mut Scene, said: Said) {
    scene.signals.insert("green".to_owned(), said);
}

#[tokio::test(start_paused = true)]
async fn a_good_one_is_shown_at_the_end() {
    let ended = ended(usual(), |_| {}).await;
    assert_eq!(ended.phase(), "completed", "{:#?}", ended.said);
    let good = ended.good();
    assert!(good.ends_with("; signal \"checkout errors\" 0.002 (limit 0.01)"), "{good}");
    let scene = ended.world.scene();
    let asked = scene.asked.iter().filter(|(query, _)| query == "errors{slot=\"green\"}").count();
    assert_eq!(scene.asked.len(), asked, "{:?}", scene.asked);
    assert!((12..=16).contains(&asked), "each 5 s of the soak: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_one_takes_the_version_back_before_the_end() {
    let begun = tokio::time::Instant::now();
    let ended = ended(usual(), |scene| green(scene, Said::Value(0.031))).await;
    let (kind, text) = ended.cause();
    let said = "soak failed: signal \"checkout errors\" is 0.031, above its limit 0.01, for 15 s";
    assert_eq!((ended.phase(), kind), ("rolled_back", CauseKind::Soak));
    assert!(said.ends_with(text) || text.contains("is 0.031, above its limit 0.01, for 15 s"), "{text}");
    assert_eq!(ended.world.scene().moves, ["blue->green", "green->blue"]);
    let switched = ended.world.scene().asked.len();
    assert!(switched <= 9, "20 s of window and 15 s over the limit: {switched} in {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_turns_bad_late_is_found() {
    let ended = ended_after(usual(), Duration::from_secs(40), |scene| green(scene, Said::Value(7.0))).await;
    assert_eq!((ended.phase(), ended.cause().0), ("rolled_back", CauseKind::Soak));
}

#[tokio::test(start_paused = true)]
async fn a_peak_is_no_reason() {
    let world = Arc::new(Scripted::new());
    world.scene().signals.insert("green".to_owned(), Said::Value(0.0));
    let (driver, mut handle, _) = begin_this(&world, usual());
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    tokio::time::sleep(Duration::from_secs(24)).await;
    green(&mut world.scene(), Said::Value(99.0));
    tokio::time::sleep(Duration::from_secs(11)).await;
    green(&mut world.scene(), Said::Value(0.0));
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "completed");
}

#[tokio::test(start_paused = true)]
async fn no_value_is_inconclusive_and_the_policy_decides() {
    let kinds: [(Said, &str); 4] = [
        (Said::Nothing, "the query has no result"),
        (Said::Value(f64::NAN), "it is NaN, as of nothing divided by nothing"),
        (Said::Fails("http://127.0.0.1:9090: no connection: refused".to_owned()), "no connection: refused"),
        (Said::Hangs, "no answer within 5s"),
    ];
    for (said, why) in kinds {
        for (policy, end) in
            [("rollback", "rolled_back"), ("promote", "completed"), ("extend", "rolled_back")]
        {
            let soak = json!({ "on_inconclusive": policy, "extend_limit": "30s" });
            let ended = ended(watched(json!({}), soak), |scene| green(scene, said.clone())).await;
            assert_eq!(ended.phase(), end, "{said:?}, {policy}: {:#?}", ended.said);
            let named = "signal \"checkout errors\" has no value: ";
            let message = ended.said.iter().find(|message| message.contains(named));
            assert!(message.is_some_and(|message| message.contains(why)), "{:#?}", ended.said);
            if policy != "promote" {
                assert_eq!(ended.cause().0, CauseKind::Inconclusive);
            }
        }
    }
}

/// What does not answer delays neither the end of the soak nor the way back.
#[tokio::test(start_paused = true)]
async fn a_dead_system_delays_nothing() {
    let time_of = async |said: Option<Said>, bad: bool| {
        let mut deployment = watched(json!({ "timeout": "1h" }), json!({ "on_inconclusive": "promote" }));
        deployment.policy.warm = serde_json::from_value(json!("0s")).unwrap();
        deployment.plan.warm = Duration::ZERO;
        if said.is_none() {
            deployment.policy.signal.clear();
        }
        let begun = tokio::time::Instant::now();
        let ended = ended_after(deployment, Duration::from_secs(1), |scene| {
            said.into_iter().for_each(|said| green(scene, said));
            if bad {
                scene.bad_version = Some("2".to_owned());
            }
        })
        .await;
        assert_eq!(ended.phase(), if bad { "rolled_back" } else { "completed" });
        begun.elapsed()
    };
    for bad in [false, true] {
        let (without, with) = (time_of(None, bad).await, time_of(Some(Said::Hangs), bad).await);
        // A soak whose signal was not asked yet goes on for as long as it would need.
        let more = if bad { Duration::from_secs(1) } else { Duration::from_secs(32) };
        assert!(with <= without + more, "bad: {bad}, without {without:?}, with {with:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_in_time_is_judged() {
    let dead = Said::Fails("no connection: refused".to_owned());
    for (value, end) in [(0.0, "completed"), (1.0, "rolled_back")] {
        let world = Arc::new(Scripted::new());
        world.scene().signals.insert("green".to_owned(), dead.clone());
        let (driver, mut handle, _) = begin_this(&world, usual());
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        green(&mut world.scene(), Said::Value(value));
        let state = running.await.unwrap().unwrap();
        assert_eq!(state.phase.name(), end);
        let kind = state.phase.cause().map(|cause| cause.kind);
        assert_eq!(kind, (value > 0.0).then_some(CauseKind::Soak));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_before_the_end_leaves_it_open() {
    let ended = ended_after(usual(), Duration::from_secs(40), |scene| {
        green(scene, Said::Fails("no connection: refused".to_owned()));
    })
    .await;
    let (kind, text) = ended.cause();
    assert_eq!((ended.phase(), kind), ("rolled_back", CauseKind::Inconclusive));
    assert!(text.contains("has no value: no connection: refused"), "{text}");
}

/// The old version has no traffic after the switch, so it is compared by its value just before.
#[tokio::test(start_paused = true)]
async fn the_old_version_is_asked_for_the_time_before_the_switch() {
    for (old, end) in [(0.03, "completed"), (0.002, "rolled_back")] {
        let ended = ended(watched(json!({ "compare": "old" }), json!({})), |scene| {
            green(scene, Said::Value(0.031));
            scene.signals.insert("blue".to_owned(), Said::Value(old));
        })
        .await;
        assert_eq!(ended.phase(), end, "{:#?}", ended.said);
        let scene = ended.world.scene();
        let of_old: Vec<_> = scene.asked.iter().filter(|(query, _)| query.contains("blue")).collect();
        // Once in the soak, and perhaps once while the old version drains.
        let is_before = of_old.iter().all(|(_, ago)| *ago >= Duration::from_secs(1));
        assert!((1..=2).contains(&of_old.len()) && is_before, "{of_old:?}");
        if end == "rolled_back" {
            assert!(ended.cause().1.contains("; the old version: 0.002"), "{}", ended.cause().1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_step_both_are_asked_for_now() {
    let mut deployment = watched(json!({ "compare": "old" }), json!({}));
    in_steps(&mut deployment, &["50% 60s", "100%"]);
    let ended = ended(deployment, |scene| {
        green(scene, Said::Value(0.031));
        scene.signals.insert("blue".to_owned(), Said::Value(0.002));
    })
    .await;
    assert_eq!((ended.phase(), ended.cause().0), ("rolled_back", CauseKind::Soak));
    let scene = ended.world.scene();
    assert!(scene.asked.iter().all(|(_, ago)| ago.is_zero()), "{:?}", scene.asked);
}

/// A step may be too short for the signal. The next one is not.
#[tokio::test(start_paused = true)]
async fn a_short_step_is_followed_by_the_next_one() {
    let mut deployment = usual();
    in_steps(&mut deployment, &["50% 10s", "100%"]);
    let ended = ended(deployment, |_| {}).await;
    assert_eq!(ended.phase(), "completed", "{:#?}", ended.said);
    let note = "nothing is wrong with 50 % of the traffic, but signal \"checkout errors\" has had values for 0 s, of 15 s that \
                prove something; they count from 20 s after the switch on";
    assert!(ended.said.iter().any(|message| message == note), "{:#?}", ended.said);
}

#[tokio::test(start_paused = true)]
async fn a_step_does_not_pass_while_the_system_is_dead() {
    let mut deployment = usual();
    in_steps(&mut deployment, &["50% 60s", "100%"]);
    let ended = ended(deployment, |scene| green(scene, Said::Fails("no connection".to_owned()))).await;
    assert_eq!((ended.phase(), ended.cause().0), ("rolled_back", CauseKind::Inconclusive));
    assert_eq!(ended.world.scene().moves.len(), 2, "{:?}", ended.world.scene().moves);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_compared_in_a_first_release() {
    let ended =
        ended(watched(json!({ "compare": "old" }), json!({ "on_inconclusive": "rollback" })), |scene| {
            scene.running.clear();
            scene.traffic = 0;
            green(scene, Said::Value(0.001));
        })
        .await;
    assert_eq!(ended.phase(), "completed", "{:#?}", ended.said);
    let scene = ended.world.scene();
    assert!(scene.asked.iter().all(|(query, _)| query.contains("green")), "{:?}", scene.asked);
}

#[tokio::test(start_paused = true)]
async fn an_old_version_that_is_not_known_is_not_asked() {
    let mut deployment =
        watched(json!({ "compare": "old", "promql": "errors{v=\"{version}\",at=\"{slot}\"}" }), json!({}));
    deployment.previous = String::new();
    let ended = ended(deployment, |scene| green(scene, Said::Value(0.5))).await;
    let (kind, text) = ended.cause();
    assert_eq!(kind, CauseKind::Inconclusive);
    let why = "it is 0.5, above its limit 0.01, and the old version has no value to compare with: the version of slot \"blue\" \
               is not known";
    assert!(text.contains(why), "{text}");
}

/// The driver is killed in the soak and comes back: what was held back until then counts at once.
#[tokio::test(start_paused = true)]
async fn signals_go_on_after_a_restart() {
    for (value, resumed_after, end) in
        [(0.0, 30, "completed"), (1.0, 30, "rolled_back"), (0.0, 70, "completed")]
    {
        let world = Arc::new(Scripted::new());
        green(&mut world.scene(), Said::Value(value));
        let (driver, mut handle, journal) = begin_this(&world, usual());
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        let switched = handle.state.borrow().marks.as_ref().unwrap().since.unwrap();
        running.abort();
        let _ = running.await;
        let begun = tokio::time::Instant::now();
        let driver =
            resume(&world, &journal, switched.after(Duration::from_secs(resumed_after))).await.unwrap();
        let state = driver.run().await.unwrap();
        assert_eq!(state.phase.name(), end, "{:?}", state.phase.cause());
        let kind = state.phase.cause().map(|cause| cause.kind);
        assert_eq!(kind, (value > 0.0).then_some(CauseKind::Soak));
        if value > 0.0 {
            assert!(world.scene().asked.len() <= 6, "{:?}, {:?}", begun.elapsed(), world.scene().asked);
        }
    }
}

/// While the old version drains, the new one is watched on.
#[tokio::test(start_paused = true)]
async fn one_that_turns_bad_while_the_old_version_drains() {
    let mut deployment = usual();
    deployment.policy.drain = serde_json::from_value(json!({ "deadline": "60s" })).unwrap();
    deployment.plan.drain = Duration::from_secs(60);
    let world = Arc::new(Scripted::new());
    green(&mut world.scene(), Said::Value(0.002));
    let (driver, mut handle, _) = begin_this(&world, deployment);
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    world.scene().held = 1;
    handle.state.wait_for(|state| state.phase.name() == "draining").await.unwrap();
    green(&mut world.scene(), Said::Value(0.5));
    let state = running.await.unwrap().unwrap();
    let kind = state.phase.cause().map(|cause| cause.kind);
    assert_eq!((state.phase.name(), kind), ("rolled_back", Some(CauseKind::Soak)), "{:?}", state.phase);
}

#[tokio::test(start_paused = true)]
async fn figures_are_there_while_it_soaks() {
    let world = Arc::new(Scripted::new());
    green(&mut world.scene(), Said::Value(0.002));
    let (driver, mut handle, _) = begin_this(&world, usual());
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let figures = handle.figures().unwrap();
    assert_eq!(figures.outside.len(), 1);
    assert!(figures.to_string().ends_with("signal \"checkout errors\" 0.002 (limit 0.01)"), "{figures}");
    running.abort();
    let _ = running.await;
}

/// An edge of stock nginx counts nothing, so the signals decide: good without an answer, and bad by the signal.
#[tokio::test(start_paused = true)]
async fn where_nothing_is_counted_the_signals_decide() {
    for (value, end) in [(0.001, "completed"), (0.5, "rolled_back")] {
        let ended = ended(usual(), |scene| {
            scene.counts = false;
            scene.traffic = 0;
            green(scene, Said::Value(value));
        })
        .await;
        assert_eq!(ended.phase(), end, "{:#?}", ended.said);
    }
}
