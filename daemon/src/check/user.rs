//! The user of the daemon, so that a check by root finds what only the daemon's user cannot do.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

use crate::config::{Config, DEFAULT_PATH};

/// The places of the unit; the first one counts, as for systemd.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/cutover.service",
    "/usr/lib/systemd/system/cutover.service",
    "/lib/systemd/system/cutover.service",
];

/// A user, and how it is known that the daemon runs as this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's id.
    pub uid: u32,
    gid: u32,
    /// The user's name, or its id.
    pub name: String,
    /// Where that is written.
    pub source: String,
}

impl Account {
    /// The user of the unit, of the running daemon, or of its state folder, in this order. `None`: nothing tells. Fails if the
    /// user does not exist.
    pub fn of_daemon(path: &Path, config: &Config) -> Result<Option<Self>, String> {
        let unit = UNITS.iter().find_map(|unit| Some((unit, fs::read_to_string(unit).ok()?)));
        if let Some((unit, text)) = unit.filter(|(_, text)| is_about(text, path)) {
            return Self::named(user_of(&text).unwrap_or("root"), unit).map(Some);
        }
        let socket = &config.daemon.socket;
        let is_socket = fs::symlink_metadata(socket).is_ok_and(|file| file.file_type().is_socket());
        let owned = if is_socket { socket } else { &config.daemon.state };
        Ok(fs::metadata(owned).ok().map(|file| Self::owner(file.uid(), file.gid(), owned)))
    }

    /// A user by name or id.
    pub fn named(name: &str, source: &str) -> Result<Self, String> {
        let user = match name.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(name),
        };
        match user {
            Ok(Some(user)) => Ok(Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                name: user.name,
                source: source.to_owned(),
            }),
            Ok(None) => Err(format!(
                "{source}: there is no user \"{name}\": create it, as in: useradd --system --user-group --shell \
                 /usr/sbin/nologin {name}"
            )),
            Err(error) => Err(format!("{source}: user \"{name}\" cannot be looked up: {error}")),
        }
    }

    fn owner(uid: u32, gid: u32, owned: &Path) -> Self {
        let source = owned.display().to_string();
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map_or_else(
            || Self { uid, gid, name: format!("uid {uid}"), source: source.clone() },
            |user| Self { uid, gid: user.gid.as_raw(), name: user.name.clone(), source: source.clone() },
        )
    }

    /// Makes this process one of the user, for good. Does nothing if it is already, and needs root otherwise.
    pub fn become_it(&self) -> Result<(), String> {
        if geteuid().as_raw() == self.uid {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups = match CString::new(self.name.as_str()) {
            Ok(name) if !self.name.starts_with("uid ") => initgroups(&name, gid),
            _ => setgroups(&[gid]),
        };
        groups.and_then(|()| setgid(gid)).and_then(|()| setuid(uid)).map_err(|error| {
            format!(
                "cutover check cannot become the user \"{}\": {error}; run it as root, or as this user",
                self.name
            )
        })
    }
}

/// The caller, for messages.
pub(super) fn caller() -> String {
    let uid = geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// Whether this process could become another user.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether a unit starts the daemon with this configuration.
fn is_about(unit: &str, path: &Path) -> bool {
    let start = values(unit, "ExecStart=").collect::<Vec<_>>().join(" ");
    let mut words = start.split_whitespace().skip_while(|word| *word != "--config");
    Path::new(words.nth(1).unwrap_or(DEFAULT_PATH)) == path
}

fn user_of(unit: &str) -> Option<&str> {
    values(unit, "User=").last()
}

fn values<'a>(unit: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.trim().strip_prefix(key)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_names_the_user() {
        let unit = include_str!("../../../host/cutover.service");
        assert_eq!(user_of(unit), Some("cutover"));
        assert!(is_about(unit, Path::new(DEFAULT_PATH)));
        assert!(!is_about(unit, Path::new("/tmp/other.toml")), "the unit of another daemon");
    }

    #[test]
    fn a_user_that_is_not_there_is_named_with_the_next_step() {
        let why = Account::named("no-such-user", "the unit").unwrap_err();
        assert!(
            why.contains("the unit: there is no user \"no-such-user\"") && why.contains("useradd"),
            "{why}"
        );
        assert_eq!(Account::named("root", "x").unwrap().uid, 0);
    }
}
