//! These tests run the commands that messages recommend, and check that they help.

use super::*;
use cutover_engine::scripted::{ALWAYS, Scene};

/// Runs the commands at the end of a message, with a version in place of VERSION. Returns the last answer.
pub(super) async fn type_it(bench: &Bench, text: &str) -> Result<String, Refusal> {
    let (_, advised) = text.split_once("type: ").or_else(|| text.rsplit_once(": ")).unwrap();
    let mut answer = Err(Refusal::Interrupted(format!("no advice in {text:?}")));
    for line in advised.split("; then: ") {
        answer = Ok(type_line(bench, line).await?);
    }
    answer
}

async fn type_line(bench: &Bench, line: &str) -> Result<String, Refusal> {
    let (_, line) = line.split_once("cutover ").unwrap_or_else(|| panic!("no advice in {line:?}"));
    let words: Vec<&str> = line.split([' ', ';']).collect();
    match words.as_slice() {
        ["run", "shop", command, "--deployment", id] => {
            let which = <Rerun as clap::ValueEnum>::from_str(command, false).unwrap();
            bench.control.run("shop", which, Some(id), "me").await
        }
        ["run", "shop", command, ..] => {
            let which = <Rerun as clap::ValueEnum>::from_str(command, false).unwrap();
            bench.control.run("shop", which, None, "me").await
        }
        ["switch", "shop", "--to", slot, "--force"] => {
            bench.switch(slot, true).await.map(|seen| seen.route.active)
        }
        ["switch", "shop", "--to", slot, ..] => bench.switch(slot, false).await.map(|seen| seen.route.active),
        ["deploy", "shop", "--version", version, "--again"] => {
            let version = (*version).to_owned();
            let wanted = NewDeployment { version, again: true, ..NewDeployment::default() };
            bench.control.deploy("shop", wanted).await.map(|begun| begun.id)
        }
        ["deploy", "shop", "--version", version, ..] => {
            bench.deploy(&version.replace("VERSION", "4")).await.map(|begun| begun.id)
        }
        ["abort", "shop", ..] => bench.control.abort("shop", "me").await.map(|aborted| match aborted {
            Aborted::Deployment(id) | Aborted::ByHand { deployment: id, .. } => id,
        }),
        ["rollback", "shop", ..] => bench.control.rollback("shop", "me").await,
        ["status", "shop"] => bench.control.group_status("shop").await.map(|status| status.group),
        other => panic!("{other:?}"),
    }
}

/// Deploys version 2, waits for a phase and returns the last message.
async fn ended(bench: &Bench, phase: &str, script: impl FnOnce(&mut Scene)) -> String {
    script(&mut bench.world.scene());
    let begun = bench.deploy("2").await.unwrap();
    bench.until(&begun.id, phase).await;
    bench.control.deployment(&begun.id).await.unwrap().message
}

fn bad(scene: &mut Scene) {
    scene.bad_version = Some("2".to_owned());
}

#[tokio::test(start_paused = true)]
async fn a_database_that_could_not_be_reverted() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        bad(scene);
        scene.fail("revert", ALWAYS);
    })
    .await;
    assert!(message.ends_with("next, type: cutover run shop revert"), "{message}");
    assert_eq!(type_it(&bench, &message).await.unwrap_err().code(), "command_failed");
    bench.world.scene().faults.clear();
    type_it(&bench, &message).await.unwrap();
    assert!(bench.world.scene().database.is_empty());
    assert_eq!(type_it(&bench, &message).await.unwrap_err().code(), "nothing_to_run", "once is enough");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_could_not_be_stopped() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        bad(scene);
        scene.fail("teardown", 6);
    })
    .await;
    assert!(message.ends_with("next, type: cutover run shop teardown"), "{message}");
    type_it(&bench, &message).await.unwrap();
    assert!(!bench.world.scene().running.contains_key("green"));
}

#[tokio::test(start_paused = true)]
async fn an_old_slot_that_could_not_be_stopped() {
    let bench = Bench::new().await;
    let message = ended(&bench, "completed", |scene| scene.fail("decommission", 6)).await;
    assert!(message.ends_with("to try again, type: cutover run shop decommission"), "{message}");
    type_it(&bench, &message).await.unwrap();
    assert!(!bench.world.scene().running.contains_key("blue"));
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_stays() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.control.rollback("shop", "me").await.unwrap();
    bench.until(&two.id, "rolled_back").await;
    let message = bench.control.deployment(&two.id).await.unwrap().message;
    assert!(message.ends_with("to revert it, type: cutover run shop revert"), "{message}");
    type_it(&bench, &message).await.unwrap();
    assert!(bench.world.scene().database.is_empty());
}

#[tokio::test(start_paused = true)]
async fn both_slots_sick() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        bad(scene);
        scene.sick_after_switch = Some("blue".to_owned());
    })
    .await;
    assert!(message.contains("once \"blue\" is healthy again, go back by hand; next, type: "), "{message}");
    assert_eq!(type_it(&bench, &message).await.unwrap_err().code(), "sick", "it makes nothing worse");
    bench.world.scene().sick.clear();
    assert_eq!(type_it(&bench, &message).await.unwrap(), "blue");
}

#[tokio::test(start_paused = true)]
async fn a_bad_first_release() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        scene.running.clear();
        bad(scene);
    })
    .await;
    assert!(
        message.ends_with(
            "fix the release and deploy it again; next, type: cutover deploy shop --version VERSION"
        ),
        "{message}"
    );
    let id = type_it(&bench, &message).await.unwrap();
    bench.until(&id, "completed").await;
    assert_eq!(bench.world.scene().running.get("blue").map(String::as_str), Some("4"));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_never_run_again_under_users() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        bad(scene);
        scene.fail("revert", ALWAYS);
    })
    .await;
    bench.world.scene().faults.clear();
    bench.world.scene().holds.insert("green".to_owned(), (1, 0));
    let refused = type_it(&bench, &message).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "slot \"green\" holds 1 request, so revert is not run; try again when that has ended; to see it: cutover status shop"
    );
    type_it(&bench, &refused).await.unwrap();
    bench.switch("green", true).await.unwrap();
    let refused = bench.control.run("shop", Rerun::Teardown, None, "me").await.unwrap_err();
    assert_eq!(refused.code(), "slot_is_in_use");
    assert_eq!(type_it(&bench, &refused.to_string()).await.unwrap(), "blue");
    bench.switch("green", true).await.unwrap();
    assert_eq!(
        bench.control.run("shop", Rerun::Decommission, None, "me").await.unwrap_err().code(),
        "nothing_to_run"
    );
    assert_eq!(bench.world.scene().violations, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_run_again_while_a_deployment_is_open() {
    let bench = Bench::with_warm(3600).await;
    let run = || bench.control.run("shop", Rerun::Decommission, None, "me");
    assert_eq!(run().await.unwrap_err().code(), "nothing_to_run");
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    assert_eq!(run().await.unwrap_err().code(), "unfit");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_warm_and_nothing_else_is_up() {
    let bench = Bench::new().await;
    let two = bench.deploy("2 ; $(x)").await.unwrap();
    bench.until(&two.id, "completed").await;
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "completed").await;
    let refused = bench.control.rollback("shop", "me").await.unwrap_err().to_string();
    assert!(refused.ends_with("cutover deploy shop --version '2 ; $(x)'"), "no shell runs it: {refused}");
}

/// Without `decommission`, a version that was rolled back is still up.
#[tokio::test(start_paused = true)]
async fn a_version_that_was_taken_back_is_not_advised() {
    let bench = Bench::new().await;
    ended(&bench, "rolled_back", bad).await;
    bench.world.scene().running.insert("green".to_owned(), "2".to_owned());
    let refused = bench.control.rollback("shop", "me").await.unwrap_err().to_string();
    assert!(refused.ends_with("cutover deploy shop --version VERSION"), "{refused}");
}

/// The old version does not have the new health page.
#[tokio::test(start_paused = true)]
async fn an_old_version_that_served_without_passing_its_probe() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        bad(scene);
        scene.sick.push("blue".to_owned());
    })
    .await;
    assert!(message.contains("before the switch it answered users"), "{message}");
    assert!(message.ends_with("next, type: cutover switch shop --to blue --force"), "{message}");
    assert_eq!(bench.switch("blue", true).await.unwrap().route.active, "blue");
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_has_not_started_is_not_stopped_again() {
    let bench = Bench::new().await;
    ended(&bench, "failed", |scene| scene.fail("migrate", 1)).await;
    assert_eq!(
        bench.control.run("shop", Rerun::Teardown, None, "me").await.unwrap_err().code(),
        "nothing_to_run"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_run_again_holds_up_no_switch() {
    let bench = Bench::new().await;
    let message = ended(&bench, "completed", |scene| scene.fail("decommission", 6)).await;
    let control = bench.control.clone();
    let running = tokio::spawn(async move { control.run("shop", Rerun::Decommission, None, "me").await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(bench.switch("blue", true).await.unwrap_err().code(), "busy", "it is being stopped");
    assert_eq!(bench.deploy("3").await.unwrap_err().code(), "busy");
    bench.switch("green", false).await.unwrap();
    running.await.unwrap().unwrap();
    assert!(type_it(&bench, &message).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn refusals_name_the_verb_that_fits() {
    let bench = Bench::with_warm(3600).await;
    let two = bench.deploy("2").await.unwrap();
    let early = bench.control.rollback("shop", "me").await.unwrap_err().to_string();
    bench.until(&two.id, "soaking").await;
    type_it(&bench, &early).await.unwrap();
    bench.until(&two.id, "rolled_back").await;
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "warm").await;
    let late = bench.control.abort("shop", "me").await.unwrap_err().to_string();
    type_it(&bench, &late).await.unwrap();
    bench.until(&three.id, "rolled_back").await;
}

/// After somebody else moved the route in the soak, the recommended commands settle it and undo what the deployment has left.
#[tokio::test(start_paused = true)]
async fn a_route_that_somebody_else_moved() {
    let share = |scene: &mut Scene, slot: &str| {
        scene.split = Some((slot.to_owned(), cutover_core::fraction::Percent::from_parts(1_000).unwrap()));
    };
    type Move = fn(&mut Scene);
    let moves: [(&str, Move, bool); 4] = [
        ("back to the old slot", |scene| scene.move_route("blue"), true),
        ("to and fro", |scene| scene.generation += 2, false),
        ("back, with a share for the new slot", |scene| scene.move_route("blue"), true),
        ("a share for the old slot", |scene| scene.generation += 1, false),
    ];
    for (number, (name, moved, is_undone)) in moves.into_iter().enumerate() {
        let bench = Bench::new().await;
        let two = bench.deploy("2").await.unwrap();
        bench.until(&two.id, "soaking").await;
        {
            let mut scene = bench.world.scene();
            moved(&mut scene);
            match number {
                2 => share(&mut scene, "green"),
                3 => share(&mut scene, "blue"),
                _ => {}
            }
        }
        bench.until(&two.id, "stuck").await;
        let message = bench.control.deployment(&two.id).await.unwrap().message;
        type_it(&bench, &message).await.unwrap_or_else(|error| panic!("{name}: {message}: {error}"));
        let scene = bench.world.scene();
        assert!(scene.split.is_none(), "{name}: {message}");
        assert_eq!(scene.database.is_empty(), is_undone, "{name}: {message}");
        assert_eq!(scene.violations, [""; 0], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_an_earlier_deployment_left() {
    let bench = Bench::new().await;
    let message = ended(&bench, "stuck", |scene| {
        bad(scene);
        scene.fail("revert", ALWAYS);
    })
    .await;
    bench.world.scene().faults.clear();
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "completed").await;
    let refused = type_it(&bench, &message).await.unwrap_err();
    assert_eq!(refused.code(), "left_earlier", "3 may need it");
    let refused = refused.to_string();
    bench.world.scene().database.retain(|migration| *migration != three.id);
    type_it(&bench, &refused).await.unwrap_or_else(|error| panic!("{refused}: {error}"));
    assert!(bench.world.scene().database.is_empty());
    assert_eq!(type_it(&bench, &refused).await.unwrap_err().code(), "nothing_to_run");
    let run = bench.control.run("shop", Rerun::Teardown, Some(&three.id), "me").await;
    assert_eq!(run.unwrap_err().code(), "nothing_to_run");
}

#[tokio::test(start_paused = true)]
async fn an_earlier_slot_is_not_stopped_under_a_later_version() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.world.scene().fail("teardown", ALWAYS);
    bench.until(&two.id, "soaking").await;
    bench.control.abort("shop", "me").await.unwrap();
    bench.until(&two.id, "stuck").await;
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "completed").await;
    let refused = bench.control.run("shop", Rerun::Teardown, Some(&two.id), "me").await.unwrap_err();
    assert_eq!(refused.code(), "used_since", "{refused}");
    type_it(&bench, &refused.to_string()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_counted_probes_decide_and_everything_says_so() {
    let bench = Bench::new().await;
    bench.world.scene().counts = false;
    let begun = bench.deploy("2").await.unwrap();
    let first = bench.control.journal().records(&begun.id, 0).await.unwrap().remove(0).message;
    assert!(first.contains("watched by probes only"), "{first}");
    bench.until(&begun.id, "soaking").await;
    let status = bench.control.deployment(&begun.id).await.unwrap().message;
    assert!(status.contains("watched by probes only"), "{status}");
    bench.until(&begun.id, "warm").await;
    let last = bench.control.deployment(&begun.id).await.unwrap().message;
    assert!(last.contains("version \"2\" is live, watched by probes only; slot"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_counted_a_version_that_fails_its_probes_goes_back() {
    let bench = Bench::new().await;
    bench.world.scene().counts = false;
    let begun = bench.deploy("2").await.unwrap();
    bench.until(&begun.id, "soaking").await;
    bench.world.scene().sick.push("green".to_owned());
    bench.until(&begun.id, "rolled_back").await;
}

#[tokio::test(start_paused = true)]
async fn an_edge_without_trials_carries_a_deployment_and_the_first_line_says_so() {
    let bench = Bench::new().await;
    bench.world.scene().trials = false;
    let begun = bench.deploy("2").await.unwrap();
    let first = bench.control.journal().records(&begun.id, 0).await.unwrap().remove(0).message;
    assert!(first.contains("this edge cannot take a bad version back by itself"), "{first}");
    bench.until(&begun.id, "soaking").await;
    assert!(bench.world.scene().trial.is_none());
    bench.until(&begun.id, "warm").await;
}
