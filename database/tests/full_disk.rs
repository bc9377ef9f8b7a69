//! The disk of the database is full in the middle of a migration.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod fixture;

use cutover_core::migration::Stage;
use cutover_tests::{DatabaseKind, SmallDisk};

use fixture::Shop;

/// Rows of about 32 MB, after a statement that needs no room to speak of.
fn large(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Sqlite => {
            "CREATE TABLE big (text TEXT);\nINSERT INTO big WITH RECURSIVE c(x) AS
             (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 32000) SELECT hex(zeroblob(500)) FROM c;"
        }
        DatabaseKind::Postgres => {
            "CREATE TABLE big (text TEXT);\nALTER TABLE big ALTER COLUMN text SET STORAGE PLAIN;
             INSERT INTO big SELECT repeat(md5(x::text), 31) FROM generate_series(1, 32000) AS x;"
        }
        DatabaseKind::Mariadb => {
            "CREATE TABLE big (text TEXT);\nINSERT INTO big SELECT repeat(md5(seq), 31) FROM seq_1_to_32000;"
        }
    }
}

async fn full(kind: DatabaseKind, size: &str, room: u64) {
    let disk = SmallDisk::mount(size).unwrap();
    let mut shop = Shop::start_in(kind, Some(disk.path())).await;
    shop.write(&[("0002_big.up.sql", large(kind)), ("0002_big.down.sql", "DROP TABLE big;")]);
    disk.fill(room).unwrap();
    let failed = shop.migrate("shop-2").await.unwrap_err().to_string();
    println!("{kind:?}: {failed}");
    assert!(failed.starts_with("0002_big.up.sql: "), "{failed}");
    disk.clear().unwrap();
    // A server may have ended itself.
    if shop.try_query("SELECT 1").is_err() {
        shop.database.kill_and_resume().await.unwrap();
    }
    let stage = shop.stage_of(2).await;
    if kind == DatabaseKind::Mariadb {
        assert_eq!(stage, Some(Stage::Begun));
        shop.query("DROP TABLE big");
        assert!(shop.settle_gone(2).await);
    } else {
        assert_eq!(stage, None);
        assert!(shop.try_query("SELECT count(*) FROM big").is_err());
    }
    assert_eq!(shop.migrate("shop-2").await.unwrap().len(), 1, "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    full(DatabaseKind::Sqlite, "64m", 4 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    full(DatabaseKind::Postgres, "300m", 24 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    full(DatabaseKind::Mariadb, "300m", 12 << 20).await;
}
