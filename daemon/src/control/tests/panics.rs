//! A bug that ends a command by hand ends that command, and holds up nothing after it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_command_that_a_bug_has_ended_is_not_running_again_for_ever() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.world.scene().fail("decommission", 6);
    bench.until(&two.id, "completed").await;
    bench.world.scene().fail("panic", 1);
    let run = || bench.control.run("shop", Rerun::Decommission, None, "me");
    let refused = run().await.unwrap_err();
    assert_eq!(refused.code(), "interrupted");
    assert!(refused.to_string().contains("a bug of the daemon has ended decommission"), "{refused}");
    run().await.unwrap();
    assert!(!bench.world.scene().running.contains_key("blue"));
    let three = bench.deploy("3").await.unwrap();
    bench.until(&three.id, "warm").await;
}

fn bug() -> Result<(), Refusal> {
    panic!("a bug, as a test wants it")
}

#[tokio::test(start_paused = true)]
async fn work_on_a_database_that_a_bug_has_ended_holds_up_no_deployment() {
    let bench = Bench::new().await;
    let refused =
        bench.control.alone("shop", "by-hand-1", async { Ok((None, async { bug() })) }).await.unwrap_err();
    assert!(refused.to_string().contains("a bug of the daemon has ended cutover database"), "{refused}");
    bench.control.alone("shop", "by-hand-2", async { Ok((None, async { Ok(()) })) }).await.unwrap();
    let two = bench.deploy("2").await.unwrap();
    bench.until(&two.id, "warm").await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_ended_frees_no_place_but_its_own() {
    let bench = Bench::new().await;
    let two = bench.deploy("2").await.unwrap();
    bench.world.scene().fail("decommission", 6);
    bench.until(&two.id, "completed").await;
    let runs = || {
        let control = bench.control.clone();
        tokio::spawn(async move { control.run("shop", Rerun::Decommission, None, "me").await })
    };
    let first = runs();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    bench.control.abort("shop", "me").await.unwrap();
    let second = runs();
    assert_eq!(first.await.unwrap().unwrap_err().code(), "interrupted");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(bench.deploy("3").await.unwrap_err().code(), "busy", "the second one is running");
    second.await.unwrap().unwrap();
}
