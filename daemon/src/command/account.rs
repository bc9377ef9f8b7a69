//! The usual variables of a command: those of a login of the daemon's user, and never those that the daemon was started with.
//!
//! systemd gives a service hardly any variables, a shell gives it many. A command must not depend on that.

use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// The standard folders of programs.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// It is there on every system, and has UTF-8.
const LANG: &str = "C.UTF-8";

/// The account of a user, as the system's user database has it.
#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    home: PathBuf,
    shell: PathBuf,
}

impl Account {
    /// The account of the effective user of this process. A user that the database does not have, as in a container, is called by
    /// its number and lives in "/".
    pub(super) fn of_this_process() -> Self {
        let uid = Uid::effective();
        match User::from_uid(uid) {
            Ok(Some(User { name, dir, shell, .. })) => Self {
                name,
                home: if dir.as_os_str().is_empty() { "/".into() } else { dir },
                shell: if shell.as_os_str().is_empty() { "/bin/sh".into() } else { shell },
            },
            Ok(None) => Self::unknown(uid),
            Err(error) => {
                tracing::warn!(%uid, %error, "the user of the daemon cannot be looked up, so commands get HOME=/");
                Self::unknown(uid)
            }
        }
    }

    fn unknown(uid: Uid) -> Self {
        Self { name: uid.to_string(), home: "/".into(), shell: "/bin/sh".into() }
    }

    /// The variables.
    pub(super) fn environment(&self) -> [(&'static str, std::ffi::OsString); 6] {
        [
            ("HOME", self.home.clone().into()),
            ("USER", self.name.clone().into()),
            ("LOGNAME", self.name.clone().into()),
            ("SHELL", self.shell.clone().into()),
            ("LANG", LANG.into()),
            ("PATH", PATH.into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_an_account_has_a_home_all_the_same() {
        let unknown = Account::unknown(Uid::from_raw(12_345));
        let shown = unknown.environment().map(|(name, value)| format!("{name}={}", value.display()));
        let path = format!("PATH={PATH}");
        let expected = ["HOME=/", "USER=12345", "LOGNAME=12345", "SHELL=/bin/sh", "LANG=C.UTF-8", &path];
        assert_eq!(shown, expected);
    }
}
