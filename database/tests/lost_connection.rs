//! The connection is lost at any moment, also while the server commits. The table says what has happened.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod fixture;

use cutover_core::migration::Stage;
use cutover_database::Consent;
use cutover_tests::{DatabaseKind, Relay, ports};

use fixture::Shop;

const GIFTS: [(&str, &str); 2] = [
    ("0002_gifts.up.sql", "CREATE TABLE gifts (id INTEGER PRIMARY KEY);\nINSERT INTO gifts VALUES (1);"),
    ("0002_gifts.down.sql", "DROP TABLE gifts;"),
];

/// What the server has sent when the connection is cut, from the first byte of the session to its last.
async fn cut_everywhere(kind: DatabaseKind, step: u64) {
    let mut shop = Shop::start(kind).await;
    shop.write(&GIFTS);
    let relay = Relay::start(ports::free().unwrap(), shop.database.address().unwrap()).await.unwrap();
    shop.url = shop.database.url_at(relay.address()).unwrap();
    let (mut after, mut lost, mut resolved) = (1, 0, 0);
    loop {
        relay.cut(1, after);
        let connections = relay.connections();
        let done = shop.migrate("shop-2").await;
        let was_cut = relay.connections() > connections + 1 || done.is_err();
        let what = format!(
            "cut after {after} bytes: {:?}",
            done.as_ref().map(Vec::len).map_err(ToString::to_string)
        );
        // Not through the relay, and when the server has ended the session: it has the lock until then.
        let stage = shop.stage_of(2).await;
        let is_there = shop.try_query("SELECT count(*) FROM gifts").is_ok();
        match (&done, stage) {
            (Ok(_), Some(Stage::Applied)) => {
                assert!(is_there, "{what}");
                resolved += u64::from(was_cut);
            }
            (Err(why), None) => {
                assert!(!is_there, "{what}");
                assert!(!why.to_string().contains("s3cret"), "{why}");
                lost += 1;
            }
            // MariaDB only.
            (Err(_), Some(Stage::Begun)) => {
                assert_eq!(kind, DatabaseKind::Mariadb, "{what}");
                if is_there {
                    shop.query("DROP TABLE gifts");
                }
                assert!(shop.settle_gone(2).await);
                lost += 1;
            }
            found => panic!("{what}: {found:?}"),
        }
        if done.is_ok() {
            relay.cut(u64::MAX >> 1, 0);
            assert_eq!(shop.revert("shop-2", Consent::None).await.unwrap().len(), 1, "{what}");
        }
        if !was_cut {
            break;
        }
        after += step;
    }
    println!(
        "{kind:?}: {lost} times nothing or a part was applied, {resolved} times the table said that it was"
    );
    assert!(lost > 5 && after > 500, "{lost} {after}");
    if kind == DatabaseKind::Postgres {
        assert!(resolved > 0, "the answer to COMMIT was never lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    cut_everywhere(DatabaseKind::Postgres, 13).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    cut_everywhere(DatabaseKind::Mariadb, 97).await;
}
