//! A real Prometheus, Debian's package, on a free port of loopback. It scrapes each second.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::client::Client;
use crate::process::{self, Pid, Signal};
use crate::temp::TempDir;
use crate::{ports, wait};

/// The program of the package `prometheus`, which scripts/install-packages installs.
const PROGRAM: &str = "/usr/bin/prometheus";

/// A Prometheus. Drop kills it.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
}

impl Prometheus {
    /// Starts it over targets with their labels, such as `("127.0.0.1:3000", json!({ "slot": "blue" }))`. Returns when it answers.
    pub async fn start(targets: &[(SocketAddr, Value)]) -> Result<Self> {
        let folder = TempDir::new()?;
        let configs: Vec<Value> = targets
            .iter()
            .map(|(address, labels)| json!({ "targets": [address.to_string()], "labels": labels }))
            .collect();
        // JSON is YAML, too.
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": [{ "job_name": "test", "static_configs": configs }],
        });
        fs::write(folder.path().join("prometheus.yml"), config.to_string())?;
        let mut prometheus = Self { address: ports::free()?, folder, child: None };
        prometheus.resume().await?;
        Ok(prometheus)
    }

    /// Starts it again after [`kill`](Self::kill), with what it had stored.
    pub async fn resume(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {PROGRAM}: run scripts/install-packages"))?;
        self.child = Some(child);
        let ready = wait::until_async(wait::PATIENCE, "Prometheus to be ready", async || {
            crate::client::get(self.address, "/-/ready").await.is_ok_and(|answer| answer.status == 200)
        });
        ready.await.with_context(|| fs::read_to_string(folder.join("log")).unwrap_or_default())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of `url` in a signal.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        process::signal(self.pid()?, signal)
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("Prometheus does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The result of a query, as its API gives it.
    pub async fn query(&self, query: &str) -> Result<Value> {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = format!("query={encoded}");
        let mut client = Client::connect(self.address).await?;
        let answer = client.request_with("POST", "/api/v1/query", &form, &body).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Waits until a query has a result.
    pub async fn until(&self, query: &str) -> Result<()> {
        wait::until_async(wait::PATIENCE, &format!("a result of {query}"), async || {
            let found = self.query(query).await.unwrap_or_default();
            found.pointer("/data/result").and_then(Value::as_array).is_some_and(|series| !series.is_empty())
        })
        .await
    }

    fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref().context("Prometheus does not run")?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process, too.
        let _ = self.kill();
    }
}
