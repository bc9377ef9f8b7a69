//! Commands while the store of several daemons does not answer for a moment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use cutover::command::Runner;
use cutover::journal::{EtcdJournal, Identity, Settings};
use cutover::live::Live;
use cutover_edges::host::HostEdge;
use cutover_engine::commands::{Commands, Job};
use cutover_tests::etcd::Cluster;
use etcd_client::ConnectOptions;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cutover");

/// How long one call to etcd takes at most, with a ttl of 8 s.
const CALL: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_command_begins_when_etcd_answers_again() {
    let mut cluster = Cluster::start(1).await.unwrap();
    let settings = Settings {
        endpoints: cluster.endpoints(),
        prefix: "/cutover/".to_owned(),
        ttl: CALL * 4,
        options: ConnectOptions::new(),
    };
    let me = Identity { daemon: "a".to_owned(), host: "here".to_owned(), socket: "/run/c.sock".to_owned() };
    let journal = EtcdJournal::new(settings, me);
    let _term = journal.campaign().await;
    let folder = tempfile::tempdir().unwrap();
    let runner = Runner::through(folder.path().to_owned(), PROGRAM.into());
    let live = Live::new(std::iter::empty::<HostEdge>(), journal.clone().into(), runner);
    let file = folder.path().join("ran");
    let command = serde_json::json!({"command": ["/usr/bin/touch", file], "timeout": "5s"});
    let job = Job {
        name: "provision".to_owned(),
        deployment: "shop-1".to_owned(),
        command: serde_json::from_value(command).unwrap(),
        environment: [].into(),
    };
    // A member of etcd that sleeps, or an election that takes some seconds.
    cluster.pause(0, true).unwrap();
    let back = async {
        // The first call must have failed by then.
        tokio::time::sleep(CALL + CALL / 2).await;
        assert!(!file.exists(), "a command without a record must not begin");
        cluster.pause(0, false).unwrap();
    };
    let (done, ()) = tokio::join!(live.run(&job), back);
    done.unwrap_or_else(|failed| panic!("{}", failed.reason));
    assert!(file.exists());
    assert!(journal.commands("shop-1").await.unwrap().is_empty(), "its end is recorded, too");
}
