//! Who may do what: certificates of the servers, tokens of users, and kubeconfigs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use crate::certificate::{Authority, Certificate, Validity};

/// The users that the cluster begins with: their tokens, names and groups.
const USERS: &str = "\
admin-token,admin,admin,system:masters
controllers-token,system:kube-controller-manager,controllers
";

/// The token of who may do all.
pub(super) const ADMIN_TOKEN: &str = "admin-token";

/// A user with a token.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// Who may do all.
    Admin,
    /// The controllers of the cluster.
    Controllers,
    /// A service account: how the file is called, and its token.
    Service(&'a str, &'a str),
}

/// The files.
#[derive(Debug)]
pub(super) struct Credentials {
    folder: PathBuf,
    url: String,
    pub(super) ca: PathBuf,
    pub(super) api_server: Certificate,
    /// Signs the tokens of service accounts.
    pub(super) service_accounts: Certificate,
    pub(super) tokens: PathBuf,
}

impl Credentials {
    /// Makes them in the folder, for an API server with this URL on loopback.
    pub(super) fn make(folder: &Path, url: &str) -> Result<Self> {
        let authority = Authority::make(folder, "ca")?;
        let names = "IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc";
        let made = Self {
            folder: folder.to_owned(),
            url: url.to_owned(),
            ca: authority.own.certificate.clone(),
            api_server: authority.issue("kube-apiserver", names, Validity::Days(2))?,
            service_accounts: authority.issue("service-accounts", "", Validity::Days(2))?,
            tokens: folder.join("tokens.csv"),
        };
        fs::write(&made.tokens, USERS)?;
        Ok(made)
    }

    /// Writes the kubeconfig of a user. Returns its path.
    pub(super) fn kubeconfig(&self, account: Account<'_>) -> Result<PathBuf> {
        let (name, token) = match account {
            Account::Admin => ("admin", ADMIN_TOKEN),
            Account::Controllers => ("controllers", "controllers-token"),
            Account::Service(name, token) => (name, token),
        };
        // JSON is YAML, too.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": self.url, "certificate-authority": self.ca } }],
            "users": [{ "name": name, "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": name } }],
        });
        let path = self.folder.join(format!("{name}.kubeconfig"));
        fs::write(&path, config.to_string())?;
        Ok(path)
    }
}
