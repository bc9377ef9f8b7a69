//! The kill matrix: the daemon or the server is killed in the middle of a migration, or of a revert. What is found, and what
//! follows.

use super::*;

/// A migration that takes long enough to be killed, after a statement that has changed something.
fn slow(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Sqlite => {
            "CREATE TABLE half (id BIGINT);
             INSERT INTO half WITH RECURSIVE c(x) AS
             (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000) SELECT max(x) FROM c;"
        }
        DatabaseKind::Postgres => {
            "CREATE TABLE half (id BIGINT);\nINSERT INTO half SELECT 1 FROM pg_sleep(3);"
        }
        DatabaseKind::Mariadb => "CREATE TABLE half (id BIGINT);\nINSERT INTO half SELECT sleep(3);",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Daemon,
    Server,
}

/// Waits until the statement that takes long runs.
async fn until_slow(shop: &Shop, kind: DatabaseKind) {
    match kind {
        DatabaseKind::Sqlite => {
            let Database::Sqlite(_, file) = &shop.database else { panic!() };
            let journal = file.with_extension("sqlite-journal");
            cutover_tests::wait::until("the transaction of the migration", || journal.exists())
                .await
                .unwrap();
            // The statement after the one that has made the journal.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        DatabaseKind::Postgres => {
            let slow = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE half%' AND wait_event = 'PgSleep'";
            shop.database.until(slow, "1").await.unwrap();
        }
        DatabaseKind::Mariadb => {
            let slow = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'";
            shop.database.until(slow, "1").await.unwrap();
        }
    }
}

async fn kill(shop: &mut Shop, kind: DatabaseKind, victim: Victim) -> Deployed {
    let deployment = shop.begin("2.0");
    until_slow(shop, kind).await;
    match victim {
        Victim::Daemon => {
            shop.host.daemon.kill().unwrap();
            shop.host.daemon.resume().await.unwrap();
        }
        Victim::Server => shop.database.kill_and_resume().await.unwrap(),
    }
    shop.host.daemon.follow(deployment).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_migration() {
    println!("| database | killed | found | outcome |\n|---|---|---|---|");
    for kind in DatabaseKind::ALL {
        for victim in [Victim::Daemon, Victim::Server] {
            if (kind, victim) == (DatabaseKind::Sqlite, Victim::Server) {
                continue;
            }
            let mut shop = Shop::start(kind).await;
            shop.publish(
                "2.0",
                &[
                    GIFTS[0],
                    GIFTS[1],
                    ("0003_slow.up.sql", slow(kind)),
                    ("0003_slow.down.sql", "DROP TABLE half;"),
                ],
            );
            let users = shop.host.users().unwrap();
            let ended = kill(&mut shop, kind, victim).await;
            drop(users);
            let (records, said) = (shop.records(), messages(&ended));
            println!("| {kind:?} | {victim:?} | {records} | {} |", ended.outcome);
            match (kind, victim) {
                // The transaction was undone, and the daemon applies it again.
                (DatabaseKind::Sqlite | DatabaseKind::Postgres, Victim::Daemon) => {
                    assert_eq!(ended.outcome, "completed", "{said}");
                    assert_eq!(records, "stock|applied wrap|applied slow|applied");
                }
                // Nothing of it is there, and the one before it is reverted.
                (DatabaseKind::Sqlite | DatabaseKind::Postgres, Victim::Server) => {
                    assert_eq!(ended.outcome, "failed", "{said}");
                    assert_eq!(records, "stock|applied", "{said}");
                }
                // It is found half done, and never repeated blindly.
                (DatabaseKind::Mariadb, _) => {
                    assert_eq!(ended.outcome, "stuck", "{said}");
                    assert_eq!(records, "stock|applied wrap|applied slow|begun", "{said}");
                    settle_by_hand(&shop, &said);
                }
            }
        }
    }
}

/// A revert that takes long enough to be killed, after statements that have changed something. It counts its runs.
fn slow_revert(kind: DatabaseKind) -> String {
    let slow = match kind {
        DatabaseKind::Sqlite => {
            "CREATE TABLE numbers AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000)
             SELECT max(x) AS x FROM c;\nDROP TABLE numbers;"
        }
        DatabaseKind::Postgres => "SELECT pg_sleep(3) AS half;",
        DatabaseKind::Mariadb => "DO sleep(3);",
    };
    format!("-- cutover: safe\nINSERT INTO reverts VALUES (1);\nDROP TABLE half;\n{slow}")
}

/// Waits until the statement of the revert that takes long runs.
async fn until_slow_revert(shop: &Shop, kind: DatabaseKind) {
    match kind {
        DatabaseKind::Postgres => {
            let slow = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%reverts%' AND wait_event = 'PgSleep'";
            shop.database.until(slow, "1").await.unwrap();
        }
        kind => until_slow(shop, kind).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_revert() {
    println!("| database | found | outcome |\n|---|---|---|");
    for kind in DatabaseKind::ALL {
        let mut shop = Shop::start(kind).await;
        shop.database.query("CREATE TABLE reverts (n INTEGER)").unwrap();
        shop.publish(
            "2.0",
            &[
                GIFTS[0],
                GIFTS[1],
                ("0003_slow.up.sql", "CREATE TABLE half (id BIGINT);"),
                ("0003_slow.down.sql", &slow_revert(kind)),
            ],
        );
        shop.green.on("/", Action::status(200));
        let users = shop.host.users().unwrap();
        let mut deployment = shop.begin("2.0");
        deployment.phase("soaking").await.unwrap();
        shop.green.on("/", Action::status(500));
        until_slow_revert(&shop, kind).await;
        shop.host.daemon.kill().unwrap();
        shop.host.daemon.resume().await.unwrap();
        let ended = shop.host.daemon.follow(deployment).await.unwrap();
        drop(users);
        let (records, said) = (shop.records(), messages(&ended));
        println!("| {kind:?} | {records} | {} |", ended.outcome);
        assert_eq!(shop.host.active().await.unwrap(), "blue");
        match kind {
            // The transaction was undone, and the daemon reverts it again.
            DatabaseKind::Sqlite | DatabaseKind::Postgres => {
                assert_eq!(ended.outcome, "rolled_back", "{said}");
                assert_eq!(records, "stock|applied", "{said}");
            }
            // It is found half done, and never repeated blindly.
            DatabaseKind::Mariadb => {
                assert_eq!(ended.outcome, "stuck", "{said}");
                assert_eq!(records, "stock|applied wrap|applied slow|reverting", "{said}");
                assert!(
                    said.contains("0003_slow was interrupted, and how far it came is not known"),
                    "{said}"
                );
                shop.says("cutover database settle shop 3 --gone");
                shop.says("cutover database revert shop --yes");
                assert_eq!(shop.records(), "stock|applied");
            }
        }
        assert_eq!(shop.database.query("SELECT count(*) FROM reverts").unwrap(), "1", "it ran twice");
        assert!(shop.database.query("SELECT wrap FROM stock").is_err(), "it is reverted");
        let status = shop.host.daemon.status("shop").unwrap();
        assert_eq!(status["deployment"]["needs_operator"], false, "{status}");
    }
}

/// The operator looks, drops what is there, says so, and goes on.
fn settle_by_hand(shop: &Shop, said: &str) {
    assert!(said.contains("0003_slow was interrupted, and how far it came is not known"), "{said}");
    let status = shop.says(&advice(said));
    assert!(status.contains(
        "0003_slow was interrupted: look at the database, and then type cutover database settle GROUP 0003"
    ));
    let planned = shop.host.daemon.cli(&["database", "plan", "shop", "--version", "2.0"]).unwrap();
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        planned.contains("cutover database settle shop 3 with --applied, if all of it is there; --gone"),
        "{planned}"
    );
    shop.database.query("DROP TABLE half").unwrap();
    assert!(
        shop.says("cutover database settle shop 3 --gone").starts_with("settled as not there: 0003_slow")
    );
    let again = shop.host.refused("cutover database settle shop 3 --gone").unwrap();
    assert!(again.contains("migration 3 is not interrupted"), "{again}");
    shop.says("cutover database revert shop --yes");
    assert_eq!(shop.records(), "stock|applied");
}
