//! The servers of a cluster: etcd, the API server, the controllers, and kwok.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::audit;
use super::credentials::{Account, Credentials};
use super::job_stages;
use super::machine::{Machine, PODS, Server};
use super::programs::fetched;

pub(super) const URL: &str = "https://127.0.0.1:6443";
const ETCD: &str = "http://127.0.0.1:2379";

/// What makes pods of Deployments, endpoints of pods, and tokens of service accounts, and removes what has lost its owner.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,endpointslice-controller,endpoints-controller,\
    namespace-controller,garbage-collector-controller,serviceaccount-controller,serviceaccount-token-controller,\
    root-ca-certificate-publisher-controller,job-controller";

/// When kwok changes pods and nodes: at once, and leases of nodes in time.
const STAGES: [&str; 5] =
    ["pod-ready", "pod-complete", "pod-delete", "node-initialize", "node-heartbeat-with-lease"];

/// Debian's etcd.
pub(super) fn start_etcd(machine: &Machine) -> Result<Server> {
    let data = machine.folder().join("etcd");
    let arguments = [
        flag("name", "etcd"),
        path_flag("data-dir", &data),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        // Nothing of it outlives the tests.
        "--unsafe-no-fsync".to_owned(),
    ];
    machine.start("etcd", Path::new("/usr/bin/etcd"), &arguments)
}

pub(super) fn start_api_server(machine: &Machine, credentials: &Credentials) -> Result<Server> {
    let own = &credentials.api_server;
    let accounts = &credentials.service_accounts;
    let arguments = [
        flag("etcd-servers", ETCD),
        flag("bind-address", "127.0.0.1"),
        flag("advertise-address", "127.0.0.1"),
        flag("secure-port", "6443"),
        path_flag("tls-cert-file", &own.certificate),
        path_flag("tls-private-key-file", &own.key),
        path_flag("client-ca-file", &credentials.ca),
        path_flag("token-auth-file", &credentials.tokens),
        path_flag("service-account-key-file", &accounts.certificate),
        path_flag("service-account-signing-key-file", &accounts.key),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-cluster-ip-range", "10.96.0.0/16"),
        flag("authorization-mode", "RBAC"),
        // Its own address is on loopback, where no endpoint may be.
        flag("endpoint-reconciler-type", "none"),
        flag("enable-priority-and-fairness", "false"),
        // Clients would wait for half a minute for what etcd 3.4 does not have.
        flag("feature-gates", "WatchList=false"),
        path_flag("audit-policy-file", &audit::write_policy(machine.folder())?),
        path_flag("audit-log-path", &audit::log(machine.folder())),
    ];
    machine.start("kube-apiserver", &fetched("kubernetes", "kube-apiserver"), &arguments)
}

pub(super) fn start_controllers(machine: &Machine, credentials: &Credentials) -> Result<Server> {
    let kubeconfig = credentials.kubeconfig(Account::Controllers)?;
    let arguments = [
        path_flag("kubeconfig", &kubeconfig),
        path_flag("service-account-private-key-file", &credentials.service_accounts.key),
        path_flag("root-ca-file", &credentials.ca),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", "10257"),
        flag("leader-elect", "false"),
        flag("use-service-account-credentials", "true"),
        flag("controllers", CONTROLLERS),
    ];
    machine.start("kube-controller-manager", &fetched("kubernetes", "kube-controller-manager"), &arguments)
}

pub(super) fn start_kwok(machine: &Machine, kubeconfig: &Path) -> Result<Server> {
    let mut arguments = vec![
        path_flag("kubeconfig", kubeconfig),
        flag("manage-all-nodes", "true"),
        flag("cidr", PODS),
        flag("node-ip", "127.0.0.1"),
        flag("node-lease-duration-seconds", "40"),
    ];
    arguments
        .extend(STAGES.map(|stage| path_flag("config", &fetched("kwok", &format!("stages/{stage}.yaml")))));
    arguments.push(path_flag("config", &job_stages::write_stages(machine.folder())?));
    machine.start("kwok", &fetched("kwok", "kwok"), &arguments)
}

/// An argument of Go's kind.
pub(super) fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

fn path_flag(name: &str, path: &Path) -> String {
    flag(name, &PathBuf::from(path).display().to_string())
}
