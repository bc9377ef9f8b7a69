//! Traffic moves only to a slot with as many healthy servers as the active one.

use super::*;
use crate::scripted::{Hook, Scene, peer};

/// Two servers in blue, one in green.
fn smaller(scene: &mut Scene) {
    scene.slots[0].1.push(peer(3));
}

fn with_capacity(capacity: &str) -> Deployment {
    let mut deployment = deployment();
    deployment.policy.capacity = capacity.to_owned().try_into().unwrap();
    deployment
}

#[tokio::test(start_paused = true)]
async fn a_smaller_slot_is_refused_before_the_switch() {
    let world = Arc::new(Scripted::new());
    smaller(&mut world.scene());
    let state = run_this(&world, with_capacity("100%")).await;
    let cause = state.phase.cause().unwrap_or_else(|| panic!("{state:?}"));
    assert_eq!(
        cause.text,
        "slot \"green\" has 1 healthy server, and slot \"blue\" has 2 healthy servers: capacity = \"100%\" wants at least 2, \
         and that did not change within 10s: start more servers, or set a smaller capacity in [group.shop]"
    );
    assert_eq!((state.phase.name(), world.scene().moves.len()), ("failed", 0));
}

#[tokio::test(start_paused = true)]
async fn a_share_is_enough() {
    for capacity in ["50%", "0"] {
        let world = Arc::new(Scripted::new());
        smaller(&mut world.scene());
        assert_eq!(run_this(&world, with_capacity(capacity)).await.phase.name(), "completed", "{capacity}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_more_servers() {
    let world = Arc::new(Scripted::new());
    smaller(&mut world.scene());
    let (driver, _handle, journal) = begin(&world);
    let running = tokio::spawn(driver.run());
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    assert!(journal.records().iter().any(|(_, message)| message.contains("wants at least 2")));
    world.scene().slots[1].1.push(peer(4));
    assert_eq!(running.await.unwrap().unwrap().phase.name(), "completed");
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_dead_or_backups_do_not_count() {
    let world = Arc::new(Scripted::new());
    smaller(&mut world.scene());
    world.scene().dead.push("127.0.0.1:3".to_owned());
    assert_eq!(run(&world).await.phase.name(), "completed", "blue can serve with one server, too");
    let world = Arc::new(Scripted::new());
    let mut backup = peer(3);
    backup.backup = true;
    world.scene().slots[0].1.push(backup);
    assert_eq!(run(&world).await.phase.name(), "completed");
}

/// `probe.require` is content with one server, the guard is not.
#[tokio::test(start_paused = true)]
async fn a_server_that_dies_before_the_switch_prevents_it() {
    let world = Arc::new(Scripted::new());
    {
        let mut scene = world.scene();
        smaller(&mut scene);
        scene.slots[1].1.push(peer(4));
        let dies = Hook(Box::new(|scene: &mut Scene| scene.dead.push("127.0.0.1:4".to_owned())));
        scene.after_command = Some(("smoke-1 green".to_owned(), dies));
    }
    let mut deployment = deployment();
    deployment.policy.probe.require = serde_json::from_value(serde_json::json!("one")).unwrap();
    deployment.policy.smoke =
        serde_json::from_value(serde_json::json!([{ "name": "it runs", "command": ["/bin/smoke"] }]))
            .unwrap();
    let state = run_this(&world, deployment).await;
    let cause = state.phase.cause().unwrap_or_else(|| panic!("{state:?}"));
    assert!(cause.text.contains("capacity = \"100%\" wants at least 2"), "{cause}");
    assert_eq!(world.scene().moves, [""; 0]);
}

/// A bad version with more servers goes back to a smaller old one.
#[tokio::test(start_paused = true)]
async fn the_way_back_is_not_guarded() {
    let world = Arc::new(Scripted::new());
    world.scene().slots[1].1.extend([peer(3), peer(4)]);
    world.scene().bad_version = Some("2".to_owned());
    assert_eq!(run(&world).await.phase.name(), "rolled_back");
}

#[tokio::test(start_paused = true)]
async fn each_edge_is_guarded() {
    let world = Arc::new(Scripted::of(&["lyon", "nice"]));
    for edge in ["lyon", "nice"] {
        smaller(&mut world.scene_of(edge));
    }
    world.scene_of("lyon").slots[1].1.push(peer(4));
    let state = run(&world).await;
    let cause = state.phase.cause().unwrap_or_else(|| panic!("{state:?}"));
    assert!(cause.text.starts_with("edge \"nice\": slot \"green\" has 1 healthy server"), "{cause}");
}
