//! The results of the smoke tests of a deployment: one JSON object a line, beside the output of its commands.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use cutover_engine::commands::SmokeResult;
use tokio::task::spawn_blocking;

/// The name of the file.
const FILE: &str = "smoke.jsonl";
/// Maximum length of the file in bytes. A deployment that is begun again and again by a daemon that dies must not fill the disk.
const MOST: u64 = 1 << 20;
/// Number of bytes at the end of the file that are read: `status` of all groups reads one file of each, again and again.
const TAIL: u64 = 1 << 16;

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

/// Reads the last results. A line that was cut off, by a crash or by the beginning of the part that is read, is left out.
pub(super) async fn read(folder: PathBuf) -> Vec<SmokeResult> {
    let read = spawn_blocking(move || {
        let mut file = fs::File::open(folder.join(FILE))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    });
    let bytes = read.await.ok().and_then(Result::ok).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(number: u64, answer: String) -> SmokeResult {
        let (name, peer) = ("front page".to_owned(), "127.0.0.1:1".to_owned());
        let (sent, came) = ("/".to_owned(), "status 200".to_owned());
        SmokeResult { name, peer, sent, came, milliseconds: number, failed: None, answer }
    }

    #[tokio::test]
    async fn only_the_last_results_of_a_long_file_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = || folder.path().to_owned();
        append(path(), result(0, "é".repeat(500))).await.unwrap();
        assert_eq!(read(path()).await, [result(0, "é".repeat(500))]);
        for number in 1..200 {
            append(path(), result(number, "é".repeat(500))).await.unwrap();
        }
        let last = read(path()).await;
        let numbers: Vec<u64> = last.iter().map(|result| result.milliseconds).collect();
        assert_eq!(numbers, Vec::from_iter(200 - numbers.len() as u64..200), "the newest ones, in order");
        assert!((40..70).contains(&numbers.len()), "{}", numbers.len());
    }
}
