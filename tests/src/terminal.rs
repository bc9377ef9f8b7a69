//! A terminal with a program in it: a pseudo-terminal, and an emulator that knows what is on the screen.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::Parser;

use crate::wait;

/// The number of columns.
pub const COLUMNS: u16 = 80;
/// More rows than any test writes, so nothing scrolls away.
const ROWS: u16 = 120;

/// A program in a terminal. Drop kills it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

struct Seen {
    emulator: Parser,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Terminal {
    /// Starts a command in a terminal of its own, which Ctrl-C reaches.
    pub fn start(command: &Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let slave = OpenOptions::new().read(true).write(true).open(&name)?;
        tcsetwinsize(&slave, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 })?;
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        inside.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let stdio = || slave.try_clone().map(|file| Stdio::from(OwnedFd::from(file)));
        inside.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?);
        let child = inside.spawn().context("failed to start setsid")?;
        // The end of the program closes the terminal.
        drop((inside, slave));
        let mut output = File::from(master.try_clone()?);
        let seen = Arc::new(Mutex::new(Seen { emulator: Parser::new(ROWS, COLUMNS, 0), bytes: Vec::new() }));
        let shown = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody has open any more ends with an error.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let mut seen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = buffer.get(..length).unwrap_or_default();
                seen.emulator.process(bytes);
                seen.bytes.extend_from_slice(bytes);
            }
        });
        Ok(Self { child, keys: File::from(master), seen, reader: Some(reader) })
    }

    /// What is on the screen now, without the empty rows at its end.
    pub fn rows(&self) -> Vec<String> {
        let seen = self.seen();
        let mut rows: Vec<String> =
            seen.emulator.screen().rows(0, COLUMNS).map(|row| row.trim_end().to_owned()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    /// Everything that was written, escape sequences included.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen().bytes).into_owned()
    }

    /// Waits until the screen is as wanted. Fails with `what` and the screen.
    pub async fn until(&self, what: &str, check: impl Fn(&[String]) -> bool) -> Result<()> {
        let shown = wait::until_within(Duration::from_secs(60), what, || check(&self.rows())).await;
        shown.with_context(|| self.rows().join("\n"))
    }

    /// Types keys; `\u{3}` is Ctrl-C.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Waits for the end of the program. Returns the exit code and the last screen.
    pub async fn finish(mut self) -> Result<(i32, Vec<String>)> {
        let mut ended: Option<ExitStatus> = None;
        let waited = wait::until_within(Duration::from_secs(120), "the program to end", || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        waited.await.with_context(|| self.rows().join("\n"))?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let ended = ended.context("the program has ended")?;
        let code = ended.code().or(ended.signal().map(|signal| 128 + signal));
        Ok((code.unwrap_or_default(), self.rows()))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
