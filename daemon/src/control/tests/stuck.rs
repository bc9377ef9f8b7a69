//! A stuck deployment goes on being watched, and can end.

use cutover_core::deployment::Phase;

use super::*;

impl Bench {
    /// A deployment that is stuck: both versions are sick.
    async fn stuck(&self) -> String {
        {
            let mut scene = self.world.scene();
            scene.bad_version = Some("2".to_owned());
            scene.sick_after_switch = Some("blue".to_owned());
        }
        let begun = self.deploy("2").await.unwrap();
        self.until(&begun.id, "stuck").await;
        begun.id
    }

    async fn settled(&self, id: &str) -> Option<String> {
        let entry = self.control.journal().entry(id).await.unwrap().unwrap();
        match entry.state.phase {
            Phase::Stuck { settled, .. } => settled,
            phase => panic!("{}", phase.name()),
        }
    }

    async fn needs_operator(&self) -> bool {
        self.control.group_status("shop").await.unwrap().deployment.unwrap().needs_operator
    }
}

async fn minutes(minutes: u64) {
    tokio::time::sleep(std::time::Duration::from_secs(60 * minutes)).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_group_is_well_again() {
    let bench = Bench::new().await;
    let id = bench.stuck().await;
    minutes(5).await;
    assert!(bench.needs_operator().await && bench.settled(&id).await.is_none(), "all users get errors");
    bench.world.scene().bad_version = None;
    minutes(5).await;
    assert!(!bench.needs_operator().await);
    let how = bench.settled(&id).await.unwrap();
    assert_eq!(how, "slot \"green\" has all the traffic and is healthy");
    let said = bench.control.journal().entry(&id).await.unwrap().unwrap().message;
    assert_eq!(said, format!("no longer stuck: {how}"), "the migration is in use");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_a_switch_by_hand() {
    let bench = Bench::new().await;
    let id = bench.stuck().await;
    bench.world.scene().sick.clear();
    bench.switch("blue", false).await.unwrap();
    assert!(!bench.needs_operator().await);
    assert_eq!(bench.settled(&id).await.unwrap(), "switched by hand to slot \"blue\" by me");
    let said = bench.control.journal().entry(&id).await.unwrap().unwrap().message;
    assert!(said.ends_with("to undo what it has left, type: cutover run shop revert"), "{said}");
    bench.control.run("shop", crate::control::Rerun::Revert, None, "me").await.unwrap();
    assert!(bench.world.scene().database.is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_is_known_after_a_restart() {
    let bench = Bench::new().await;
    let id = bench.stuck().await;
    bench.control.stop().await;
    let control = Bench::control(&bench.world, &bench.folder, Time(1_500_000)).await;
    let bench = Bench { control, ..bench };
    assert!(bench.needs_operator().await);
    bench.world.scene().bad_version = None;
    minutes(5).await;
    assert!(bench.settled(&id).await.is_some());
}
