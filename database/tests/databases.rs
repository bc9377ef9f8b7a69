//! Migrations in real databases.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod fixture;

use cutover_core::migration::{OnRevert, Stage};
use cutover_database::{Consent, NotReverted, look};
use cutover_tests::{Database, DatabaseKind};

use fixture::Shop;

/// A column with a default, and a table.
const GIFTS: [(&str, &str); 4] = [
    ("0002_wrap.up.sql", "ALTER TABLE stock ADD COLUMN wrap INTEGER NOT NULL DEFAULT 0;"),
    ("0002_wrap.down.sql", "ALTER TABLE stock DROP COLUMN wrap;"),
    (
        "0003_gifts.up.sql",
        "CREATE TABLE gifts (id INTEGER PRIMARY KEY, name VARCHAR(40));\nINSERT INTO gifts VALUES (1, 'ribbon');",
    ),
    ("0003_gifts.down.sql", "DROP TABLE gifts;"),
];

async fn each(test: impl AsyncFn(&mut Shop)) {
    for kind in DatabaseKind::ALL {
        eprintln!("{kind:?}");
        test(&mut Shop::start(kind).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deployment_applied_is_recorded_and_reverted_the_newest_first() {
    each(async |shop| {
        shop.write(&GIFTS);
        assert_eq!(shop.found().await.plan.unwrap().clause(), "2 migrations to apply: 0002_wrap, 0003_gifts");
        let applied = shop.migrate("shop-2").await.unwrap();
        assert_eq!(applied.iter().map(|record| record.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(shop.query("SELECT wrap FROM stock"), "0\n0");
        let records = shop.found().await.records;
        let seen: Vec<_> =
            records.iter().map(|record| (record.number, record.deployment.as_str(), record.stage)).collect();
        assert_eq!(
            seen,
            [(1, "shop-1", Stage::Applied), (2, "shop-2", Stage::Applied), (3, "shop-2", Stage::Applied)]
        );
        assert_eq!(records[2].at.0, fixture::NOW.0, "the time survives the column");
        assert_eq!(records[2].rows.0[0].rows, 1, "{:?}", records[2].rows);
        // Again: a daemon that was killed after it.
        assert_eq!(shop.migrate("shop-2").await.unwrap().len(), 2);
        let reverted = shop.revert("shop-2", Consent::None).await.unwrap();
        assert_eq!(reverted.iter().map(|record| record.number).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(shop.found().await.records.len(), 1);
        assert!(
            shop.try_query("SELECT * FROM gifts").is_err()
                && shop.try_query("SELECT wrap FROM stock").is_err()
        );
        assert!(shop.revert("shop-2", Consent::None).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_written_since_are_lost_only_with_consent() {
    each(async |shop| {
        shop.write(&GIFTS);
        shop.migrate("shop-2").await.unwrap();
        // Both versions write to a table that was there: what the old one could have written is no loss.
        shop.query("INSERT INTO stock (id, name) VALUES (3, 'c')");
        shop.query("UPDATE stock SET name = 'x' WHERE id = 1");
        let sure = shop.may_revert("shop-2").await;
        assert_eq!(sure, Ok(2), "rows with the default");
        shop.migrate("shop-2").await.unwrap();
        for (sql, undo, said) in [
            (
                "INSERT INTO gifts VALUES (2, 'box'), (3, 'bow')",
                "DELETE FROM gifts WHERE id > 1",
                "0003_gifts would drop table \"gifts\", where 2 rows were written since the deployment",
            ),
            (
                "UPDATE gifts SET name = 'bow'",
                "UPDATE gifts SET name = 'ribbon'",
                "0003_gifts would drop table \"gifts\", whose rows were changed since the deployment: 1 then, 1 now",
            ),
            (
                "UPDATE stock SET wrap = 7 WHERE id = 2",
                "UPDATE stock SET wrap = 0",
                "0002_wrap would drop column \"stock.wrap\", where 1 row was written since the deployment",
            ),
        ] {
            shop.query(sql);
            let asks = shop.revert("shop-2", Consent::None).await.unwrap_err();
            assert!(matches!(asks, NotReverted::Asks(_)), "{asks}");
            assert_eq!(asks.to_string(), said);
            assert_eq!(shop.found().await.records.len(), 3, "nothing is reverted");
            shop.query(undo);
        }
        shop.query("INSERT INTO gifts VALUES (2, 'box')");
        assert_eq!(shop.revert("shop-2", Consent::Given).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_asks_and_a_changed_file_is_refused() {
    each(async |shop| {
        shop.write(&GIFTS);
        shop.migrate("shop-2").await.unwrap();
        let asks = shop.revert_on("shop-2", OnRevert::Ask, Consent::None).await.unwrap_err();
        assert_eq!(asks.to_string(), "revert = \"ask\"");
        shop.write(&[("0003_gifts.up.sql", "CREATE TABLE gifts (id INTEGER);")]);
        let refused = shop.migrate("shop-3").await.unwrap_err().to_string();
        assert!(
            refused.starts_with("0003_gifts.up.sql was changed after deployment \"shop-2\" applied it"),
            "{refused}"
        );
        let asks = shop.revert("shop-2", Consent::None).await.unwrap_err().to_string();
        assert_eq!(asks, "0003_gifts.up.sql was changed since it was applied, so its .down.sql may not fit");
        shop.remove("0002_wrap.down.sql");
        let asks = shop.revert("shop-2", Consent::Given).await.unwrap_err().to_string();
        assert_eq!(
            asks, "0002_wrap has no .down.sql: write that file first",
            "no consent is enough for that"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_leaves_nothing_where_the_database_can() {
    each(async |shop| {
        shop.write(&GIFTS[..2]);
        shop.write(&[(
            "0004_bad.up.sql",
            "CREATE TABLE half (id INTEGER);\nINSERT INTO nowhere VALUES (1);",
        )]);
        let failed = shop.migrate("shop-2").await.unwrap_err().to_string();
        assert!(failed.starts_with("0004_bad.up.sql: ") && failed.contains("nowhere"), "{failed}");
        let records = shop.found().await.records;
        let is_mariadb = shop.kind == DatabaseKind::Mariadb;
        assert_eq!(shop.try_query("SELECT * FROM half").is_ok(), is_mariadb, "its DDL commits by itself");
        if !is_mariadb {
            assert!(failed.ends_with("; nothing of it is applied"), "{failed}");
            assert_eq!(records.len(), 2, "the one before it stays");
            return;
        }
        assert!(failed.ends_with("if it was not its first statement, a part of it is applied"), "{failed}");
        assert_eq!(records.last().map(|record| record.stage), Some(Stage::Begun));
        let again = shop.migrate("shop-2").await.unwrap_err().to_string();
        assert!(
            again.starts_with("the migration 0004_bad by deployment \"shop-2\" was interrupted"),
            "{again}"
        );
        let asks = shop.revert("shop-2", Consent::Given).await.unwrap_err().to_string();
        assert!(asks.starts_with("0004_bad was interrupted"), "{asks}");
        shop.query("DROP TABLE half");
        assert!(shop.settle_gone(4).await);
        assert_eq!(shop.revert("shop-2", Consent::None).await.unwrap().len(), 1);
        // A later statement that fails when it runs is no less a failure.
        let twice = "CREATE TABLE half (id INTEGER PRIMARY KEY);\nINSERT INTO half VALUES (1);\nINSERT INTO half VALUES (1);";
        shop.write(&[("0004_bad.up.sql", twice)]);
        let failed = shop.migrate("shop-3").await.unwrap_err().to_string();
        assert!(failed.contains("Duplicate entry"), "{failed}");
        assert_eq!(shop.found().await.records.last().map(|record| record.stage), Some(Stage::Begun));
        shop.query("DROP TABLE half");
        assert!(shop.settle_gone(4).await);
        // The first statement is refused: nothing has changed, and nothing is to be settled.
        shop.write(&[(
            "0004_bad.up.sql",
            "ALTER TABLE nowhere ADD COLUMN a INT;\nCREATE TABLE half (id INTEGER);",
        )]);
        shop.migrate("shop-3").await.unwrap_err();
        assert!(shop.found().await.records.iter().all(|record| record.stage == Stage::Applied));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_a_script_are_refused_and_statements_outside_one_are_possible() {
    each(async |shop| {
        let is_mariadb = shop.kind == DatabaseKind::Mariadb;
        if !is_mariadb {
            shop.write(&[("0002_a.up.sql", "CREATE TABLE a (b INT);\nCOMMIT;\nCREATE TABLE c (d INT);")]);
            let refused = shop.migrate("shop-2").await.unwrap_err().to_string();
            assert!(
                refused.contains("0002_a.up.sql has COMMIT: each migration is in a transaction already"),
                "{refused}"
            );
            assert!(shop.try_query("SELECT * FROM a").is_err());
        }
        let index = match shop.kind {
            DatabaseKind::Postgres => {
                "CREATE INDEX CONCURRENTLY by_name ON stock (name);
                CREATE INDEX CONCURRENTLY by_both ON stock (name, id);"
            }
            DatabaseKind::Sqlite => "CREATE INDEX by_name ON stock (name);\nVACUUM;",
            DatabaseKind::Mariadb => "CREATE INDEX by_name ON stock (name);",
        };
        shop.write(&[("0002_a.up.sql", &format!("-- cutover: no-transaction\n{index}"))]);
        shop.write(&[(
            "0002_a.down.sql",
            match shop.kind {
                DatabaseKind::Mariadb => "DROP INDEX by_name ON stock;",
                _ => "-- cutover: no-transaction\nDROP INDEX by_name;",
            },
        )]);
        assert_eq!(shop.migrate("shop-2").await.unwrap().len(), 1);
        assert_eq!(shop.revert("shop-2", Consent::None).await.unwrap().len(), 1);
    })
    .await;
}

/// Locks of the migration are held only as long as its script runs.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_counts_rows_after_the_commit() {
    let shop = Shop::start(DatabaseKind::Postgres).await;
    let Database::Postgres(server) = &shop.database else { panic!() };
    shop.query("ALTER SYSTEM SET log_statement = 'all'");
    shop.query("SELECT pg_reload_conf()");
    shop.database.until("SHOW log_statement", "all").await.unwrap();
    shop.write(&GIFTS[..2]);
    shop.migrate("shop-2").await.unwrap();
    let log = server.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text} in {log}"));
    assert!(at("ADD COLUMN wrap") < at("statement: COMMIT"), "{log}");
    assert!(at("statement: COMMIT") < at("SELECT count(*)"), "{log}");
    // A daemon that was killed between the two. What is not known is asked for.
    let rows = "UPDATE cutover_migrations SET rows_then = '[]' WHERE number = 2";
    shop.query(rows);
    let asks = shop.revert("shop-2", Consent::None).await.unwrap_err().to_string();
    assert!(asks.contains("and what was in it after the migration is not known"), "{asks}");
    // The deployment goes on, and counts then.
    shop.migrate("shop-2").await.unwrap();
    assert_eq!(shop.may_revert("shop-2").await, Ok(1));
    // A table that was there before is never taken for one of the migration's own.
    shop.query("CREATE TABLE gifts (id INTEGER)");
    shop.write(&[
        ("0002_wrap.up.sql", "CREATE TABLE IF NOT EXISTS gifts (id INTEGER);"),
        ("0002_wrap.down.sql", "DROP TABLE gifts;"),
    ]);
    for _ in 0..2 {
        shop.migrate("shop-4").await.unwrap();
    }
    let asks = shop.revert("shop-4", Consent::None).await.unwrap_err().to_string();
    assert!(asks.contains("which was there before the migration"), "{asks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_were_broken_before_are_no_fault_of_a_migration() {
    let shop = Shop::start(DatabaseKind::Sqlite).await;
    shop.write(&[(
        "0002_orders.up.sql",
        "CREATE TABLE orders (id INTEGER, stock INTEGER REFERENCES stock (id)); INSERT INTO orders VALUES (1, 99);",
    )]);
    let failed = shop.migrate("shop-2").await.unwrap_err().to_string();
    assert!(
        failed.contains("FOREIGN KEY constraint failed: rows refer to others that are not there"),
        "{failed}"
    );
    assert!(shop.try_query("SELECT * FROM orders").is_err());
    shop.write(&[(
        "0002_orders.up.sql",
        "CREATE TABLE orders (id INTEGER, stock INTEGER REFERENCES stock (id));",
    )]);
    shop.migrate("shop-2").await.unwrap();
    let Database::Sqlite(_, file) = &shop.database else { panic!() };
    let careless = "PRAGMA foreign_keys = off; INSERT INTO orders VALUES (1, 99);";
    rusqlite::Connection::open(file).unwrap().execute_batch(careless).unwrap();
    shop.write(&[("0003_more.up.sql", "INSERT INTO orders VALUES (2, 1);")]);
    assert_eq!(shop.migrate("shop-3").await.unwrap().len(), 1);
    shop.write(&[("0004_worse.up.sql", "INSERT INTO orders VALUES (3, 98);")]);
    assert!(shop.migrate("shop-4").await.unwrap_err().to_string().contains("FOREIGN KEY constraint failed"));
    assert_eq!(shop.query("SELECT count(*) FROM orders"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_with_an_expression_as_its_default_is_applied_and_reverted() {
    let shop = Shop::start(DatabaseKind::Mariadb).await;
    shop.write(&[
        ("0002_token.up.sql", "ALTER TABLE stock ADD COLUMN token VARCHAR(36) NOT NULL DEFAULT (uuid());"),
        ("0002_token.down.sql", "ALTER TABLE stock DROP COLUMN token;"),
    ]);
    shop.migrate("shop-2").await.unwrap();
    assert_eq!(shop.found().await.records[1].stage, Stage::Applied);
    assert_eq!(shop.may_revert("shop-2").await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let shop = Shop::start(DatabaseKind::Sqlite).await;
    for url in [
        "postgres://shop:s3cret@127.0.0.1:1/shop",
        "mysql://shop:s3cret@127.0.0.1:1/shop",
        "sqlite:/nowhere/shop.sqlite",
        "mysql://shop:s3cret@127.0.0.1:1/",
        "mysql://shop:s3cret@127.0.0.1:1/shop?colour=red",
        "postgres://shop:s3cret@127.0.0.1:1/shop?colour=red",
    ] {
        let url = url.parse_url();
        let failed = look(&url, fixture::LIMITS, &shop.folder()).await.unwrap_err().to_string();
        assert!(!failed.contains("s3cret"), "{failed}");
        assert!(failed.contains(&url.to_string()), "{failed}");
    }
}

trait ParseUrl {
    fn parse_url(&self) -> cutover_database::Url;
}

impl ParseUrl for str {
    fn parse_url(&self) -> cutover_database::Url {
        cutover_database::Url::parse(self).unwrap()
    }
}
