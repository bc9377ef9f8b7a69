//! The journal over a real etcd.

use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};

use cutover_core::deployment::Phase;
use cutover_engine::journal::{Journal, JournalError as EngineError, Unfinished};
use cutover_engine::scripted::{self, Place};
use cutover_tests::etcd::Cluster;
use tokio::runtime::Runtime;

use super::*;
use crate::journal::Store;
use crate::journal::suite::{self, deployment, state, tell};

mod leading;
mod secured;

/// One cluster for the tests that run at the same time; each has a prefix of its own. The last one that drops it ends it.
pub(crate) struct Etcd {
    /// It has a clock of its own: the clock of a test may be paused.
    runtime: Option<Runtime>,
    cluster: Cluster,
}

impl Etcd {
    /// The running cluster, or a new one.
    fn get() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Etcd>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock();
        if let Some(etcd) = running.upgrade() {
            return etcd;
        }
        let started = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
            let cluster = runtime.block_on(Cluster::start(1)).unwrap();
            Arc::new(Self { runtime: Some(runtime), cluster })
        });
        let etcd = started.join().unwrap();
        *running = Arc::downgrade(&etcd);
        etcd
    }

    /// Waits for a call from a thread that is not of this runtime.
    fn block_on<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(call)
    }

    pub(super) fn journal(&self, prefix: &str, daemon: &str, ttl: u64) -> EtcdJournal {
        let settings = Settings {
            endpoints: self.cluster.endpoints(),
            prefix: prefix.to_owned(),
            ttl: Duration::from_secs(ttl),
            options: ConnectOptions::new(),
        };
        EtcdJournal::new(settings, identity(daemon))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(super) fn identity(daemon: &str) -> Identity {
    Identity {
        daemon: daemon.to_owned(),
        host: format!("host-of-{daemon}"),
        socket: "/run/c.sock".to_owned(),
    }
}

pub(super) fn prefix() -> String {
    format!("/test-{}/", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A journal of a daemon that leads.
async fn leading() -> (Arc<Etcd>, EtcdJournal) {
    let etcd = Etcd::get();
    let journal = etcd.journal(&prefix(), "a", 60);
    journal.campaign().await;
    (etcd, journal)
}

#[tokio::test]
async fn what_was_written_is_read_again() {
    let (_etcd, journal) = leading().await;
    suite::what_was_written_is_read_again(journal.into()).await;
}

#[tokio::test]
async fn versions_in_slots() {
    let (_etcd, journal) = leading().await;
    suite::versions_in_slots(journal.into()).await;
}

#[tokio::test]
async fn a_version_that_is_being_started_counts() {
    let (_etcd, journal) = leading().await;
    suite::a_version_that_is_being_started_counts(journal.into()).await;
}

#[tokio::test]
async fn old_deployments_are_forgotten_and_versions_are_not() {
    let (_etcd, journal) = leading().await;
    suite::old_deployments_are_forgotten_and_versions_are_not(journal.into()).await;
}

#[tokio::test]
async fn one_deployment_of_a_group_is_open() {
    let (_etcd, journal) = leading().await;
    suite::one_deployment_of_a_group_is_open(journal.into()).await;
}

#[tokio::test]
async fn switches_by_hand() {
    let (_etcd, journal) = leading().await;
    suite::switches_by_hand(journal.into()).await;
}

#[tokio::test]
async fn acts_by_hand() {
    let (_etcd, journal) = leading().await;
    suite::acts_by_hand(journal.into()).await;
}

#[tokio::test]
async fn what_hooks_were_told() {
    let (_etcd, journal) = leading().await;
    suite::what_hooks_were_told(journal.into()).await;
}

#[tokio::test]
async fn freezes() {
    let (_etcd, journal) = leading().await;
    suite::freezes(journal.into()).await;
}

#[tokio::test]
async fn commands_that_have_not_ended() {
    let (_etcd, journal) = leading().await;
    suite::commands_that_have_not_ended(journal.into()).await;
}

/// A write whose reply was lost is sent again, and an old one may arrive after the next.
#[tokio::test]
async fn the_same_record_twice_is_one_record() {
    let (_etcd, journal) = leading().await;
    tell(&journal.clone().into(), deployment("a", "blue", "green", "2"), []).await;
    for _ in 0..2 {
        journal.append("a", Time(8), &state(Phase::Smoking), "smoking").await.unwrap();
        journal.note("a", Time(9), "smoking", "a note").await.unwrap();
    }
    assert_eq!(journal.records("a", 0).await.unwrap().len(), 4);
    journal
        .append("a", Time(10), &state(Phase::Switching(cutover_core::deployment::Store::Reading)), "")
        .await
        .unwrap();
    journal.append("a", Time(8), &state(Phase::Smoking), "smoking").await.unwrap();
    let entry = journal.entry("a").await.unwrap().unwrap();
    assert_eq!(entry.state.phase.name(), "switching", "the old one changes nothing");
}

#[tokio::test]
async fn a_policy_that_is_too_large_for_etcd_is_refused_with_its_size() {
    let (_etcd, journal) = leading().await;
    let mut begun = deployment("a", "blue", "green", "2");
    let mut words = vec!["/bin/true".to_owned()];
    words.extend(std::iter::repeat_n("x".repeat(100_000), 12));
    begun.policy.provision = serde_json::from_value(serde_json::json!({ "command": words })).unwrap();
    let error = journal.begin(begun, &state(Phase::Provisioning), "").await.unwrap_err().to_string();
    assert!(error.contains("deployment \"a\" with the policy of group \"shop\" has 12"), "{error}");
    assert!(error.contains("shorten the commands"), "{error}");
    assert!(journal.open_deployments().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_value_of_a_newer_format_is_closed_and_the_others_go_on() {
    let (_etcd, journal) = leading().await;
    for (id, group) in [("a", "shop"), ("b", "books")] {
        let mut begun = deployment(id, "blue", "green", "2");
        begun.plan.group = group.to_owned();
        tell(&journal.clone().into(), begun, []).await;
    }
    let key = journal.shared.keys.deployment("a");
    journal.change(vec![TxnOp::put(key, r#"{"format": 2}"#, None)]).await.unwrap();
    let closed = journal.close_unreadable(Time(9)).await.unwrap();
    assert_eq!(closed.len(), 1);
    assert!(closed[0].1.contains("format version 2, this daemon reads version 1"), "{closed:?}");
    let open = journal.open_deployments().await.unwrap();
    assert_eq!(open.iter().map(|entry| entry.deployment.id.as_str()).collect::<Vec<_>>(), ["b"]);
    tell(&journal.into(), deployment("next", "blue", "green", "3"), []).await;
}

/// Lets the calls run where the clock is not paused.
#[derive(Clone)]
struct Elsewhere {
    etcd: Arc<Etcd>,
    store: Store,
}

impl Elsewhere {
    async fn run<T, F>(&self, call: impl FnOnce(Store) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let Self { etcd, store } = self.clone();
        // A blocking task keeps a paused clock from going on by itself.
        tokio::task::spawn_blocking(move || etcd.block_on(call(store))).await.unwrap()
    }
}

impl Journal for Elsewhere {
    async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), EngineError> {
        let (id, state, message) = (id.to_owned(), state.clone(), message.to_owned());
        Ok(self.run(move |store| async move { store.append(&id, at, &state, &message).await }).await?)
    }

    async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), EngineError> {
        let (id, phase, message) = (id.to_owned(), phase.to_owned(), message.to_owned());
        Ok(self.run(move |store| async move { store.note(&id, at, &phase, &message).await }).await?)
    }

    async fn state(&self, id: &str) -> Result<Option<State>, EngineError> {
        let id = id.to_owned();
        self.run(move |store| async move { Journal::state(&store, &id).await }).await
    }

    async fn open(&self) -> Result<Vec<Unfinished>, EngineError> {
        self.run(move |store| async move { Journal::open(&store).await }).await
    }
}

/// A prefix of the cluster.
struct Prefix(Elsewhere);

impl Prefix {
    fn new() -> Self {
        let etcd = Etcd::get();
        let journal = etcd.journal(&prefix(), "a", 600);
        let made = std::thread::spawn(move || {
            etcd.block_on(journal.campaign());
            Self(Elsewhere { etcd, store: journal.into() })
        });
        made.join().unwrap()
    }
}

impl Place for Prefix {
    type Journal = Elsewhere;

    fn open(&self) -> Elsewhere {
        self.0.clone()
    }

    async fn begin(&self, journal: &Elsewhere, deployment: Deployment, state: &State) {
        let state = state.clone();
        journal
            .run(move |store| async move { store.begin(deployment, &state, "begin").await })
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_killed_at_every_record_goes_on() {
    scripted::killed_at_every_record(Prefix::new).await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_killed_again_and_again_comes_to_its_end() {
    scripted::killed_again_and_again(Prefix::new).await;
}

#[tokio::test(start_paused = true)]
async fn everything_fails_in_turn() {
    scripted::everything_fails_in_turn(Prefix::new).await;
}
