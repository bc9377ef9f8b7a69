//! Who keeps a file locked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds a lock of the file, as /proc/locks has it.
pub(super) fn holder(path: &Path) -> String {
    let files = ["", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        fs::metadata(name).map(|file| file.ino()).ok()
    });
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let own = std::process::id().to_string();
    for line in locks.lines() {
        // 1: POSIX  ADVISORY  WRITE 1234 08:01:131075 120 120
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "WRITE", pid, file, ..] = words.as_slice() else { continue };
        let inode = file.rsplit(':').next().and_then(|inode| inode.parse().ok());
        if *pid != own && inode.is_some() && files.contains(&inode) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return format!("process {pid} ({}) writes to {}", name.trim(), path.display());
        }
    }
    format!("another program writes to {}; to see which: fuser -v {}", path.display(), path.display())
}
