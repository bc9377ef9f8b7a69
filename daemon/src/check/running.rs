//! Checks that the running daemon uses the checked file.

use std::path::Path;

use super::Finding;
use crate::config::Digest;
use crate::control::ConfigurationStatus;

/// Compares a file with the configuration of the running daemon. `None` if they are the same.
pub fn check_running(path: &Path, digest: Digest, running: &ConfigurationStatus) -> Option<Finding> {
    let ConfigurationStatus { file, read, digest: its, .. } = running;
    if *its == digest.to_string() {
        return None;
    }
    let warning = if same_file(file, path) {
        format!(
            "{} has changed since the running daemon read it at {read}; to reload it, type: \
             systemctl reload cutover, or send SIGHUP to the daemon",
            path.display()
        )
    } else {
        format!("the running daemon uses another file: {}, read at {read}", file.display())
    };
    Some(Finding::Warning(warning))
}

fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}
