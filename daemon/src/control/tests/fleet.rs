//! Groups with several edges: one that is not as the others are is repaired.

use std::time;

use cutover_engine::policy::OnMissing;
use cutover_engine::scripted::ALWAYS;

use super::*;

const EDGES: [&str; 3] = ["lyon", "nice", "paris"];

/// Two intervals of probes, and the time of the probes.
const SOON: time::Duration = time::Duration::from_secs(3);

impl Bench {
    async fn over_three() -> Self {
        Self::over(&EDGES, |policy| policy.warm.duration = Duration::seconds(3600)).await
    }

    fn actives(&self) -> [String; 3] {
        EDGES.map(|edge| {
            let mut scene = self.world.scene_of(edge);
            scene.end_lease();
            scene.active.clone()
        })
    }

    fn violations(&self) -> Vec<String> {
        EDGES.iter().flat_map(|edge| self.world.scene_of(edge).violations.clone()).collect()
    }

    async fn said(&self, id: &str) -> String {
        let records = self.control.journal().records(id, 0).await.unwrap();
        records.iter().map(|record| format!("{}\n", record.message)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_was_away_at_the_confirmation_follows() {
    let bench = Bench::over_three().await;
    bench.world.scene_of("nice").fail("confirm", 40);
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    let said = bench.said(&two.id).await;
    assert!(said.contains("edge \"nice\" has not confirmed the switch"), "{said}");
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.actives(), ["green"; 3], "it is on trial until then, and its lease would take it back");
    assert!(bench.world.scene_of("nice").trial.is_none());
    let said = bench.said(&two.id).await;
    assert!(said.contains("edge \"nice\" was not as the others are"), "{said}");
    assert_eq!(bench.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_somebody_moves_alone_follows_again() {
    let bench = Bench::over_three().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene_of("paris").move_route("blue");
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.actives(), ["green"; 3]);
    bench.until(&two.id, "warm").await;
    bench.switch("blue", false).await.unwrap();
    assert_eq!(bench.actives(), ["blue"; 3]);
    bench.world.scene_of("paris").move_route("green");
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.actives(), ["blue"; 3], "a switch by hand is for all edges");
    assert_eq!(bench.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_edge_is_not_moved_to_a_slot_that_it_sees_sick() {
    let bench = Bench::over_three().await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    bench.world.scene_of("paris").move_route("blue");
    bench.world.scene().sick.push("green".to_owned());
    tokio::time::sleep(SOON * 4).await;
    assert_eq!(bench.actives(), ["green", "green", "blue"]);
    assert_eq!(bench.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_without_an_edge_that_is_down() {
    for on_missing in [OnMissing::Refuse, OnMissing::Exclude] {
        let bench = Bench::over(&EDGES, |policy| {
            policy.warm.duration = Duration::seconds(3600);
            policy.fleet.on_missing = on_missing;
        })
        .await;
        bench.world.scene_of("nice").fail("group", ALWAYS);
        let begun = bench.deploy("2").await;
        if on_missing == OnMissing::Refuse {
            let refused = begun.unwrap_err();
            assert_eq!(refused.code(), "edge_missing");
            assert!(
                refused.to_string().starts_with("edge \"nice\": the scripted edge does not answer"),
                "{refused}"
            );
            continue;
        }
        let two = begun.unwrap();
        bench.until(&two.id, "warm").await;
        let said = bench.said(&two.id).await;
        assert!(said.contains("without edge \"nice\", which does not answer"), "{said}");
        assert_eq!(bench.actives(), ["green", "blue", "green"]);
        bench.world.scene_of("nice").fail("group", 0);
        tokio::time::sleep(SOON).await;
        assert_eq!(bench.actives(), ["green"; 3]);
        assert_eq!(bench.violations(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_version_stays_up_while_an_edge_may_use_it() {
    let bench = Bench::over(&EDGES, |policy| {
        policy.warm.duration = Duration::seconds(5);
        policy.fleet.on_missing = OnMissing::Exclude;
    })
    .await;
    bench.world.scene_of("nice").fail("group", ALWAYS);
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "completed").await;
    assert!(bench.world.scene().running.contains_key("blue"), "nobody knows what the edge does");
    let said = bench.said(&two.id).await;
    assert!(said.contains("slot \"blue\" could not be stopped: edge \"nice\""), "{said}");
}

#[tokio::test(start_paused = true)]
async fn status_shows_each_edge() {
    let bench = Bench::over_three().await;
    bench.world.scene_of("nice").move_route("green");
    bench.world.scene_of("paris").fail("group", ALWAYS);
    let status = bench.control.group_status("shop").await.unwrap();
    let edges: Vec<_> =
        status.edges.iter().map(|edge| (edge.edge.as_str(), edge.active.as_deref())).collect();
    assert_eq!(edges, [("lyon", Some("blue")), ("nice", Some("green")), ("paris", None)]);
    assert!(status.edges[2].error.as_ref().unwrap().contains("does not answer"), "{:?}", status.edges[2]);
    assert!(status.edges[2].away_s.is_some());
    let one = Bench::new().await.control.group_status("shop").await.unwrap();
    assert!(one.edges.is_empty());
}
