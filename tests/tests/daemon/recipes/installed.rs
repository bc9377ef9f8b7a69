//! A recipe on a host of its own: its files are where their first lines say, below the folder of an nginx.
//!
//! Paths, ports, and the user of the admin API are replaced, and shorter times are added. Nothing else differs from the files
//! that users copy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cutover_tests::daemon::{Daemon, Deployed};
use cutover_tests::flavour::root;
use cutover_tests::{Load, Nginx, Plan, SlotOracle, client, ports, wait};

use super::own_systemd::{OwnSystemd, UNITS};

const TIMES: &str = r#"
[group.shop.soak]
duration = "2s"
interval = "100ms"
min_requests = 20
# A machine that runs tests is slow at times.
patience = "10s"
signals = { p50 = false, p95 = false, p99 = false, whole_p95 = false }
[group.shop.drain]
deadline = "2s"
"#;

/// The files of a recipe, with nginx and the daemon. Drop ends the application, too.
pub(super) struct Installed {
    recipe: PathBuf,
    daemon: Option<Daemon>,
    systemd: Option<OwnSystemd>,
    pub(super) nginx: Nginx,
    replaced: Vec<(&'static str, String)>,
}

impl Installed {
    /// Installs a recipe. Nothing runs yet.
    pub(super) fn new(name: &str) -> Result<Self> {
        Self::run_by(name, "without-systemd")
    }

    /// Installs a recipe for systemd, and starts one for it. `None` if this machine cannot have one.
    pub(super) async fn with_systemd(name: &str) -> Result<Option<Self>> {
        let mut installed = Self::run_by(name, "systemd")?;
        installed.systemd = OwnSystemd::start(installed.nginx.prefix()).await?;
        Ok(installed.systemd.is_some().then_some(installed))
    }

    fn run_by(name: &str, runner: &str) -> Result<Self> {
        let nginx = Nginx::builder().build()?;
        let prefix = nginx.prefix().display().to_string();
        let below = |path: &str| format!("{prefix}/{path}");
        let replaced = vec![
            ("/srv/shop", below("srv")),
            ("/run/shop", below("run")),
            ("/var/log/shop", below("log")),
            ("/etc/shop", below("etc")),
            ("/usr/local/bin/", below("bin/")),
            ("/etc/systemd/system", below(UNITS)),
            ("User=shop", "User=www-data".to_owned()),
            ("/run/cutover/cutover.sock", below("cutover.sock")),
            ("/run/cutover/nginx.sock", below("admin.sock")),
            ("/var/lib/cutover-daemon", below("daemon")),
            ("/var/lib/cutover", below("state")),
            ("uid=cutover", "uid=nobody".to_owned()),
            ("listen 80", format!("listen {}", ports::free()?)),
            ("127.0.0.1:8081", ports::free()?.to_string()),
            ("3000", ports::free()?.port().to_string()),
            ("3001", ports::free()?.port().to_string()),
        ];
        for folder in ["srv/releases", "srv/slots", "run", "log", "etc", "bin", UNITS] {
            fs::create_dir_all(nginx.prefix().join(folder))?;
        }
        let installed = Self {
            recipe: root().join("docs/recipes").join(name),
            daemon: None,
            systemd: None,
            nginx,
            replaced,
        };
        installed.install(&root().join("docs/recipes").join(runner))?;
        installed.install(&installed.recipe)?;
        Ok(installed)
    }

    /// Starts version 1 in slot blue, as the page says, then nginx and the daemon. `change` adapts cutover.toml.
    pub(super) async fn start(&mut self, change: impl Fn(String) -> String) -> Result<()> {
        self.publish("1", &[])?;
        let output = self.script("shop-start", "blue", "1")?;
        ensure!(output.status.success(), "{output:?}");
        self.nginx.write_http(&self.here(&fs::read_to_string(self.recipe.join("nginx.conf"))?))?;
        self.nginx.start().await?;
        let mut settings = self.here(&fs::read_to_string(self.recipe.join("cutover.toml"))?);
        if let Some(systemd) = &self.systemd {
            // As the page says for sudo.
            let env = format!("[group.shop]\nenv = {{ SYSTEMCTL = \"{}\" }}\n", systemd.systemctl());
            settings = settings.replace("[group.shop]\n", &env);
        }
        self.daemon =
            Some(Daemon::start_at(self.nginx.prefix(), &change(format!("{settings}{TIMES}"))).await?);
        let state = || self.daemon().and_then(|daemon| daemon.status("shop"));
        wait::until("version 1 to be healthy", || {
            state().is_ok_and(|state| state["health"]["state"] == "healthy")
        })
        .await
        .with_context(|| format!("{:#?}", state()))
    }

    /// The daemon.
    pub(super) fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("the daemon does not run")
    }

    /// Ends the daemon, as a restart of its unit does.
    pub(super) async fn stop_daemon(&mut self) -> Result<()> {
        self.daemon.take().context("the daemon does not run")?.stop().await
    }

    /// The systemd that runs the application.
    pub(super) fn systemd(&self) -> Result<&OwnSystemd> {
        self.systemd.as_ref().context("the application runs without systemd")
    }

    /// Deploys a version and waits for the end.
    pub(super) async fn deploy(&self, version: &str) -> Result<Deployed> {
        self.daemon()?.deploy("shop", version).await
    }

    /// Copies the release of the recipe as this version. Each of `changes` must be in one of its files.
    pub(super) fn publish(&self, version: &str, changes: &[(&str, &str)]) -> Result<()> {
        let mut wanted: BTreeSet<&str> = changes.iter().map(|(from, _)| *from).chain(["VERSION ="]).collect();
        let to = self.path("srv/releases").join(version);
        for from in files(&self.recipe.join("release"))? {
            let mut text = fs::read_to_string(&from)?;
            wanted.retain(|change| !text.contains(change));
            for (from, to) in changes {
                text = text.replace(from, to);
            }
            for quote in ['"', '\''] {
                let named = |version: &str| format!("VERSION = {quote}{version}{quote}");
                text = text.replace(&named("1"), &named(version));
            }
            let to = to.join(from.strip_prefix(self.recipe.join("release"))?);
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::write(to, self.here(&text))?;
        }
        ensure!(wanted.is_empty(), "{} no longer has {wanted:?}: adapt the test", self.recipe.display());
        Ok(())
    }

    /// Runs a script of the recipe, as the daemon does.
    pub(super) fn script(&self, name: &str, slot: &str, version: &str) -> Result<Output> {
        let mut command = Command::new(self.path("bin").join(name));
        command.env("CUTOVER_SLOT", slot).env("CUTOVER_VERSION", version);
        if let Some(systemd) = &self.systemd {
            command.env("SYSTEMCTL", systemd.systemctl());
        }
        command.output().with_context(|| format!("failed to run {name}"))
    }

    /// A load of GETs for `/`, whose answers must be complete, and of one slot.
    pub(super) fn load(&self) -> Result<Load> {
        let oracle = SlotOracle::new("blue");
        oracle.observe(&["blue", "green"], Instant::now());
        let pause = std::time::Duration::from_millis(10);
        Ok(Load::start(Plan::new(self.address()?).connections(2, 1).pause(pause), &oracle))
    }

    /// The address of users.
    pub(super) fn address(&self) -> Result<std::net::SocketAddr> {
        let listen = self.here("listen 80");
        listen.trim_start_matches("listen ").parse().context("no address")
    }

    /// The version that users get.
    pub(super) async fn version(&self) -> Result<String> {
        let answer = client::get(self.address()?, "/").await?;
        Ok(answer.head.header("x-version").unwrap_or_default().to_owned())
    }

    /// Whether a slot has been started, and not been stopped.
    pub(super) fn runs(&self, slot: &str) -> bool {
        self.path(&format!("run/{slot}.pid")).exists()
            || fs::symlink_metadata(self.path("srv/slots").join(slot)).is_ok()
    }

    /// A file or folder below the prefix of nginx.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.nginx.prefix().join(name)
    }

    /// The text with the paths and ports of this host. What has been replaced is not looked at again.
    pub(super) fn here(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        loop {
            let places = self.replaced.iter().filter_map(|(real, here)| Some((rest.find(real)?, real, here)));
            let Some((at, real, here)) = places.min_by_key(|(at, real, _)| (*at, usize::MAX - real.len()))
            else {
                out.push_str(rest);
                return out;
            };
            out.push_str(&rest[..at]);
            out.push_str(here);
            rest = &rest[at + real.len()..];
        }
    }

    /// Copies the files of a folder to the places that their first lines name.
    fn install(&self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
            let file = entry?.path();
            if file.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&file)?;
            let Some(place) = place(&text) else { bail!("{} does not say where it belongs", file.display()) };
            let to = PathBuf::from(self.here(place));
            // cutover.toml and nginx.conf are written by their harness.
            if !to.starts_with(self.nginx.prefix()) {
                continue;
            }
            fs::write(&to, self.here(&text))?;
            fs::set_permissions(&to, fs::metadata(&file)?.permissions())?;
            if text.starts_with("#!") {
                ensure!(
                    fs::metadata(&file)?.permissions().mode() & 0o111 == 0o111,
                    "{} is no program",
                    file.display()
                );
            }
        }
        Ok(())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // The daemon first, because it could start a slot again.
        self.daemon = None;
        for slot in ["blue", "green"] {
            if std::thread::panicking() {
                let log = fs::read_to_string(self.path(&format!("log/{slot}.log"))).unwrap_or_default();
                eprintln!("the log of {slot}:\n{log}");
            }
            if let Err(error) = self.script("shop-stop", slot, "") {
                eprintln!("{error:#}");
            }
        }
    }
}

/// The path in the first comment of a file, as in `# /usr/local/bin/shop-run: becomes Node`.
pub(super) fn place(text: &str) -> Option<&str> {
    let line = text.lines().take(2).find(|line| !line.starts_with("#!") && *line != "<?php")?;
    let word = line.split_whitespace().find(|word| word.starts_with('/') && word.len() > 2)?;
    Some(word.trim_end_matches(':'))
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
