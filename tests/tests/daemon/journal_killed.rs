//! The daemon is killed at any moment of its first start. The next daemon finds no journal or a complete one.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use cutover_tests::daemon::config;
use cutover_tests::temp::TempDir;
use cutover_tests::{Daemon, flavour, wait};

const NO_GROUPS: &str = "";

/// How often the daemon is killed.
const TIMES: u32 = 100;

struct DaemonFolder {
    folder: TempDir,
    config: PathBuf,
}

impl DaemonFolder {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("killed.toml");
        let text = config::text(config::UNIX_SOCKET, NO_GROUPS);
        fs::write(&config, text.replace("%%folder%%", &folder.path().display().to_string())).unwrap();
        Self { folder, config }
    }

    fn start(&self) -> Child {
        let mut command = Command::new(flavour::program("cutover").unwrap());
        command.arg("--config").arg(&self.config).arg("serve");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("daemon/journal.sqlite")
    }

    /// Removes the daemon's state, so that the next start is a first start.
    fn clear(&self) {
        let _ = fs::remove_dir_all(self.folder.path().join("daemon"));
    }
}

fn kill(mut daemon: Child) {
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[tokio::test]
async fn a_kill_during_the_first_start_leaves_no_journal_or_a_complete_one() {
    let folder = DaemonFolder::new();
    let begin = Instant::now();
    let daemon = folder.start();
    wait::until("the journal", || folder.journal().exists()).await.unwrap();
    let usual = begin.elapsed();
    kill(daemon);
    folder.clear();
    let (mut made, mut drafts) = (0, 0);
    for step in 0..TIMES {
        let daemon = folder.start();
        // The sleep chooses the moment of the kill, from half the usual time to twice that time.
        tokio::time::sleep(usual / 2 + usual * step * 3 / 2 / TIMES).await;
        kill(daemon);
        if let Ok(bytes) = fs::read(folder.journal()) {
            assert!(bytes.len() >= 4096 && bytes.starts_with(b"SQLite format 3\0"), "{}", bytes.len());
            made += 1;
            folder.clear();
        } else if folder.journal().with_extension("sqlite.new").exists() {
            drafts += 1;
        }
    }
    println!("killed {TIMES} times, about {usual:?} after the start: {drafts} drafts, {made} journals");
    assert!(made > 0 && made < TIMES, "{made} of {TIMES} journals: the moments of the kills are wrong");
    drop(Daemon::start(folder.folder.path(), NO_GROUPS).await.unwrap());
}
