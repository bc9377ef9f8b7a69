//! The configuration of a test's nginx.
//!
//! In every text `%%name%%` is replaced by a variable:
//!
//! | variable | value |
//! |---|---|
//! | `%%prefix%%` | the folder of this nginx; `%%prefix%%/state` exists, for `cutover_state` |
//! | `%%listen:NAME%%` | `127.0.0.1:PORT` with a free port, the same for each use of the name; see [`Nginx::address`] |
//! | `%%admin%%` | `unix:PREFIX/admin.sock`; see [`Nginx::admin`] |
//! | `%%module%%` | the path of the module for this nginx |
//! | others | set with [`Builder::set`] |

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::Nginx;
use crate::flavour::Flavour;
use crate::ports;
use crate::temp::TempDir;

/// The default number of workers: two, so that a difference between workers shows.
const WORKERS: usize = 2;

/// Builds an [`Nginx`].
#[derive(Clone, Debug)]
pub struct Builder {
    flavour: Option<Flavour>,
    workers: usize,
    variables: BTreeMap<String, String>,
    through: Vec<String>,
    without_module: bool,
    main: String,
    http: String,
    whole: Option<String>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            flavour: None,
            workers: WORKERS,
            variables: BTreeMap::new(),
            through: Vec::new(),
            without_module: false,
            main: String::new(),
            http: String::new(),
            whole: None,
        }
    }

    /// Uses another flavour than the one in `CUTOVER_NGINX`.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = Some(flavour);
        self
    }

    /// Sets the number of workers; the default is two.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Does not load the module.
    pub fn without_module(mut self) -> Self {
        self.without_module = true;
        self
    }

    /// Sets the value of `%%name%%`.
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Starts nginx through another program, such as `env` or `prlimit`.
    pub fn through(mut self, program: &[&str]) -> Self {
        self.through = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Sets lines of the main context, before `events`.
    pub fn main(mut self, text: &str) -> Self {
        text.clone_into(&mut self.main);
        self
    }

    /// Sets the content of `http { }`.
    pub fn http(mut self, text: &str) -> Self {
        text.clone_into(&mut self.http);
        self
    }

    /// Sets the whole file; [`main`](Self::main) and [`http`](Self::http) are then ignored.
    pub fn whole(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        self
    }

    /// Creates the folder and writes the configuration, without starting nginx.
    pub fn build(self) -> Result<Nginx> {
        let flavour = self.flavour.map_or_else(Flavour::from_env, Ok)?;
        let linked_in = flavour.has_module_linked_in();
        if !self.without_module && !linked_in && !flavour.module().is_file() {
            bail!("failed to find {}: run scripts/build-module", flavour.module().display());
        }
        let dir = TempDir::new()?;
        let state = dir.path().join("state");
        fs::create_dir(&state)?;
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
        let mut variables = self.variables.clone();
        variables.insert("prefix".into(), dir.path().display().to_string());
        variables.insert("admin".into(), format!("unix:{}", dir.path().join("admin.sock").display()));
        variables.insert("module".into(), flavour.module().display().to_string());
        let load = if self.without_module || linked_in { "" } else { "load_module %%module%%;" };
        variables.insert(
            "load_module".into(),
            load.replace("%%module%%", &flavour.module().display().to_string()),
        );
        variables.insert("workers".into(), self.workers.to_string());
        let nginx = Nginx {
            dir,
            flavour,
            through: self.through.clone(),
            workers: self.workers,
            variables: Mutex::new(variables),
            addresses: Mutex::default(),
            expected_in_log: Mutex::default(),
            detached: false,
        };
        match &self.whole {
            Some(text) => nginx.write_whole(text)?,
            None => nginx.write(&self.main, &self.http)?,
        }
        Ok(nginx)
    }

    /// [`build`](Self::build), then [`Nginx::start`].
    pub async fn start(self) -> Result<Nginx> {
        let nginx = self.build()?;
        nginx.start().await?;
        Ok(nginx)
    }
}

impl Nginx {
    /// Replaces the content of `http { }`. It takes effect with the next start, reload or upgrade.
    pub fn write_http(&self, http: &str) -> Result<()> {
        self.write("", http)
    }

    /// Replaces the lines of the main context and the content of `http { }`.
    pub fn write(&self, main: &str, http: &str) -> Result<()> {
        self.write_whole(&FRAME.replace("%%main%%", main).replace("%%http%%", http))
    }

    /// Replaces the whole configuration file.
    pub fn write_whole(&self, text: &str) -> Result<()> {
        let text = self.fill_in(text)?;
        // By rename, because nginx may be reading the file.
        let new = self.prefix().join("nginx.conf.new");
        fs::write(&new, text)?;
        fs::rename(&new, self.prefix().join("nginx.conf")).context("failed to write nginx.conf")
    }

    /// Changes the value of `%%name%%` for later writes.
    pub fn set(&self, name: &str, value: impl ToString) {
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables.insert(name.to_owned(), value.to_string());
    }

    fn fill_in(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%%") {
            filled.push_str(before);
            let Some((name, tail)) = after.split_once("%%") else {
                bail!("unpaired %% in the configuration: {after}")
            };
            filled.push_str(&self.variable(name)?);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn variable(&self, name: &str) -> Result<String> {
        if let Some(listen) = name.strip_prefix("listen:") {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(address) = addresses.get(listen) {
                return Ok(address.to_string());
            }
            let address = ports::free()?;
            addresses.insert(listen.to_owned(), address);
            return Ok(address.to_string());
        }
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables
            .get(name)
            .cloned()
            .with_context(|| format!("the configuration uses %%{name}%%, which is not set"))
    }
}

const FRAME: &str = "\
%%load_module%%
user www-data;
worker_processes %%workers%%;
pid %%prefix%%/nginx.pid;
error_log %%prefix%%/error.log info;
%%main%%
events { worker_connections 2048; }
http {
    access_log off;
    client_body_temp_path %%prefix%%/client_body;
    proxy_temp_path %%prefix%%/proxy;
    fastcgi_temp_path %%prefix%%/fastcgi;
    uwsgi_temp_path %%prefix%%/uwsgi;
    scgi_temp_path %%prefix%%/scgi;
%%http%%
}
";
