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

/// What has become of one try.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The connection was not cut.
    Whole,
    /// Nothing, or a part, is applied.
    Lost,
    /// The connection was cut, and the table said that it was applied.
    Resolved,
}

/// A database behind a relay.
struct Behind {
    shop: Shop,
    relay: Relay,
}

impl Behind {
    async fn start(kind: DatabaseKind) -> Self {
        let mut shop = Shop::start(kind).await;
        shop.write(&GIFTS);
        let relay = Relay::start(ports::free().unwrap(), shop.database.address().unwrap()).await.unwrap();
        shop.url = shop.database.url_at(relay.address()).unwrap();
        Self { shop, relay }
    }

    /// Cuts the connection when the server has sent so many bytes, and undoes what was applied.
    async fn cut(&self, after: u64) -> End {
        let Self { shop, relay } = self;
        relay.cut(1, after);
        let connections = relay.connections();
        let done = shop.migrate("shop-2").await;
        let was_cut = relay.connections() > connections + 1 || done.is_err();
        relay.cut(u64::MAX >> 1, 0);
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
                assert_eq!(shop.revert("shop-2", Consent::None).await.unwrap().len(), 1, "{what}");
                if was_cut { End::Resolved } else { End::Whole }
            }
            (Err(why), None) => {
                assert!(!is_there, "{what}");
                assert!(!why.to_string().contains("s3cret"), "{why}");
                End::Lost
            }
            // MariaDB only.
            (Err(_), Some(Stage::Begun)) => {
                assert_eq!(shop.kind, DatabaseKind::Mariadb, "{what}");
                if is_there {
                    shop.query("DROP TABLE gifts");
                }
                assert!(shop.settle_gone(2).await);
                End::Lost
            }
            found => panic!("{what}: {found:?}"),
        }
    }
}

/// Cuts the connection at many places of the session, and at each place near its end, where the server commits.
async fn cut_everywhere(kind: DatabaseKind) {
    let behind = Behind::start(kind).await;
    let (mut whole, mut lost, mut resolved) = (1, 0, 0);
    loop {
        match behind.cut(whole).await {
            End::Whole => break,
            End::Lost => lost += 1,
            End::Resolved => resolved += 1,
        }
        whole += 131;
    }
    for after in (whole - 190..whole).step_by(7) {
        match behind.cut(after).await {
            End::Whole => {}
            End::Lost => lost += 1,
            End::Resolved => resolved += 1,
        }
    }
    println!(
        "{kind:?}: {lost} times nothing or a part was applied, {resolved} times the table said that it was"
    );
    assert!(lost > 5 && resolved > 0, "{lost} {resolved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    cut_everywhere(DatabaseKind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    cut_everywhere(DatabaseKind::Mariadb).await;
}
