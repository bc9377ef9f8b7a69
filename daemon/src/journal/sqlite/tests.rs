//! The content of the journal, and the files that it refuses.

use std::os::unix::fs::PermissionsExt;

use cutover_core::deployment::{Cause, CauseKind, Phase, Plan, Retry};
use cutover_engine::scripted::{self, Place};

use super::super::Store;
use super::*;

mod damage;

fn deployment(id: &str, from: &str, to: &str, version: &str) -> Deployment {
    let policy = scripted::policy();
    let plan = Plan {
        steps: cutover_core::deployment::Steps::default(),
        group: "shop".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        migrate: false,
        provision: true,
        revert: false,
        decommission: false,
        probe_deadline: std::time::Duration::from_secs(1),
        soak: std::time::Duration::from_secs(1),
        extend: std::time::Duration::ZERO,
        accept_inconclusive: false,
        drain: std::time::Duration::from_secs(1),
        warm: std::time::Duration::from_secs(1),
        served: Default::default(),
        probes_only: false,
        known: Default::default(),
        excluded: Vec::new(),
    };
    Deployment {
        id: id.to_owned(),
        version: version.to_owned(),
        previous: String::new(),
        asked_by: "a test".to_owned(),
        started: Time(5),
        plan,
        policy,
    }
}

fn state(phase: Phase) -> State {
    State { provisioned: true, ..State::new(phase) }
}

/// Takes a deployment through phases.
async fn tell(journal: &SqliteJournal, deployment: Deployment, phases: impl IntoIterator<Item = Phase>) {
    let id = deployment.id.clone();
    journal.begin(deployment, &state(Phase::Provisioning), "").await.unwrap();
    journal.append(&id, Time(6), &state(Phase::Probing { until: Time(9) }), "").await.unwrap();
    for phase in phases {
        journal.append(&id, Time(7), &state(phase), "").await.unwrap();
    }
}

fn completed() -> [Phase; 2] {
    [Phase::Decommissioning(Retry::default()), Phase::Completed { note: None }]
}

#[tokio::test]
async fn what_was_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let begun = deployment("shop-1", "blue", "green", "2");
    {
        let journal = SqliteJournal::open(folder.path()).unwrap();
        tell(&journal, begun.clone(), [Phase::Smoking]).await;
        journal.note("shop-1", Time(8), "smoking", "a note").await.unwrap();
    }
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let entry = journal.open_deployments().await.unwrap().pop().unwrap();
    assert_eq!(entry.deployment, begun);
    assert_eq!(entry.state, state(Phase::Smoking));
    assert_eq!((entry.message.as_str(), entry.updated), ("a note", Time(8)));
    let records = journal.records("shop-1", 0).await.unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(journal.records("shop-1", records[1].seq).await.unwrap(), records[2..]);
    assert_eq!(journal.free_id("shop-1".to_owned()).await.unwrap(), "shop-1-2");
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
    for (version, next) in
        [(1, "let the daemon that wrote it finish its deployments"), (3, "start the daemon that wrote it")]
    {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let error = SqliteJournal::open(folder.path()).unwrap_err().to_string();
        let said = format!("has format version {version}, this daemon reads version 2: {next}");
        assert!(error.contains(&said), "{error}");
    }
}

#[tokio::test]
async fn versions_in_slots() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let seen = async || {
        let blue = journal.version_in("shop", "blue").await.unwrap();
        let green = journal.version_in("shop", "green").await.unwrap();
        (blue.unwrap_or_default(), green.unwrap_or_default())
    };
    let two = |blue: &str, green: &str| (blue.to_owned(), green.to_owned());
    assert_eq!(seen().await, two("", ""));
    tell(&journal, deployment("a", "blue", "green", "2"), completed()).await;
    assert_eq!(seen().await, two("", "2"));
    tell(&journal, deployment("b", "green", "blue", "3"), []).await;
    assert_eq!(seen().await, two("3", "2"), "started, and not at its end");
    for phase in completed() {
        journal.append("b", Time(8), &state(phase), "").await.unwrap();
    }
    assert_eq!(seen().await, two("3", ""), "2 was stopped");
    let cause = Cause { kind: CauseKind::Smoke, text: String::new(), blames_version: false };
    tell(&journal, deployment("c", "blue", "green", "4"), [Phase::Failed(cause)]).await;
    assert_eq!(seen().await, two("3", ""), "4 was taken back");
    let stuck = Phase::stuck(String::new(), String::new());
    tell(&journal, deployment("d", "blue", "green", "5"), [stuck]).await;
    assert_eq!(seen().await, two("3", "5"), "stuck, and left running");
}

#[tokio::test]
async fn a_version_that_is_being_started_counts() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    let begun = deployment("a", "blue", "green", "2");
    journal.begin(begun, &state(Phase::Provisioning), "").await.unwrap();
    assert_eq!(journal.version_in("shop", "green").await.unwrap().as_deref(), Some("2"));
}

#[tokio::test]
async fn old_deployments_are_forgotten_and_versions_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path()).unwrap();
    tell(&journal, deployment("red", "blue", "red", "0"), [Phase::Completed { note: None }]).await;
    for number in 1..=6 {
        let (from, to) = if number % 2 == 0 { ("green", "blue") } else { ("blue", "green") };
        let begun = deployment(&number.to_string(), from, to, &number.to_string());
        tell(&journal, begun, completed()).await;
    }
    tell(&journal, deployment("open", "blue", "green", "7"), []).await;
    assert_eq!(journal.prune("shop", 2).await.unwrap(), ["1", "2", "3", "4"]);
    assert_eq!(journal.prune("shop", 2).await.unwrap(), [""; 0]);
    for (slot, version) in [("red", Some("0")), ("blue", Some("6")), ("green", Some("7"))] {
        assert_eq!(journal.version_in("shop", slot).await.unwrap().as_deref(), version, "{slot}");
    }
    assert_eq!(journal.prune("other", 0).await.unwrap(), [""; 0]);
    assert!(journal.records("1", 0).await.unwrap().is_empty());
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
