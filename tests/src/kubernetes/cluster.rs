//! A running cluster.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};

use super::NODE;
use super::audit::{self, Used};
use super::control_plane::{self, URL};
use super::credentials::{ADMIN_TOKEN, Account, Credentials};
use super::kubectl::Kubectl;
use super::machine::{self, Machine, Server};
use super::patience;
use crate::process::Pid;

/// A cluster with one node. Drop ends its servers, each before those that it needs.
#[derive(Debug)]
pub struct Cluster {
    kwok: Option<Server>,
    controllers: Option<Server>,
    api_server: Mutex<Option<Server>>,
    etcd: Option<Server>,
    credentials: Credentials,
    kubectl: Kubectl,
    namespaces: AtomicU32,
    machine: Machine,
}

static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();

impl Cluster {
    /// Runs a test in the network of the cluster that all tests of this program share. The first test starts it. Panics when the
    /// test panics, or when there can be no cluster.
    pub fn shared<T: Send>(test: impl AsyncFnOnce(&Self) -> T + Send) -> T {
        // A second attempt would take as long, for each test.
        let cluster = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:?}")));
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        let cluster = cluster.as_ref().unwrap_or_else(|error| panic!("failed to start a cluster: {error}"));
        machine::run_inside(&cluster.machine, || test(cluster))
    }

    /// Runs a test with a cluster of its own, whose servers it may stop. Ends the cluster before it returns.
    pub fn alone<T: Send>(test: impl AsyncFnOnce(&Self) -> T + Send) -> T {
        #[expect(clippy::expect_used, reason = "a test fails by panicking")]
        let cluster = Self::start().expect("failed to start a cluster");
        machine::run_inside(&cluster.machine, || test(&cluster))
    }

    /// The same for a program, which fails without a panic.
    pub fn run<T: Send>(program: impl AsyncFnOnce(&Self) -> Result<T> + Send) -> Result<T> {
        let cluster = Self::start().context("failed to start a cluster")?;
        machine::run_inside(&cluster.machine, || program(&cluster))
    }

    fn start() -> Result<Self> {
        let machine = Machine::make()?;
        let credentials = Credentials::make(machine.folder(), URL)?;
        let admin = credentials.kubeconfig(Account::Admin)?;
        let mut cluster = Self {
            kwok: None,
            controllers: None,
            api_server: Mutex::default(),
            etcd: Some(control_plane::start_etcd(&machine)?),
            credentials,
            kubectl: Kubectl::new(admin.clone(), "default"),
            namespaces: AtomicU32::new(1),
            machine,
        };
        machine::run_inside(&cluster.machine, || cluster.start_api_server())?;
        cluster.controllers = Some(control_plane::start_controllers(&cluster.machine, &cluster.credentials)?);
        cluster.kwok = Some(control_plane::start_kwok(&cluster.machine, &admin)?);
        machine::run_inside(&cluster.machine, || cluster.add_node()).with_context(|| cluster.logs())?;
        Ok(cluster)
    }

    /// The URL of the API server.
    pub fn url(&self) -> &'static str {
        URL
    }

    /// The machine that it runs on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The certificate of the authority that has signed the API server's.
    pub fn authority(&self) -> &PathBuf {
        &self.credentials.ca
    }

    /// The administrator's token.
    pub fn admin_token(&self) -> &'static str {
        ADMIN_TOKEN
    }

    /// The administrator's `kubectl`, in the namespace `default`.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A name for a namespace, another one for each call.
    pub(super) fn name_for_namespace(&self) -> String {
        format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes the kubeconfig of a service account, with a new token. Returns its path.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let token = self.token_for(namespace, service_account).await?;
        self.credentials.kubeconfig(Account::Service(&format!("{namespace}-{service_account}"), &token))
    }

    /// A new token of a service account.
    pub async fn token_for(&self, namespace: &str, service_account: &str) -> Result<String> {
        let words = ["create", "token", service_account, "--namespace", namespace];
        Ok(self.kubectl.run(&words).await?.trim().to_owned())
    }

    /// What a service account has asked the API server for.
    pub fn used_by(&self, namespace: &str, service_account: &str) -> Result<Used> {
        audit::used_by(self.machine.folder(), &format!("system:serviceaccount:{namespace}:{service_account}"))
    }

    /// Kills the API server. Only for a cluster that the test has alone.
    pub fn stop_api_server(&self) {
        self.api_server().take();
    }

    /// Starts the API server. Returns when it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        *self.api_server() = Some(control_plane::start_api_server(&self.machine, &self.credentials)?);
        let ready = patience::until("the API server to be ready", async || {
            self.kubectl.run(&["get", "--raw=/readyz"]).await.is_ok() || !self.api_server_runs()
        });
        ready.await.with_context(|| self.logs())?;
        ensure!(self.api_server_runs(), "the API server has ended\n{}", self.logs());
        Ok(())
    }

    /// Its servers that run.
    pub fn pids(&self) -> Vec<Pid> {
        self.of_servers(|server| server.pid().ok()).into_iter().flatten().collect()
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        self.of_servers(Server::log_tail).join("\n\n")
    }

    fn of_servers<T>(&self, what: impl Fn(&Server) -> T) -> Vec<T> {
        let api_server = self.api_server();
        let all = [&self.etcd, &*api_server, &self.controllers, &self.kwok];
        all.into_iter().flatten().map(what).collect()
    }

    fn api_server_runs(&self) -> bool {
        self.api_server().as_ref().is_some_and(Server::runs)
    }

    fn api_server(&self) -> MutexGuard<'_, Option<Server>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn add_node(&self) -> Result<()> {
        let node = format!("{{ apiVersion: v1, kind: Node, metadata: {{ name: {NODE} }} }}");
        self.kubectl.apply(&node).await?;
        self.kubectl.run(&["wait", "--for=condition=Ready", "node", NODE, &patience::timeout()]).await?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kwok.take();
        self.controllers.take();
        self.stop_api_server();
        self.etcd.take();
    }
}
