//! `cutover database`: the same by hand.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn plan_migrate_status_and_revert() {
    let shop = Shop::start(DatabaseKind::Postgres).await;
    shop.publish("2.0", &GIFTS);
    let plan = shop.says("cutover database plan shop --version 2.0");
    assert!(plan.ends_with("apply  0002_wrap\napply  0003_gifts\n"), "{plan}");
    let json: serde_json::Value =
        serde_json::from_str(&shop.says("cutover database plan shop --version 2.0 --json")).unwrap();
    assert_eq!(json["apply"], serde_json::json!(["0002_wrap", "0003_gifts"]));
    let done = shop.says("cutover database migrate shop --version 2.0");
    assert!(done.starts_with("applied 0002_wrap, 0003_gifts (deployment by-hand-"), "{done}");
    assert_eq!(
        shop.says("cutover database plan shop --version 2.0").lines().last(),
        Some("nothing to apply")
    );
    let status = shop.says("cutover database status shop");
    let second = status.lines().nth(2).unwrap();
    assert!(second.starts_with("0002_wrap   applied    20") && second.contains("  by-hand-"), "{status}");
    // Nobody knows whether the version that has the traffic needs them.
    let refused = shop.host.refused("cutover database revert shop").unwrap();
    assert!(
        refused.contains(
            "which is no deployment of this daemon, and the version that has the traffic may need it"
        ),
        "{refused}"
    );
    let done = shop.says(&advice(&refused));
    assert!(done.starts_with("reverted 0003_gifts, 0002_wrap "), "{done}");
    let history = shop.says("cutover history shop");
    for act in ["  migrated 0002_wrap, 0003_gifts  by hand", "  reverted 0003_gifts, 0002_wrap  by hand"] {
        assert!(history.contains(act), "{history}");
    }
    let nothing = shop.host.refused("cutover database revert shop --deployment x").unwrap();
    assert!(nothing.contains("nothing is applied by deployment \"x\""), "{nothing}");
    shop.says(&advice(&nothing.replace("status is: ", "type: ").replace("to see what is: ", "type: ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_version_keeps_its_migrations() {
    let shop = Shop::start(DatabaseKind::Sqlite).await;
    shop.publish("2.0", &GIFTS);
    let users = shop.host.users().unwrap();
    shop.host.deploy("2.0").await.unwrap().assert_ended("completed", 0).unwrap();
    drop(users);
    cutover_tests::wait::until("the end of the deployment", || {
        let status = shop.host.daemon.status("shop").unwrap();
        status["deployment"]["phase"] == "completed"
    })
    .await
    .unwrap();
    for line in
        ["cutover database revert shop", "cutover database revert shop --yes", "cutover run shop revert"]
    {
        let refused = shop.host.refused(line).unwrap();
        assert!(refused.contains("slot \"green\" has the traffic"), "{line}: {refused}");
    }
    assert!(shop.has_gifts());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_while_a_deployment_is_under_way() {
    let shop = Shop::start(DatabaseKind::Sqlite).await;
    shop.publish("2.0", &GIFTS);
    let users = shop.host.users().unwrap();
    let mut deployment = shop.begin("2.0");
    deployment.phase("soaking").await.unwrap();
    for line in [
        "cutover database migrate shop --version 2.0",
        "cutover database revert shop --yes",
        "cutover database settle shop 3 --gone",
    ] {
        let refused = shop.host.refused(line).unwrap();
        assert!(
            refused.contains("\" is soaking") || refused.contains("has the traffic"),
            "{line}: {refused}"
        );
    }
    deployment.finish().await.unwrap().assert_ended("completed", 0).unwrap();
    drop(users);
    assert!(shop.has_gifts());
}

/// Two operators, and another program that holds the lock.
#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_the_lock_is_named() {
    for (kind, said) in [
        (DatabaseKind::Sqlite, "(daemon-"),
        (DatabaseKind::Postgres, "of user postgres (psql), idle since 20"),
        (DatabaseKind::Mariadb, ", which belongs to another user"),
    ] {
        let shop = Shop::start(kind).await;
        shop.publish("2.0", &GIFTS);
        let holder = shop.database.hold_lock().await.unwrap();
        let refused = shop.host.refused("cutover database migrate shop --version 2.0").unwrap();
        assert!(refused.contains("the lock of the migrations was not free within 1s: "), "{refused}");
        assert!(refused.contains(said), "{refused}");
        drop(holder);
        let lines = ["database", "migrate", "shop", "--version", "2.0"];
        let both = [0, 1].map(|_| {
            let mut command = shop.host.daemon.command(&lines);
            // One of them may be refused, because the other one is at it.
            std::thread::spawn(move || command.output().unwrap())
        });
        let both = both.map(|thread| thread.join().unwrap());
        assert!(both.iter().any(|output| output.status.success()), "{both:?}");
        assert_eq!(shop.records(), "stock|applied wrap|applied gifts|applied");
    }
}

/// What refuses an operator names the commands that help, and they do.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_moves_and_an_abort_ends_it_while_it_runs() {
    for kind in [DatabaseKind::Postgres, DatabaseKind::Mariadb] {
        let shop = Shop::start(kind).await;
        let (slow, sleeps) = match kind {
            DatabaseKind::Mariadb => (
                "DO sleep(60);",
                "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'",
            ),
            _ => {
                ("SELECT pg_sleep(60);", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            }
        };
        shop.publish("2.0", &[("0002_slow.up.sql", slow)]);
        shop.green.on("/health", Action::status(200));
        let mut command =
            shop.host.daemon.command(&["database", "migrate", "shop", "--version", "2.0", "--yes"]);
        let migration = std::thread::spawn(move || command.output().unwrap());
        shop.database.until(sleeps, "1").await.unwrap();
        let refused = shop.host.refused("cutover switch shop --to green").unwrap();
        for line in ["cutover switch shop --to green --force", "cutover abort shop"] {
            assert!(refused.contains(&format!(": {line}")), "{refused}");
        }
        shop.says("cutover switch shop --to green --force");
        assert_eq!(shop.host.active().await.unwrap(), "green");
        let ended = shop.says("cutover abort shop");
        assert!(
            ended.starts_with("cutover database of group \"shop\" is ended; to see how far it came: "),
            "{ended}"
        );
        let output = migration.join().unwrap();
        assert!(!output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("was ended, by an abort"), "{output:?}");
        shop.database.until(sleeps, "0").await.unwrap();
        let status = shop.says("cutover database status shop");
        let is_begun = status.contains("0002_slow   begun");
        assert_eq!(is_begun, kind == DatabaseKind::Mariadb, "{status}");
    }
}
