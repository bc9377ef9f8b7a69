//! Changes of a database by hand, and deployments of a group whose database is slow or not its own.

use std::path::Path;

use cutover_database::{Batch, Limits, Url, migrate, read};
use cutover_engine::policy::Database;
use rusqlite::Connection;

use super::*;

/// A migration that takes longer than any test.
const ENDLESS: &str = "CREATE TABLE half (id BIGINT);
    INSERT INTO half WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000000) SELECT max(x) FROM c;";
const QUICK: &str = "CREATE TABLE gifts (id BIGINT);";

const SHORT: std::time::Duration = std::time::Duration::from_millis(20);
const LONG: std::time::Duration = std::time::Duration::from_secs(20);

/// A group whose database is a file, and the folder of its migrations.
struct Shop {
    bench: Bench,
    files: tempfile::TempDir,
}

impl Shop {
    async fn start(up: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        Connection::open(files.path().join("shop.sqlite"))
            .unwrap()
            .execute_batch("PRAGMA user_version = 1")
            .unwrap();
        std::fs::write(files.path().join("0001_a.up.sql"), up).unwrap();
        std::fs::write(files.path().join("0001_a.down.sql"), "DROP TABLE gifts;").unwrap();
        let bench = Bench::with(|policy| has_database(policy, &url(files.path()), files.path())).await;
        Self { bench, files }
    }

    fn url(&self) -> String {
        url(self.files.path())
    }

    fn has(&self, table: &str) -> bool {
        let file = Connection::open(self.files.path().join("shop.sqlite")).unwrap();
        file.prepare(&format!("SELECT 1 FROM {table}")).is_ok()
    }

    /// Begins to migrate by hand, and returns when the database is being changed.
    async fn migrating(&self) -> tokio::task::JoinHandle<Result<DatabaseDone, Refusal>> {
        let control = self.bench.control.clone();
        let task = tokio::spawn(async move { control.migrate_database("shop", "2", true, "me").await });
        let journal = self.files.path().join("shop.sqlite-journal");
        let begun = async {
            while !journal.exists() {
                tokio::time::sleep(SHORT).await;
            }
        };
        tokio::time::timeout(LONG, begun).await.unwrap();
        task
    }
}

fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("shop.sqlite").display())
}

fn has_database(policy: &mut Policy, url: &str, folder: &Path) {
    (policy.migrate, policy.revert, policy.plan) = (None, None, None);
    let table = serde_json::json!({ "url": url, "migrations": folder });
    policy.database = Some(serde_json::from_value::<Database>(table).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_by_hand_keeps_nobody_from_moving_traffic_and_can_be_ended() {
    let shop = Shop::start(ENDLESS).await;
    let migration = shop.migrating().await;
    shop.bench.world.scene().sick.clear();
    let refused = shop.bench.switch("green", false).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "cutover database of group \"shop\" is running: wait until it ends; to move the traffic meanwhile: cutover switch \
         shop --to green --force; to end it: cutover abort shop"
    );
    assert!(shop.bench.deploy("3").await.unwrap_err().to_string().ends_with("to end it: cutover abort shop"));
    assert_eq!(shop.bench.switch("green", true).await.unwrap().route.active, "green");
    let ended = shop.bench.control.abort("shop", "me").await.unwrap();
    let Aborted::ByHand { text, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(
        text,
        "cutover database of group \"shop\" is ended; to see how far it came: cutover database status shop"
    );
    let refused = migration.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("cutover database was ended, by an abort"), "{refused}");
    // Nothing of it is applied, also later, and nothing is in the way of the next one.
    std::fs::write(shop.files.path().join("0001_a.up.sql"), QUICK).unwrap();
    let done = shop.bench.control.migrate_database("shop", "2", true, "me").await.unwrap();
    assert_eq!(done.migrations, ["0001_a"]);
    assert!(shop.has("gifts") && !shop.has("half"));
    assert!(matches!(shop.bench.control.abort("shop", "me").await, Err(Refusal::NothingUnderWay { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_by_hand_looks_at_the_traffic_when_nothing_can_move_it_any_more() {
    let shop = Shop::start(QUICK).await;
    shop.bench.world.scene().bad_smoke = true;
    let begun = shop.bench.deploy("2").await.unwrap();
    shop.bench.until(&begun.id, "failed").await;
    let url = Url::parse(&shop.url()).unwrap();
    let limits = Limits { lock: LONG, migration: LONG };
    let batch = Batch { url: &url, limits, deployment: &begun.id, version: "2", now: Time(1) };
    migrate(&batch, &read(shop.files.path()).unwrap(), None).await.unwrap();
    // A switch is under way when the operator asks for the revert.
    let current = shop.bench.control.current("shop");
    let switching = current.lock().await;
    let control = shop.bench.control.clone();
    let revert =
        tokio::spawn(async move { control.revert_database("shop", RevertRequest::default(), "me").await });
    tokio::time::sleep(SHORT * 20).await;
    shop.bench.world.scene().active = "green".to_owned();
    drop(switching);
    let refused = revert.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("slot \"green\" has the traffic"), "{refused}");
    assert!(shop.has("gifts"));
    shop.bench.world.scene().active = "blue".to_owned();
    shop.bench.control.revert_database("shop", RevertRequest::default(), "me").await.unwrap();
    assert!(!shop.has("gifts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_delays_nobody_but_its_deployment() {
    // It accepts connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://shop@{}/shop", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with(|policy| has_database(policy, &url, folder.path())).await;
    let control = bench.control.clone();
    let deployment = tokio::spawn(async move {
        let wanted = NewDeployment { version: "2".to_owned(), ..NewDeployment::default() };
        control.deploy("shop", wanted).await
    });
    tokio::time::sleep(SHORT * 20).await;
    let began = std::time::Instant::now();
    assert_eq!(bench.switch("blue", false).await.unwrap().route.active, "blue");
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(!deployment.is_finished());
    let refused = deployment.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("failed to connect") || refused.contains("does not answer"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_do_not_share_a_database() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("shop.sqlite"), "").unwrap();
    let mut config = loaded();
    let mut policy = config.config.group.values().next().unwrap().clone();
    has_database(&mut policy, &url(files.path()), files.path());
    for name in ["api", "shop"] {
        let name = serde_json::from_value(name.into()).unwrap();
        config.config.group.insert(name, policy.clone());
    }
    let said = format!(
        "groups \"api\" and \"shop\" have the same database {}, and one table cutover_migrations cannot say what each of them has \
         applied: give each a database of its own, or keep [group.NAME.database] in one of them, with the migrations of both",
        url(files.path())
    );
    let found = crate::check::check_databases(&config.config).await;
    assert!(found.iter().any(|finding| finding.to_string().contains(&said)), "{found:?}");
    let (world, folder) = (Arc::new(Scripted::new()), tempfile::tempdir().unwrap());
    let control = Bench::control_with(config, &world, &folder, Time(1_000_000)).await;
    let bench = Bench { control, world, folder };
    assert_eq!(bench.deploy("2").await.unwrap_err().to_string(), said);
    let by_hand = bench.control.migrate_database("shop", "2", true, "me").await;
    assert_eq!(by_hand.unwrap_err().to_string(), said);
}
