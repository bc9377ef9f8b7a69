//! nginx and the daemon on one host. The slots are backends in the test process, so a test controls their answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;

use crate::backend::Backend;
use crate::daemon::{Daemon, Deployed};
use crate::nginx::{Builder, Nginx};
use crate::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use crate::{client, wait};

/// The tables of group `shop`, with a short soak and drain.
pub const GROUP: &str = r#"
    [group.shop]
    warm = "1s"
    [group.shop.probe]
    interval = "100ms"
    deadline = "3s"
    [group.shop.soak]
    duration = "1500ms"
    interval = "100ms"
    min_requests = 5
    [group.shop.drain]
    deadline = "1s"
"#;

/// The same for a test that sends no traffic: the soak needs no requests.
pub const GROUP_WITHOUT_TRAFFIC: &str = r#"
    [group.shop]
    warm = "1h"
    [group.shop.probe]
    path = "/"
    interval = "20ms"
    [group.shop.soak]
    duration = "100ms"
    interval = "50ms"
    on_inconclusive = "promote"
"#;

/// nginx and the daemon. Both end on drop.
#[derive(Debug)]
pub struct TestHost {
    /// The daemon.
    pub daemon: Daemon,
    /// The nginx; users connect to `%%listen:main%%`.
    pub nginx: Nginx,
}

/// Commands and a smoke test of `[group.shop]` that succeed.
pub const GOOD_COMMANDS: &str = r#"
    [group.shop.provision]
    command = ["/bin/true"]
    [group.shop.decommission]
    command = ["/bin/true"]
    [[group.shop.smoke]]
    name = "answers"
    path = "/"
"#;

/// Steps in which a deployment waits until it is promoted, for [`TestHost::with_slots`].
pub const MANUAL_STEPS: &str = "steps = [\"50% manual\", \"100%\"]";

impl TestHost {
    /// A host with a server for each slot, and a group without traffic. `keys`: more keys and tables of `[group.shop]`.
    pub async fn with_slots(keys: &str) -> Result<(Self, [Backend; 2])> {
        let groups = GROUP_WITHOUT_TRAFFIC.replace("warm = \"1h\"", &format!("warm = \"1h\"\n{keys}"));
        Self::with_slots_and(&groups).await
    }

    /// A host with a server for each slot, blue and green. `groups`: the tables of the groups.
    pub async fn with_slots_and(groups: &str) -> Result<(Self, [Backend; 2])> {
        let slots = [Backend::start("blue").await?, Backend::start("green").await?];
        let nginx = Nginx::builder()
            .http(&TestEdge::http(UPSTREAMS, LOCATION))
            .set("blue", slots[0].address())
            .set("green", slots[1].address());
        Ok((Self::start(nginx, groups).await?, slots))
    }

    /// Starts both. `groups` holds the tables of the groups in the daemon's configuration.
    pub async fn start(nginx: Builder, groups: &str) -> Result<Self> {
        let nginx = nginx.start().await?;
        let daemon = Daemon::start(nginx.prefix(), groups).await?;
        Ok(Self { daemon, nginx })
    }

    /// Deploys a version and waits for the end.
    pub async fn deploy(&self, version: &str) -> Result<Deployed> {
        self.daemon.deploy("shop", version).await
    }

    /// The slot that has the traffic.
    pub async fn active(&self) -> Result<String> {
        Ok(self.nginx.admin().group("shop").await?.route.active)
    }

    /// Runs a command line such as `cutover switch shop --to blue`. Fails when the command fails.
    pub fn run(&self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = self.daemon.cli(&words)?;
        ensure!(output.status.success(), "`{line}`: {output:?}");
        Ok(())
    }

    /// Runs a command line that must be refused, for good or because something is in the way. Returns the error.
    pub fn refused(&self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = self.daemon.cli(&words)?;
        ensure!(matches!(output.status.code(), Some(1 | 6)), "`{line}`: {output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs `cutover check`. Returns its lines, and whether it succeeded.
    pub fn check(&self) -> Result<(Vec<String>, bool)> {
        let output = self.daemon.cli(&["check"])?;
        let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        Ok((lines, output.status.success()))
    }

    /// Starts users, who send a GET of `/` every few milliseconds.
    pub fn users(&self) -> Result<Users> {
        Users::start(self.nginx.address("main")?)
    }

    /// A file in nginx's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.nginx.prefix().join(name)
    }
}

/// The pause of users between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// A task that sends requests until it is dropped.
#[derive(Debug)]
pub struct Users {
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    good: AtomicU64,
    bad: AtomicU64,
    /// Those of `bad` by the slot that answered; empty where none did.
    bad_by_slot: Mutex<BTreeMap<String, u64>>,
    stopped: AtomicBool,
}

impl Users {
    /// Starts users of the server at this address.
    pub fn start(address: std::net::SocketAddr) -> Result<Self> {
        Self::start_at(address, "/", PAUSE)
    }

    /// The same for another path, with this pause between two requests.
    pub fn start_at(address: std::net::SocketAddr, path: &str, pause: Duration) -> Result<Self> {
        let path = path.to_owned();
        let counts = Arc::new(Counts::default());
        let seen = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while !seen.stopped.load(Ordering::Relaxed) {
                let answer = client::get(address, &path).await;
                let good = matches!(&answer, Ok(answer) if answer.status == 200);
                let counter = if good { &seen.good } else { &seen.bad };
                counter.fetch_add(1, Ordering::Relaxed);
                if !good {
                    let slot = answer.map(|answer| answer.slot().to_owned()).unwrap_or_default();
                    let mut by_slot = seen.bad_by_slot.lock().unwrap_or_else(PoisonError::into_inner);
                    *by_slot.entry(slot).or_default() += 1;
                }
                tokio::time::sleep(pause).await;
            }
        });
        Ok(Self { counts, task })
    }

    /// The number of answers with status 200, and of all other requests.
    pub fn answers(&self) -> (u64, u64) {
        (self.counts.good.load(Ordering::Relaxed), self.counts.bad.load(Ordering::Relaxed))
    }

    /// The number of requests without a good answer by the slot that answered; empty where none did.
    pub fn bad_by_slot(&self) -> BTreeMap<String, u64> {
        self.counts.bad_by_slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for this many more requests, good or bad.
    pub async fn more(&self, answers: u64) -> Result<()> {
        let all = || self.answers().0 + self.answers().1;
        let wanted = all() + answers;
        wait::until("users to have more answers", || all() >= wanted).await
    }

    /// Waits for this many more answers with status 200.
    pub async fn more_good(&self, answers: u64) -> Result<()> {
        let wanted = self.answers().0 + answers;
        wait::until("users to have more good answers", || self.answers().0 >= wanted).await
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.counts.stopped.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}
