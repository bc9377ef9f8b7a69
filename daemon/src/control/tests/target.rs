//! Which slot a deployment goes to, and which slots it must not touch.

use cutover_core::api::{TrialPhase, TrialState};
use cutover_core::fraction::Percent;
use cutover_core::guard::Figures;

use super::*;
use cutover_engine::scripted::peer;
use cutover_engine::world::World;

fn half() -> Percent {
    Percent::from_parts(5_000).unwrap()
}

fn trial(slot: &str, fallback: &str) -> TrialState {
    TrialState {
        slot: slot.to_owned(),
        fallback: fallback.to_owned(),
        phase: TrialPhase::Armed,
        guard: None,
        lease_left_ms: Some(60_000),
        rescue: false,
        figures: Figures::default(),
    }
}

/// Slots blue, green and red.
async fn three() -> Bench {
    let bench = Bench::with_warm(3600).await;
    bench.world.scene().slots.push(("red".to_owned(), vec![peer(3)]));
    bench
}

/// Runs the first `cutover switch` that a refusal recommends.
async fn type_advice(bench: &Bench, text: &str) {
    let (_, advice) = text.split_once("cutover switch shop --to ").expect(text);
    let slot = advice.split([';', ' ']).next().unwrap();
    bench.switch(slot, false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slot_with_a_share_is_refused_and_the_advice_helps() {
    let bench = Bench::new().await;
    bench.world.scene().running.insert("green".to_owned(), "2".to_owned());
    bench.world.scene().split = Some(("green".to_owned(), half()));
    let refused = bench.deploy("3").await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("slot_has_traffic", 409));
    let text = refused.to_string();
    assert!(text.contains("slot \"green\" of group \"shop\" has 50 % of the traffic"), "{text}");
    assert_eq!(bench.world.scene().commands, [""; 0]);
    type_advice(&bench, &text).await;
    let begun = bench.deploy("3").await.unwrap();
    bench.until(&begun.id, "warm").await;
}

#[tokio::test(start_paused = true)]
async fn the_fallback_of_a_trial_is_refused_and_the_advice_helps() {
    let bench = Bench::new().await;
    {
        let mut scene = bench.world.scene();
        scene.running.insert("green".to_owned(), "2".to_owned());
        scene.move_route("green");
        scene.trial = Some(trial("green", "blue"));
    }
    let text = bench.deploy("3").await.unwrap_err().to_string();
    assert!(text.contains("takes the traffic back if the trial of slot \"green\" fails"), "{text}");
    type_advice(&bench, &text).await;
    let begun = bench.deploy("3").await.unwrap();
    assert_eq!(begun.plan.to, "blue");
    bench.until(&begun.id, "warm").await;
    assert_eq!(bench.world.scene().violations, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn servers_that_have_users_of_another_group_are_refused() {
    let bench = Bench::new().await;
    let mut blog = bench.world.fleet(&[]).look("shop").await.unwrap().group;
    blog.name = "blog".to_owned();
    blog.route.active = "green".to_owned();
    bench.world.scene().others.push(blog);
    let refused = bench.deploy("2").await.unwrap_err();
    assert_eq!(refused.code(), "shared_servers");
    let text = refused.to_string();
    let said = "slot \"green\" shares the upstream shop_green with slot \"green\" of group \"blog\", which has the traffic";
    assert!(text.starts_with(said), "{text}");
    assert!(text.ends_with("give each slot servers of its own"), "the daemon does not know blog: {text}");
    bench.world.scene().others[0].route.active = "blue".to_owned();
    let begun = bench.deploy("2").await.unwrap();
    bench.until(&begun.id, "completed").await;
    let entry = bench.control.deployment(&begun.id).await.unwrap();
    assert!(entry.message.contains("is left running"), "blog's users are on blue: {}", entry.message);
    assert_eq!(bench.world.scene().commands, ["migrate green", "provision green"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_slot_is_taken_before_the_one_that_holds_a_call() {
    let bench = three().await;
    bench.world.scene().holds.insert("blue".to_owned(), (1, 1));
    let two = bench.deploy("2").await.unwrap();
    assert_eq!(two.plan.to, "green");
    bench.until(&two.id, "warm").await;
    let three = bench.deploy("3").await.unwrap();
    assert_eq!(three.plan.to, "red", "blue has a live call and is the only warm way back");
    bench.until(&three.id, "warm").await;
    let four = bench.deploy("4").await.unwrap();
    assert_eq!(four.plan.to, "blue", "green is the way back now");
    bench.until(&four.id, "warm").await;
    let first = &bench.control.journal().records(&four.id, 0).await.unwrap()[0].message;
    assert!(first.contains("; 1 connection will be cut off; "), "{first}");
}

#[tokio::test(start_paused = true)]
async fn the_slot_after_the_active_one_is_not_taken_if_it_is_the_way_back() {
    let bench = three().await;
    let wanted =
        NewDeployment { to: Some("red".to_owned()), version: "2".to_owned(), ..NewDeployment::default() };
    let two = bench.control.deploy("shop", wanted).await.unwrap();
    bench.until(&two.id, "warm").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let standby = bench.world.fleet(&[]).look("shop").await.unwrap().group.standby().unwrap().name.clone();
    assert_eq!(standby, "green", "previews go where the next deployment goes");
    assert_eq!(bench.deploy("3").await.unwrap().plan.to, "green");
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_taken_before_one_that_another_group_uses() {
    let bench = three().await;
    let mut blog = bench.world.fleet(&[]).look("shop").await.unwrap().group;
    blog.name = "blog".to_owned();
    blog.route.active = "green".to_owned();
    bench.world.scene().others.push(blog);
    assert_eq!(bench.deploy("2").await.unwrap().plan.to, "red");
}

#[tokio::test(start_paused = true)]
async fn the_trial_of_a_bad_version_is_not_confirmed_without_a_probe() {
    let bench = Bench::new().await;
    {
        let mut scene = bench.world.scene();
        scene.running.insert("green".to_owned(), "2".to_owned());
        scene.move_route("green");
        scene.trial = Some(trial("green", "blue"));
        scene.sick.push("green".to_owned());
    }
    let text = bench.deploy("3").await.unwrap_err().to_string();
    assert!(text.ends_with("or, if that version is bad: cutover switch shop --to blue"), "{text}");
    let refused = bench.switch("green", false).await.unwrap_err();
    assert_eq!(refused.code(), "sick");
    assert!(refused.to_string().ends_with("cutover switch shop --to green --force"), "{refused}");
    assert!(bench.switch("blue", false).await.unwrap().route.is_all_on("blue"));
}

#[tokio::test(start_paused = true)]
async fn slots_of_one_group_with_one_server_are_not_started_and_stopped_under_each_other() {
    let bench = Bench::new().await;
    let blue = bench.world.scene().slots[0].1.clone();
    bench.world.scene().slots[1].1 = blue;
    let refused = bench.deploy("2").await.unwrap_err();
    assert_eq!(refused.code(), "shared_servers", "{refused}");
    assert_eq!(bench.world.scene().commands, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn requests_of_another_group_that_will_be_cut_are_said() {
    let bench = Bench::new().await;
    let mut blog = bench.world.fleet(&[]).look("shop").await.unwrap().group;
    blog.name = "blog".to_owned();
    blog.slots[1].counters.in_flight = 2;
    bench.world.scene().others.push(blog);
    let two = bench.deploy("2").await.unwrap();
    let first = &bench.control.journal().records(&two.id, 0).await.unwrap()[0].message;
    assert!(first.contains("; 2 requests of group \"blog\" will be cut off; "), "{first}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_a_deployment_of_another_group_works_on_are_left_to_it() {
    let bench = Bench::new().await;
    let mut blog = bench.world.fleet(&[]).look("shop").await.unwrap().group;
    blog.name = "blog".to_owned();
    blog.route.active = "red".to_owned();
    blog.slots.push(cutover_core::api::Slot { name: "red".to_owned(), ..Default::default() });
    bench.world.scene().others.push(blog);
    let mut other = scripted::deployment();
    other.id = "blog-1".to_owned();
    other.plan.group = "blog".to_owned();
    other.plan.from = "red".to_owned();
    let state = other.plan.begin(Time(0));
    bench.control.journal().begin(other, &state, "").await.unwrap();
    let refused = bench.deploy("2").await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("busy", 409));
    assert!(refused.to_string().contains("whose deployment \"blog-1\" has not ended"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn previews_of_the_standby_reach_the_slot_of_the_deployment() {
    let bench = three().await;
    let wanted = NewDeployment { to: Some("red".to_owned()), ..NewDeployment::default() };
    let two = bench.control.deploy("shop", wanted).await.unwrap();
    bench.until(&two.id, "probing").await;
    assert_eq!(bench.world.scene().standby.as_deref(), Some("red"));
}

#[tokio::test(start_paused = true)]
async fn with_two_slots_the_first_line_says_what_is_given_up() {
    let bench = Bench::with_warm(3600).await;
    let one = bench.deploy("1.2").await.unwrap();
    bench.until(&one.id, "warm").await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene().holds.insert("green".to_owned(), (3, 3));
    let three = bench.deploy("3").await.unwrap();
    let first = &bench.control.journal().records(&three.id, 0).await.unwrap()[0].message;
    assert!(
        first.contains(
            "; slot \"green\" holds version 1.2, warm for 59 min: this deployment ends that way back, 3 connections will be \
             cut off; "
        ),
        "{first}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_switch_by_hand_ends_a_split_only_onto_a_healthy_slot() {
    let bench = Bench::new().await;
    {
        let mut scene = bench.world.scene();
        scene.running.insert("green".to_owned(), "2".to_owned());
        scene.split = Some(("green".to_owned(), half()));
        scene.sick.push("blue".to_owned());
    }
    assert_eq!(bench.switch("blue", false).await.unwrap_err().code(), "sick", "its share would grow");
    bench.world.scene().sick.clear();
    assert!(bench.switch("blue", false).await.unwrap().route.is_all_on("blue"));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_in_the_soak_onto_a_sick_slot_is_refused_and_the_soak_goes_on() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "soaking").await;
    bench.world.scene().sick.push("blue".to_owned());
    let aborted = bench.control.abort("shop", "me").await.unwrap_err();
    for refused in [bench.control.rollback("shop", "me").await.unwrap_err(), aborted] {
        assert_eq!(refused.code(), "no_better");
        assert!(refused.to_string().contains("the deployment stays soaking"), "{refused}");
    }
    bench.until(&two.id, "warm").await;
    assert_eq!(bench.world.scene().moves, ["blue->green"]);
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_who_has_traffic() {
    let bench = three().await;
    {
        let mut scene = bench.world.scene();
        scene.split = Some(("red".to_owned(), half()));
        scene.holds.insert("green".to_owned(), (1, 1));
        scene.running.insert("green".to_owned(), "2".to_owned());
    }
    let status = bench.control.group_status("shop").await.unwrap();
    let shown: Vec<_> = status
        .slots
        .iter()
        .map(|slot| (slot.traffic.as_ref().map(ToString::to_string).unwrap_or_default(), slot.standby))
        .collect();
    let shown: Vec<_> = shown.iter().map(|(traffic, standby)| (traffic.as_str(), *standby)).collect();
    assert_eq!(
        shown,
        [("has the traffic", false), ("holds 1 connection", false), ("has 50 % of the traffic", true)]
    );
}
