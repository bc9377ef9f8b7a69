//! Who types a command.

use nix::unistd::{Uid, User};

/// Who has become root by sudo, as sudo tells it.
pub(super) fn become_root() -> Option<String> {
    let name = std::env::var("SUDO_USER").ok()?;
    (Uid::effective().is_root() && !name.is_empty() && name != "root").then_some(name)
}

/// The name of the user of this process, as the daemon would call it: `alice`, or `alice (as root)`.
pub(super) fn myself() -> String {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name);
    match become_root() {
        Some(who) => format!("{who} (as {name})"),
        None => name,
    }
}
