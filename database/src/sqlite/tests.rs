use std::time::Duration;

use cutover_core::deployment::Time;

use super::*;

/// An interrupt does not reach a statement that waits for a lock of the file.
#[tokio::test]
async fn what_nobody_waits_for_is_not_applied_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.sqlite");
    let holder = Connection::open(&file).unwrap();
    holder.execute_batch("PRAGMA user_version = 1").unwrap();
    std::fs::write(folder.path().join("0001_gifts.up.sql"), "CREATE TABLE gifts (id INTEGER);").unwrap();
    let migration = crate::files::read(folder.path()).unwrap().get(1).unwrap().clone();
    let record = Record {
        number: 1,
        name: "gifts".to_owned(),
        checksum: migration.up.checksum.clone(),
        deployment: "shop-1".to_owned(),
        version: "2".to_owned(),
        stage: Stage::Applied,
        at: Time(1),
        rows: Rows::default(),
    };
    let apply = Apply { migration, things: BTreeSet::new(), record, position: 1 };
    let limits = Limits { lock: Duration::from_secs(20), migration: Duration::from_secs(20) };
    let url = Url::parse(&format!("sqlite:{}", file.display())).unwrap();
    let mut session = Sqlite::open(&url, limits).await.unwrap();
    session.lock().await.unwrap();

    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(200), session.apply(apply.clone())).await;
    assert!(waited.is_err(), "it has the lock");
    let connection = Arc::downgrade(&session.connection);
    drop(session);
    holder.execute_batch("COMMIT").unwrap();
    while connection.upgrade().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(holder.prepare("SELECT * FROM gifts").is_err(), "it was applied after all");

    let mut session = Sqlite::open(&url, limits).await.unwrap();
    session.apply(apply).await.unwrap();
    assert!(holder.prepare("SELECT * FROM gifts").is_ok());
}
