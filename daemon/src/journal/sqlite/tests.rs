//! The content of the journal, and the files that it refuses.

use std::os::unix::fs::PermissionsExt;

use cutover_core::deployment::Phase;
use cutover_engine::policy::Capacity;
use cutover_engine::scripted::{self, Place};

use super::super::Store;
use super::super::suite::{self, completed, deployment, state};
use super::*;
use crate::command::Leader;

mod damage;

async fn tell(journal: &SqliteJournal, deployment: Deployment, phases: impl IntoIterator<Item = Phase>) {
    suite::tell(&journal.clone().into(), deployment, phases).await;
}

fn empty() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteJournal::open(folder.path()).unwrap().into();
    (folder, store)
}

#[tokio::test]
async fn what_was_written_is_read_again() {
    let (_folder, store) = empty();
    suite::what_was_written_is_read_again(store).await;
}

#[tokio::test]
async fn one_deployment_of_a_group_is_open() {
    let (_folder, store) = empty();
    suite::one_deployment_of_a_group_is_open(store).await;
}

#[tokio::test]
async fn switches_by_hand() {
    let (_folder, store) = empty();
    suite::switches_by_hand(store).await;
}

#[tokio::test]
async fn acts_by_hand() {
    let (_folder, store) = empty();
    suite::acts_by_hand(store).await;
}

#[tokio::test]
async fn what_hooks_were_told() {
    let (_folder, store) = empty();
    suite::what_hooks_were_told(store).await;
}

/// A journal that the daemon before this format has written, with a command that may still run.
#[tokio::test]
async fn an_earlier_format_is_brought_up_to_date() {
    let (folder, store) = empty();
    suite::tell(&store, deployment("shop-1", "blue", "green", "2"), [Phase::Smoking]).await;
    let leader = Leader { pid: 7, birth: "boot/1".to_owned() };
    store.command_started("shop-1", "provision", &leader).await.unwrap();
    // That format had no reasons.
    let mut before = store.open_deployments().await.unwrap();
    before.iter_mut().for_each(|entry| entry.deployment.reason.clear());
    drop(store);
    let path = folder.path().join("journal.sqlite");
    let as_it_was = "
        DROP TABLE acts;
        DROP TABLE told;
        DROP TABLE freezes;
        ALTER TABLE deployments DROP COLUMN reason;
        CREATE TABLE old (deployment TEXT NOT NULL REFERENCES deployments (id), name TEXT NOT NULL, pid INTEGER NOT NULL,
                          birth TEXT NOT NULL);
        INSERT INTO old SELECT * FROM commands;
        DROP TABLE commands;
        ALTER TABLE old RENAME TO commands;
        PRAGMA user_version = 2;";
    Connection::open(&path).unwrap().execute_batch(as_it_was).unwrap();
    // A switch without the daemon reads it as it is.
    let peeked = peek(folder.path(), "shop").unwrap();
    assert_eq!((peeked.open, peeked.with_commands), (before.first().cloned(), vec!["shop-1".to_owned()]));
    assert!(peeked.freezes.is_empty());
    for _ in 0..2 {
        let store: Store = SqliteJournal::open(folder.path()).unwrap().into();
        assert_eq!(store.open_deployments().await.unwrap(), before);
        assert_eq!(store.commands("shop-1").await.unwrap()[0].leader, leader);
        assert_eq!(store.told("shop").await.unwrap(), None);
    }
    suite::what_hooks_were_told({
        let store: Store = SqliteJournal::open(folder.path()).unwrap().into();
        store.commands_ended("shop-1", vec![leader]).await.unwrap();
        store
    })
    .await;
}

#[tokio::test]
async fn freezes() {
    let (_folder, store) = empty();
    suite::freezes(store).await;
}

#[tokio::test]
async fn commands_that_have_not_ended() {
    let (_folder, store) = empty();
    suite::commands_that_have_not_ended(store).await;
}

#[tokio::test]
async fn it_outlives_its_process() {
    let (folder, store) = empty();
    suite::tell(&store, deployment("shop-1", "blue", "green", "2"), [Phase::Smoking]).await;
    let before = store.open_deployments().await.unwrap();
    drop(store);
    let journal = SqliteJournal::open(folder.path()).unwrap();
    assert_eq!(journal.open_deployments().await.unwrap(), before);
}

#[tokio::test]
async fn it_is_flushed_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    tell(&journal, deployment("shop-1", "blue", "green", "2"), []).await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others", file.path().display());
    }
    let setting = |name: &'static str| {
        let connection = journal.connection.lock();
        connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
    };
    assert_eq!(setting("journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
    assert_eq!(setting("synchronous"), rusqlite::types::Value::Integer(2), "FULL");
}

#[tokio::test]
async fn another_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE precious (a)").unwrap();
    let error = SqliteJournal::open(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("is a database, but not a journal of Cutover"), "{error}");
    std::fs::write(&path, "x".repeat(10_000)).unwrap();
    let error = SqliteJournal::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(folder.path()).unwrap());
    let path = folder.path().join("journal.sqlite");
    let newest = upgrade::VERSION;
    for (version, next) in [
        (1, "let the daemon that wrote it finish its deployments"),
        (newest + 1, "start the daemon that wrote it"),
    ] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let error = SqliteJournal::open(folder.path()).unwrap_err().to_string();
        let said = format!("has format version {version}, this daemon reads version {newest}: {next}");
        assert!(error.contains(&said), "{error}");
    }
}

/// Every earlier format becomes the newest one, and keeps what is in it.
#[tokio::test]
async fn a_journal_of_an_earlier_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::TABLES).unwrap();
    old.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", schema::FIRST).unwrap();
    let mut begun = deployment("shop-1", "blue", "green", "2");
    let mut policy = serde_json::to_value(&begun.policy).unwrap();
    policy.as_object_mut().unwrap().remove("capacity");
    let texts = [json(&begun.plan), policy.to_string(), json(&state(Phase::Smoking))];
    // There was no such guard, and a redirect was a good answer to a probe.
    begun.policy.capacity = Capacity::OFF;
    begun.policy.probe.check.expect_mut().unwrap().status = Some((200..=399).into());
    old.execute(
        "INSERT INTO deployments (id, grp, version, previous, asked_by, started, plan, config)
         VALUES ('shop-1', 'shop', '2', '', 'a test', 5, ?1, ?2)",
        [&texts[0], &texts[1]],
    )
    .unwrap();
    let record = "INSERT INTO records (deployment, at, phase, message, state) VALUES ('shop-1', 7, 'smoking', 'm', ?1)";
    old.execute(record, [&texts[2]]).unwrap();
    drop(old);
    for _ in 0..2 {
        let journal = SqliteJournal::open(folder.path()).unwrap();
        let entry = journal.open_deployments().await.unwrap().pop().unwrap();
        assert_eq!(entry.deployment, Deployment { reason: String::new(), ..begun.clone() });
        assert_eq!(journal.freezes().await.unwrap(), []);
    }
    let version: i32 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, upgrade::VERSION);
}

#[tokio::test]
async fn versions_in_slots() {
    let (_folder, store) = empty();
    suite::versions_in_slots(store).await;
}

#[tokio::test]
async fn a_version_that_is_being_started_counts() {
    let (_folder, store) = empty();
    suite::a_version_that_is_being_started_counts(store).await;
}

#[tokio::test]
async fn old_deployments_are_forgotten_and_versions_are_not() {
    let (_folder, store) = empty();
    suite::old_deployments_are_forgotten_and_versions_are_not(store).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_closed_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    for (id, group) in [("a", "shop"), ("b", "books"), ("c", "toys")] {
        let mut begun = deployment(id, "blue", "green", "2");
        begun.plan.group = group.to_owned();
        tell(&journal, begun, []).await;
    }
    journal
        .connection
        .lock()
        .execute_batch(
            "UPDATE deployments SET plan = 'unrecognised' WHERE id = 'a';
             UPDATE records SET state = '{\"phase\": \"unheard_of\"}' WHERE deployment = 'b'",
        )
        .unwrap();
    let closed = journal.close_unreadable(Time(9)).await.unwrap();
    assert_eq!(closed.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let open = journal.open_deployments().await.unwrap();
    assert_eq!(open.iter().map(|entry| entry.deployment.id.as_str()).collect::<Vec<_>>(), ["c"]);
    let history = journal.history(None, 9).await.unwrap();
    assert_eq!(history.iter().map(|entry| entry.deployment.id.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    assert_eq!(history[1].outcome, Some(Outcome::Stuck));
    assert!(history[1].message.contains("cannot be read"), "{}", history[1].message);
    assert_eq!(journal.version_in("shop", "green").await.unwrap(), None);
    tell(&journal, deployment("next", "blue", "green", "3"), []).await;
}

#[tokio::test]
async fn a_full_disk_takes_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    tell(&journal, deployment("a", "blue", "green", "2"), []).await;
    assert!(journal.reserve.is_there());
    let most = |pages: i64| {
        let connection = journal.connection.lock();
        let _: i64 =
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0)).unwrap();
    };
    most(1);
    let long = "x".repeat(10_000);
    let error = journal.append("a", Time(8), &state(Phase::Smoking), &long).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert!(!journal.reserve.is_there(), "given up");
    most(1_000_000);
    journal.append("a", Time(8), &state(Phase::Smoking), &long).await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        if journal.reserve.is_there() {
            return;
        }
    }
    panic!("the reserve was not made again");
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for Folder {
    type Journal = Store;

    fn open(&self) -> Store {
        SqliteJournal::open(self.0.path()).unwrap().into()
    }

    async fn begin(&self, journal: &Store, deployment: Deployment, state: &State) {
        journal.begin(deployment, state, "begin").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_killed_at_every_record_goes_on() {
    scripted::killed_at_every_record(Folder::new).await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_killed_again_and_again_comes_to_its_end() {
    scripted::killed_again_and_again(Folder::new).await;
}

#[tokio::test(start_paused = true)]
async fn everything_fails_in_turn() {
    scripted::everything_fails_in_turn(Folder::new).await;
}
