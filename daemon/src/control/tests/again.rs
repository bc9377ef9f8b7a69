//! A version that was taken back is not deployed again by a retry.

use std::time;

use cutover_core::deployment::TakenBackBy;

use super::advice::type_it;
use super::*;

async fn end(bench: &Bench, version: &str, phase: &str) -> String {
    let begun = bench.deploy(version).await.unwrap();
    bench.until(&begun.id, phase).await;
    begun.id
}

async fn taken_back() -> (Bench, String) {
    let bench = Bench::new().await;
    bench.world.scene().bad_version = Some("2".to_owned());
    let id = end(&bench, "2", "rolled_back").await;
    (bench, id)
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_bad_version_is_refused() {
    let (bench, id) = taken_back().await;
    let refused = bench.deploy("2").await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("taken_back", 409));
    let refused = refused.to_string();
    assert!(
        refused.starts_with("version \"2\" of group \"shop\" was taken back at 1970-01-01T00:1"),
        "{refused}"
    );
    assert!(
        refused.contains(&format!("by deployment \"{id}\": ")) && refused.contains(" are errors"),
        "{refused}"
    );
    assert!(refused.ends_with("; to deploy it again: cutover deploy shop --version 2 --again"), "{refused}");
    assert_eq!(bench.world.scene().moves.len(), 2, "users saw it once");
    end(&bench, "3", "completed").await;
    assert_eq!(bench.deploy("2").await.unwrap_err().code(), "taken_back", "3 says nothing about it");
    bench.world.scene().bad_version = None;
    let id = type_it(&bench, &refused).await.unwrap();
    bench.until(&id, "completed").await;
    end(&bench, "2", "warm").await;
}

#[tokio::test(start_paused = true)]
async fn the_slot_of_the_request_is_advised_too() {
    let (bench, _) = taken_back().await;
    let wanted =
        NewDeployment { version: "2".to_owned(), to: Some("green".to_owned()), ..NewDeployment::default() };
    let refused = bench.control.deploy("shop", wanted).await.unwrap_err().to_string();
    assert!(refused.ends_with("cutover deploy shop --version 2 --to green --again"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn after_a_while_it_may_be_tried_again() {
    for retry_after in [0, 600] {
        let bench = Bench::with(|policy| policy.retry_after = Duration::seconds(retry_after)).await;
        bench.world.scene().bad_version = Some("2".to_owned());
        end(&bench, "2", "rolled_back").await;
        if retry_after > 0 {
            assert_eq!(bench.deploy("2").await.unwrap_err().code(), "taken_back");
            tokio::time::sleep(time::Duration::from_secs(retry_after)).await;
        }
        end(&bench, "2", "rolled_back").await;
    }
}

/// Nothing here says that the version is bad.
#[tokio::test(start_paused = true)]
async fn other_ends_refuse_no_retry() {
    type Script = fn(&mut cutover_engine::scripted::Scene);
    let scripts: [(&str, Script, &str); 4] = [
        ("no users", |scene| scene.traffic = 0, "rolled_back"),
        ("a smoke test", |scene| scene.bad_smoke = true, "failed"),
        ("nginx cannot be read", |scene| scene.blind_after_switch = 80, "rolled_back"),
        ("the daemon was away", |scene| scene.taken_back_by(TakenBackBy::Lease, 3), "rolled_back"),
    ];
    for (name, script, phase) in scripts {
        let bench = Bench::new().await;
        script(&mut bench.world.scene());
        end(&bench, "2", phase).await;
        bench.world.scene().traffic = 100;
        bench.world.scene().bad_smoke = false;
        let begun = bench.deploy("2").await.unwrap_or_else(|refused| panic!("{name}: {refused}"));
        bench.until(&begun.id, "completed").await;
    }
    let bench = Bench::new().await;
    let begun = bench.deploy("2").await.unwrap();
    bench.until(&begun.id, "soaking").await;
    bench.control.abort("shop", "me").await.unwrap();
    bench.until(&begun.id, "rolled_back").await;
    end(&bench, "2", "completed").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_guard_of_nginx_took_back_is_bad() {
    let bench = Bench::new().await;
    bench.world.scene().taken_back_by(TakenBackBy::Guard, 3);
    end(&bench, "2", "rolled_back").await;
    assert_eq!(bench.deploy("2").await.unwrap_err().code(), "taken_back");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_without_a_version_is_never_the_same() {
    let bench = Bench::new().await;
    bench.world.scene().bad_version = Some(String::new());
    end(&bench, "", "rolled_back").await;
    end(&bench, "", "rolled_back").await;
}
