//! The results of the smoke tests of a deployment: one JSON object a line, beside the output of its commands.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use cutover_engine::commands::SmokeResult;
use tokio::task::spawn_blocking;

/// The name of the file.
const FILE: &str = "smoke.jsonl";
/// Maximum length of the file in bytes. A deployment that is begun again and again by a daemon that dies must not fill the disk.
const MOST: u64 = 1 << 20;

/// Appends a result.
pub(super) async fn append(folder: PathBuf, result: SmokeResult) -> io::Result<()> {
    // A slow disk must not block an async thread.
    let written = spawn_blocking(move || {
        fs::create_dir_all(&folder)?;
        let path = folder.join(FILE);
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        if file.metadata()?.len() >= MOST {
            return Err(io::Error::other(format!("{FILE} has {MOST} bytes already")));
        }
        let mut line = serde_json::to_vec(&result)?;
        line.push(b'\n');
        file.write_all(&line)
    });
    written.await.unwrap_or_else(|failed| Err(io::Error::other(failed)))
}

/// Reads the results. A line that was cut off by a crash is left out.
pub(super) async fn read(folder: PathBuf) -> Vec<SmokeResult> {
    let read = spawn_blocking(move || {
        let mut text = String::new();
        let file = fs::File::open(folder.join(FILE))?;
        file.take(MOST * 2).read_to_string(&mut text)?;
        io::Result::Ok(text)
    });
    let text = read.await.ok().and_then(Result::ok).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
