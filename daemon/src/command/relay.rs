//! Between a command and the file of its output: a process that copies the first MiB and throws the rest away.
//!
//! ```text
//! command, and what it leaves behind -- pipe --> relay --> file
//!                                                 |
//! daemon: the command has ended: one byte ------->|
//!         the last of what it wrote <-------------|
//! ```
//!
//! A process of its own, so that what a command leaves in the background can go on writing when the daemon ends, and does not
//! hold the daemon up. It is in no command's process group, and ends when the last writer has. It always reads: neither a full
//! disk nor a long output makes a command wait.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstatvfs;
use rustix::io::{Errno, ioctl_fionread};

/// What `cutover` is called with to be a relay; the file's name follows, for who looks at the list of processes.
pub(super) const VERB: &str = "__copy";
/// Bytes of one run's output that are kept in the file.
pub const MOST_OUTPUT: usize = 1 << 20;
/// The line behind them when there were more.
pub const CUT_OFF: &str = "\n[output cut off by cutover]\n";
/// Bytes of the disk that output leaves free: twice the journal's reserve.
const MARGIN: u64 = 2 << 20;
/// Bytes that are told when the command has ended.
pub(super) const TAIL: usize = 4096;
/// The byte that asks for them.
pub(super) const ASK: &[u8] = b"\n";
/// As much as a pipe holds.
const CHUNK: usize = 1 << 16;

/// Is the relay: standard input is the pipe, standard output leads to the daemon, standard error is the file.
pub(super) fn pass() -> ExitCode {
    relay().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn relay() -> io::Result<()> {
    let mut pipe = Some(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let mut daemon = Some(UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?));
    let mut output = Output::new(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    let mut chunk = vec![0; CHUNK];
    // All writers may be gone before the daemon has seen the end of the command, and asks.
    while pipe.is_some() || daemon.is_some() {
        let asked = wait(pipe.as_ref(), daemon.as_ref())?;
        if let Some(mut daemon) = daemon.take_if(|_| asked) {
            // One that has gone away asks for nothing.
            if matches!(daemon.read(&mut [0]), Ok(1)) {
                if let Some(pipe) = &mut pipe {
                    // What the command has written is in the pipe by now; what others go on writing is not waited for.
                    let length = ioctl_fionread(&*pipe)?;
                    copy(&mut pipe.take(length), &mut chunk, &mut output)?;
                }
                let _ = daemon.write_all(output.tail());
            }
            // Standard output is the same socket.
            let _ = daemon.shutdown(Shutdown::Both);
        } else if let Some(from) = &mut pipe {
            match read(from, &mut chunk)? {
                Some(bytes) => output.take(bytes),
                None => pipe = None,
            }
        }
    }
    Ok(())
}

/// Waits until there is something to be done; whether it is for the daemon, which comes first.
fn wait(pipe: Option<&File>, daemon: Option<&UnixStream>) -> io::Result<bool> {
    let daemon = daemon.map(|daemon| PollFd::new(daemon, PollFlags::IN));
    let asks = daemon.is_some();
    let pipe = pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN));
    let mut both: Vec<PollFd<'_>> = daemon.into_iter().chain(pipe).collect();
    loop {
        match poll(&mut both, None) {
            Ok(_) => return Ok(asks && both.first().is_some_and(|daemon| !daemon.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn copy(from: &mut impl Read, chunk: &mut [u8], output: &mut Output) -> io::Result<()> {
    while let Some(bytes) = read(from, chunk)? {
        output.take(bytes);
    }
    Ok(())
}

fn read<'a>(from: &mut impl Read, chunk: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    loop {
        match from.read(chunk) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(chunk.get(..length)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the disk has room for more than the journal may need: its reserve is given up to the journal, not to a command.
fn leaves_room(file: &File) -> bool {
    let free = fstatvfs(file).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    free.is_ok_and(|free| free >= MARGIN)
}

/// What is done with the output.
struct Output {
    file: File,
    /// Bytes that may still be written to the file.
    room: usize,
    /// Nothing more goes to the file: it has all it may have, or could not be written.
    is_over: bool,
    tail: VecDeque<u8>,
}

impl Output {
    fn new(file: File) -> Self {
        Self { file, room: MOST_OUTPUT, is_over: false, tail: VecDeque::with_capacity(2 * TAIL) }
    }

    fn take(&mut self, bytes: &[u8]) {
        let last = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
        self.tail.extend(last);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        self.is_over |= !leaves_room(&self.file);
        if self.is_over {
            return;
        }
        let (kept, rest) = bytes.split_at(bytes.len().min(self.room));
        self.room -= kept.len();
        let written = self.file.write_all(kept);
        self.is_over = written.is_err();
        if written.is_ok() && !rest.is_empty() {
            self.is_over = true;
            let _ = self.file.write_all(CUT_OFF.as_bytes());
        }
    }

    fn tail(&mut self) -> &[u8] {
        self.tail.make_contiguous()
    }
}
