//! Whether the daemon's user may do what the configuration asks: write its folders, and run its commands.

use std::path::Path;

use rustix::fs::{Access, access};

use super::Finding;
use super::user::caller;
use crate::config::Config;

/// Checks the state folder and the folder of the socket, as the user of this process.
pub fn check_folders(config: &Config) -> Vec<Finding> {
    let state = &config.daemon.state;
    let socket = config.daemon.socket.parent().unwrap_or(Path::new("/"));
    let mut findings: Vec<Finding> = may_write("daemon.state", state, "0700").into_iter().collect();
    // Written by a daemon of another user, for example when it was tried as root.
    for name in ["lock", "journal.sqlite"] {
        let file = state.join(name);
        if access(&file, Access::EXISTS).is_ok() && access(&file, Access::READ_OK | Access::WRITE_OK).is_err()
        {
            let (file, state, user) = (file.display(), state.display(), caller());
            findings.push(Finding::Problem(format!(
                "daemon.state: user \"{user}\" may not write {file}, which another user has created, so the daemon does not \
                 start: chown -R {user}: {state}"
            )));
        }
    }
    if socket != state {
        findings.extend(may_write("daemon.socket", socket, "0755"));
    }
    findings
}

/// The daemon creates a folder that is missing, if it may.
fn may_write(key: &str, folder: &Path, mode: &str) -> Option<Finding> {
    let user = caller();
    let there = folder.ancestors().find(|folder| access(*folder, Access::EXISTS).is_ok()).unwrap_or(folder);
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return None;
    }
    let (shown, there) = (folder.display(), (there != folder).then(|| there.display()));
    Some(Finding::Problem(match there {
        None => format!(
            "{key}: user \"{user}\" may not write the folder {shown}, so the daemon does not start: chown {user}: {shown}"
        ),
        Some(above) => format!(
            "{key}: the folder {shown} is missing, and user \"{user}\" may not create it in {above}, so the daemon does not \
             start: install -d -o {user} -m {mode} {shown}"
        ),
    }))
}

/// Why the user of this process cannot run a program. Its file exists and is executable for somebody.
pub(super) fn why_not(program: &Path) -> Option<String> {
    access(program, Access::EXEC_OK).is_err().then(|| {
        format!(
            "may not be executed by user \"{}\", as whom the daemon runs it: chmod o+rx {}, or allow it by sudo, as in \
             [\"/usr/bin/sudo\", \"-n\", ..]",
            caller(),
            program.display()
        )
    })
}
