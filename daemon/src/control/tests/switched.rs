//! The hook `switched` is told of each change of the route once, and only when all edges that answer agree.

use std::time;

use cutover_core::deployment::Time;

use super::*;

const EDGES: [&str; 3] = ["lyon", "nice", "paris"];

/// Some rounds of the vigil.
const SOON: time::Duration = time::Duration::from_secs(5);

fn with_hook(policy: &mut Policy) {
    policy.switched = serde_json::from_value(serde_json::json!({ "command": ["/bin/told"] })).unwrap();
    policy.warm.duration = Duration::seconds(3600);
}

impl Bench {
    /// How often the hook was told, and what it was told last.
    fn told(&self) -> (usize, String) {
        let scene = self.world.scene();
        let times = scene.commands.iter().filter(|command| command.starts_with("switched")).count();
        let last = scene.environments.get("switched").cloned().unwrap_or_default();
        let value = |name: &str| last.get(name).cloned().unwrap_or_default();
        let shown = format!(
            "{}({})>{}({}) {}",
            value("CUTOVER_FROM"),
            value("CUTOVER_FROM_VERSION"),
            value("CUTOVER_TO"),
            value("CUTOVER_TO_VERSION"),
            value("CUTOVER_SHARE"),
        );
        (times, shown)
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_told_once_of_each_change() {
    let bench = Bench::with(with_hook).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told().0, 0, "what is there at first is no change");
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told(), (1, "blue()>green(2) 100".to_owned()));
    bench.control.rollback("shop", "me").await.unwrap();
    bench.until(&two.id, "rolled_back").await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told(), (2, "green(2)>blue() 100".to_owned()));
    // Another daemon on the same journal.
    bench.control.stop().await;
    let mut again = loaded();
    again.config.group.values_mut().for_each(with_hook);
    let control = Bench::control_with(again, &bench.world, &bench.folder, Time(9_000_000)).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told().0, 2, "it has been told");
    bench.world.scene().move_route("green");
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told().0, 3);
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn several_edges_are_told_when_they_agree() {
    let bench = Bench::over(&EDGES, with_hook).await;
    tokio::time::sleep(SOON).await;
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told(), (1, "blue()>green(2) 100".to_owned()));
    // The daemon moves it back to the others, so there is nothing to tell.
    bench.world.scene_of("paris").move_route("blue");
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told().0, 1);
    // One that does not answer is not waited for.
    bench.world.scene_of("paris").away = Some(scripted::Away::Cut);
    for edge in ["lyon", "nice"] {
        bench.world.scene_of(edge).move_route("blue");
    }
    tokio::time::sleep(SOON * 4).await;
    assert_eq!(bench.told(), (2, "green(2)>blue() 100".to_owned()));
}

/// The daemon ends while the hook runs, and the traffic goes back to where it was: the hook may know of the way forward.
#[tokio::test(start_paused = true)]
async fn a_hook_that_was_begun_is_told_of_the_way_back() {
    let bench = Bench::with(with_hook).await;
    tokio::time::sleep(SOON).await;
    bench.world.scene().running.insert("green".to_owned(), "2".to_owned());
    bench.world.scene().hanging.push("switched".to_owned());
    bench.world.scene().move_route("green");
    tokio::time::sleep(SOON).await;
    assert!(bench.control.journal().told("shop").await.unwrap().unwrap().is_begun);
    bench.control.stop().await;
    bench.world.scene().hanging.clear();
    bench.world.scene().move_route("blue");
    let mut again = loaded();
    again.config.group.values_mut().for_each(with_hook);
    let control = Bench::control_with(again, &bench.world, &bench.folder, Time(9_000_000)).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.told(), (1, "green()>blue() 100".to_owned()), "the first one was ended");
    control.stop().await;
}

/// A full disk: the hook is not told again in each round, and the record follows.
#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_written_is_not_told_again() {
    let bench = Bench::with(with_hook).await;
    tokio::time::sleep(SOON).await;
    let disk = rusqlite::Connection::open(bench.folder.path().join("journal.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON told BEGIN SELECT RAISE(ABORT, 'full'); END";
    disk.execute_batch(full).unwrap();
    bench.world.scene().running.insert("green".to_owned(), "2".to_owned());
    bench.world.scene().move_route("green");
    tokio::time::sleep(SOON * 3).await;
    assert_eq!(bench.told().0, 1);
    assert_eq!(bench.control.journal().told("shop").await.unwrap().unwrap().to, "blue");
    // A further change is told all the same.
    bench.world.scene().move_route("blue");
    tokio::time::sleep(SOON * 3).await;
    assert_eq!(bench.told(), (2, "green()>blue() 100".to_owned()));
    disk.execute_batch("DROP TRIGGER full").unwrap();
    tokio::time::sleep(SOON).await;
    let told = bench.control.journal().told("shop").await.unwrap().unwrap();
    assert_eq!((told.from.as_str(), told.to.as_str(), bench.told().0), ("green", "blue", 2));
}

#[tokio::test(start_paused = true)]
async fn without_a_hook_it_cannot_be_run_again() {
    let bench = Bench::new().await;
    let refused = bench.control.run("shop", Rerun::Switched, None, "me").await.unwrap_err();
    assert_eq!(refused.code(), "nothing_to_run");
}
