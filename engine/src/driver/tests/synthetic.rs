//! A site without users, to which the daemon sends requests itself.

use serde_json::json;

use super::*;
use crate::scripted::{Scene, in_steps, peer};

/// A deployment whose soak of 60 s needs 50 answers.
fn quiet(synthetic: serde_json::Value) -> Deployment {
    let mut deployment = deployment();
    deployment.policy.soak = serde_json::from_value(json!({ "synthetic": synthetic })).unwrap();
    deployment.plan.soak = deployment.policy.soak.duration.get();
    deployment
}

/// Runs a deployment without users. Returns its last state, the world, and all messages.
async fn ended(
    deployment: Deployment,
    script: impl FnOnce(&mut Scene),
) -> (State, Arc<Scripted>, Vec<String>) {
    let world = Arc::new(Scripted::new());
    world.scene().traffic = 0;
    script(&mut world.scene());
    let (driver, _handle, journal) = begin_this(&world, deployment);
    let state = driver.run().await.unwrap();
    assert_eq!(world.scene().violations, [""; 0]);
    (state, world, journal.records().into_iter().map(|(_, message)| message).collect())
}

#[tokio::test(start_paused = true)]
async fn a_quiet_site_completes() {
    let (state, world, said) = ended(quiet(json!({})), |_| {}).await;
    assert_eq!(state.phase.name(), "completed", "{said:#?}");
    let good = said.iter().find(|message| message.starts_with("good: ")).unwrap();
    // The last one is sent at the moment in which the soak ends.
    let is_told =
        |n| good.starts_with(&format!("good: {n} answers of green, {n} of them synthetic, 0 of them errors"));
    assert!([60, 61].into_iter().any(is_told), "{good}");
    let scene = world.scene();
    assert!(scene.synthetic.iter().all(|server| server == "127.0.0.1:2"), "{:?}", scene.synthetic);
    assert!((60..=61).contains(&scene.synthetic.len()), "only during the soak: {}", scene.synthetic.len());
}

/// The answers to them are in memory only, so those that are lost are asked for again.
#[tokio::test(start_paused = true)]
async fn a_restart_in_the_soak_costs_time_and_no_version() {
    for (counts, resumed) in [(true, 45_000), (false, 45_000), (false, 300_000)] {
        let world = Arc::new(Scripted::new());
        world.scene().traffic = 0;
        world.scene().counts = counts;
        let (driver, mut handle, journal) = begin_this(&world, quiet(json!({})));
        let running = tokio::spawn(driver.run());
        handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
        running.abort();
        let _ = running.await;
        let state = resume(&world, &journal, Time(resumed)).await.unwrap().run().await.unwrap();
        assert_eq!(state.phase.name(), "completed", "{counts}, {resumed}: {state:?}");
        assert_eq!(world.scene().violations, [""; 0]);
    }
}

/// As when the API server of a cluster restarts: the probes go on, and no evidence is missed.
#[tokio::test(start_paused = true)]
async fn an_edge_that_counts_nothing_may_be_away_for_minutes() {
    for synthetic in [true, false] {
        let mut deployment = quiet(json!({}));
        if !synthetic {
            deployment.policy.soak.synthetic = None;
            deployment.plan.probes_only = true;
        }
        let (state, world, said) = ended(deployment, |scene| {
            (scene.counts, scene.trials) = (false, false);
            scene.blind_after_switch = 500;
        })
        .await;
        assert_eq!(state.phase.name(), "completed", "{synthetic}: {said:#?}");
        assert_eq!(world.scene().moves, ["blue->green"], "{synthetic}: {said:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_them_it_is_inconclusive() {
    let (state, world, said) =
        ended(Deployment { policy: crate::scripted::policy(), ..deployment() }, |_| {}).await;
    assert_eq!(state.phase.name(), "rolled_back", "{said:#?}");
    assert_eq!(world.scene().synthetic, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn answers_of_users_and_synthetic_ones_are_told_apart() {
    let (_, _, said) = ended(quiet(json!({ "interval": "5s" })), |scene| scene.traffic = 1).await;
    let good =
        said.iter().find(|message| message.starts_with("good: ")).unwrap_or_else(|| panic!("{said:#?}"));
    // The last one is sent at the moment in which the soak ends.
    let is_told =
        |count| good.contains(&format!(" answers of green, {count} of them synthetic, 0 of them errors"));
    assert!([12, 13].into_iter().any(is_told), "{good}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_them_is_taken_back() {
    let (state, world, said) =
        ended(quiet(json!({})), |scene| scene.bad_version = Some("2".to_owned())).await;
    let cause = state.phase.cause().unwrap_or_else(|| panic!("{said:#?}"));
    assert_eq!((state.phase.name(), world.scene().active.as_str()), ("rolled_back", "blue"));
    let text = &cause.text;
    assert!(text.contains(" answers of green are errors, 100 % (") && text.contains(" times 500)"), "{text}");
    assert!(text.ends_with(" of them synthetic"), "{text}");
    assert!(world.scene().synthetic.len() < 20, "at once: {text}");
}

/// The old version is sent none, so there is nothing to compare with at the same time.
#[tokio::test(start_paused = true)]
async fn a_step_where_nothing_else_is_counted_judges_them() {
    let mut deployment = quiet(json!({}));
    in_steps(&mut deployment, &["10% 60s", "100%"]);
    let (state, world, said) = ended(deployment, |scene| {
        scene.counts = false;
        scene.bad_version = Some("2".to_owned());
    })
    .await;
    assert_eq!(state.phase.name(), "rolled_back", "{said:#?}");
    assert_eq!(world.scene().moves, ["blue->10 % green", "green->blue"], "{said:#?}");
    assert!(world.scene().synthetic.len() < 20, "at once: {said:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_as_expected_is_an_error() {
    let expects = [
        (json!({ "status": 404 }), "rolled_back"),
        (json!({ "headers": { "x-version": "{version}" } }), "completed"),
        (json!({ "body_contains": "version 7 " }), "rolled_back"),
    ];
    for (expect, end) in expects {
        let (state, _, said) = ended(quiet(json!({ "expect": expect })), |_| {}).await;
        assert_eq!(state.phase.name(), end, "{expect}: {said:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_a_failed_answer() {
    let asked = json!({ "timeout": "1500ms" });
    let (state, _, said) = ended(quiet(asked), |scene| scene.hangs = Some(("2".to_owned(), 0))).await;
    assert_eq!(state.phase.name(), "rolled_back", "{said:#?}");
    let text = &state.phase.cause().unwrap().text;
    assert!(text.contains(" answers of green are errors, 100 %"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn each_server_is_asked() {
    let (state, world, _) =
        ended(quiet(json!({ "interval": "2s" })), |scene| scene.slots[1].1.push(peer(3))).await;
    assert_eq!(state.phase.name(), "completed");
    let scene = world.scene();
    let asked = |address: &str| scene.synthetic.iter().filter(|server| *server == address).count();
    assert_eq!(asked("127.0.0.1:2"), asked("127.0.0.1:3"));
}

/// The usual smoke test asks for `/products`, and its expectation decides.
#[tokio::test(start_paused = true)]
async fn smoke_tests_can_be_repeated() {
    let (state, world, said) = ended(quiet(json!({ "smoke": true })), |_| {}).await;
    assert_eq!(state.phase.name(), "completed", "{said:#?}");
    let good = said.iter().find(|message| message.starts_with("good: ")).unwrap();
    // The last one is sent at the moment in which the soak ends.
    let is_told = |n| good.starts_with(&format!("good: {n} answers of green, {n} of them synthetic"));
    assert!([60, 61].into_iter().any(is_told), "{good}");
    assert!((60..=61).contains(&world.scene().synthetic.len()), "{}", world.scene().synthetic.len());
}

#[tokio::test(start_paused = true)]
async fn they_are_in_the_figures_while_it_soaks() {
    let world = Arc::new(Scripted::new());
    world.scene().traffic = 0;
    let (driver, mut handle, _) = begin_this(&world, quiet(json!({})));
    assert_eq!(handle.figures(), None, "nothing is watched yet");
    let running = tokio::spawn(driver.run());
    handle.state.wait_for(|state| state.phase.name() == "soaking").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let figures = handle.figures().unwrap();
    assert!((19..=21).contains(&figures.synthetic) && figures.new.count.of == figures.synthetic, "{figures}");
    running.abort();
    let _ = running.await;
}
