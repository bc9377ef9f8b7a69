//! A systemd of a test: the manager of a user, in namespaces of its own, with a control group of its own. It knows the units of one
//! folder, and starts none of the machine's.
//!
//! It is not process 1 of the machine, and so cannot give services mounts of their own: a drop-in switches those keys of the unit
//! off. It needs the right to create control groups.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use cutover_tests::wait;

/// Where control groups are, in their first and in their second version.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];

/// Process 1 of the namespaces is the shell, because a systemd that is process 1 is not that of a user. The folder makes it
/// believe that the machine runs systemd.
const BOOT: &str = "for group in $GROUPS_HERE; do echo $$ >$group/cgroup.procs || exit 1; done
    exec unshare --mount --pid --fork --kill-child --mount-proc sh -c '
        mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system
        /lib/systemd/systemd --user --unit=basic.target --log-target=console
        exit 1'";

/// Keys that need mounts.
const WITHOUT_MOUNTS: &str = "[Service]\nPrivateTmp=no\nProtectHome=no\nProtectSystem=no\n";

/// The folder of units, below the prefix.
pub(super) const UNITS: &str = "config/systemd/user";

/// A running systemd. Drop ends it with all its services.
pub(super) struct OwnSystemd {
    child: Child,
    groups: Vec<PathBuf>,
    systemctl: String,
}

impl OwnSystemd {
    /// Starts it, with the units in [`UNITS`] below this folder. `None` if this machine permits no control groups.
    pub(super) async fn start(prefix: &Path) -> Result<Option<Self>> {
        let name = prefix.file_name().context("no name")?;
        let groups: Vec<PathBuf> = HIERARCHIES
            .iter()
            .filter(|hierarchy| Path::new(hierarchy).join("cgroup.procs").exists())
            .map(|hierarchy| Path::new(hierarchy).join(name))
            .collect();
        for group in &groups {
            match fs::create_dir(group) {
                Err(error)
                    if [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied]
                        .contains(&error.kind()) =>
                {
                    println!(
                        "SKIPPED: systemd needs control groups, and {} cannot be created: {error}",
                        group.display()
                    );
                    groups.iter().for_each(|made| drop(fs::remove_dir(made)));
                    return Ok(None);
                }
                created => created.with_context(|| format!("failed to create {}", group.display()))?,
            }
        }
        let runtime = prefix.join("user");
        fs::create_dir(&runtime)?;
        let drop_in = prefix.join(UNITS).join("shop@.service.d");
        fs::create_dir_all(&drop_in)?;
        fs::write(drop_in.join("here.conf"), WITHOUT_MOUNTS)?;
        let log = fs::File::create(prefix.join("systemd.log"))?;
        let names: Vec<String> = groups.iter().map(|group| group.display().to_string()).collect();
        let child = Command::new("sh")
            .args(["-c", BOOT])
            .env("GROUPS_HERE", names.join(" "))
            .env("XDG_RUNTIME_DIR", &runtime)
            .env("XDG_CONFIG_HOME", prefix.join("config"))
            .env("HOME", prefix)
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let mut systemd = Self { child, groups, systemctl: String::new() };
        let children = format!("/proc/{id}/task/{id}/children", id = systemd.child.id());
        let first = wait::until_some(wait::PATIENCE, "process 1 of the namespaces", || {
            fs::read_to_string(&children).ok()?.split_whitespace().next().map(str::to_owned)
        });
        systemd.systemctl = format!(
            "nsenter --target {first} --pid --mount env XDG_RUNTIME_DIR={runtime} systemctl --user",
            first = first.await?,
            runtime = runtime.display()
        );
        wait::until("systemd to answer", || systemd.run(&["show", "--property=Version"]).is_ok())
            .await
            .with_context(|| fs::read_to_string(prefix.join("systemd.log")).unwrap_or_default())?;
        Ok(Some(systemd))
    }

    /// The words that reach it, for `SYSTEMCTL` of the scripts.
    pub(super) fn systemctl(&self) -> &str {
        &self.systemctl
    }

    /// Runs `systemctl` with these arguments and returns what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut words = self.systemctl.split(' ').chain(arguments.iter().copied());
        let output = Command::new(words.next().context("no program")?).args(words).output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

impl Drop for OwnSystemd {
    fn drop(&mut self) {
        // unshare takes process 1 of the namespaces with it, and that all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for group in &self.groups {
            for _ in 0..200 {
                if remove(group).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Removes a control group with those inside. Their files go with them.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
