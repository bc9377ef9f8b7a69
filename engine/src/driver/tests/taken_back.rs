//! If the edge takes the traffic back by itself, the rest of the rollback follows.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_rest_of_the_rollback_follows() {
    for reads in 1..20 {
        let world = Arc::new(Scripted::new());
        world.scene().taken_back_after = Some(reads);
        let state = run(&world).await;
        let scene = world.scene();
        let name = format!("after {reads} reads: {state:?}");
        assert_eq!(state.phase.name(), "rolled_back", "{name}");
        assert_eq!(scene.active, "blue", "{name}");
        assert!(scene.database.is_empty() && !scene.running.contains_key("green"), "{name}");
        assert_eq!(scene.violations, [""; 0], "{name}");
    }
}
