//! Nobody waits for a migration any more. The server ends its statement, and the lock is free.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod fixture;

use std::time::Duration;

use cutover_database::{Consent, NotMigrated};
use cutover_tests::DatabaseKind;
use cutover_tests::certificate::Authority;

use fixture::Shop;

/// What a session does that sleeps, and the SQL for it.
fn sleeping(kind: DatabaseKind) -> (&'static str, &'static str) {
    match kind {
        DatabaseKind::Mariadb => (
            "DO SLEEP(60);",
            "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'",
        ),
        _ => ("SELECT pg_sleep(60);", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
    }
}

async fn dropped(shop: &Shop) {
    let (statement, sleeps) = sleeping(shop.kind);
    shop.write(&[
        ("0002_slow.up.sql", &format!("CREATE TABLE half (id INTEGER);\n{statement}")),
        ("0002_slow.down.sql", "DROP TABLE half;"),
    ]);
    {
        let migration = shop.migrate("shop-2");
        let begun = shop.database.until(sleeps, "1");
        tokio::select! {
            done = migration => panic!("{done:?}"),
            begun = begun => begun.unwrap(),
        }
    }
    let gone = tokio::time::timeout(Duration::from_secs(5), shop.database.until(sleeps, "0"));
    gone.await.unwrap().unwrap();
    let is_half = shop.try_query("SELECT * FROM half").is_ok();
    assert_eq!(is_half, shop.kind == DatabaseKind::Mariadb, "its DDL commits by itself");
    if is_half {
        shop.query("DROP TABLE half");
        assert!(shop.settle_gone(2).await);
    }
    shop.write(&[("0002_slow.up.sql", "CREATE TABLE half (id INTEGER);")]);
    assert_eq!(shop.migrate("shop-3").await.unwrap().len(), 1, "the lock is free");
    assert_eq!(shop.revert("shop-3", Consent::None).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    dropped(&Shop::start(DatabaseKind::Postgres).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    dropped(&Shop::start_with_tls(&Authority::make(folder.path(), "ca").unwrap()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    dropped(&Shop::start(DatabaseKind::Mariadb).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_takes_too_long_is_ended_and_rolled_back_over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::start_with_tls(&Authority::make(folder.path(), "ca").unwrap()).await;
    shop.limits.migration = Duration::from_secs(1);
    let (statement, sleeps) = sleeping(DatabaseKind::Postgres);
    // The server's own limit would end it, too.
    let script = format!("CREATE TABLE half (id INTEGER); SET statement_timeout = 0;\n{statement}");
    shop.write(&[("0002_slow.up.sql", &script)]);
    let began = std::time::Instant::now();
    let failed = shop.migrate("shop-2").await.unwrap_err();
    assert!(
        matches!(failed, NotMigrated::Script { .. }) && failed.to_string().contains("did not end"),
        "{failed}"
    );
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    shop.database.until(sleeps, "0").await.unwrap();
    assert!(shop.try_query("SELECT * FROM half").is_err());
}
