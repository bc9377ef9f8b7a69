//! The relay: a process that copies the first MiB of a command's output to a file and discards the rest.
//!
//! ```text
//! command, and what it leaves behind -- pipe --> relay --> file
//!                                                 |
//! daemon: the command has ended: one byte ------->|
//!         the last of what it wrote <-------------|
//! ```
//!
//! The relay is a separate process, so background processes of a command can write after the daemon has ended, and do not delay the
//! daemon. It has its own process group and ends with the last writer. It always reads, so a full disk or a long output does not
//! block a command.

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

/// The argument that makes `cutover` a relay. The name of the file follows, for the list of processes.
pub(super) const VERB: &str = "__copy";
/// Maximum length in bytes of the output of one run in the file.
pub const MOST_OUTPUT: usize = 1 << 20;
/// The last line of a file whose output was cut off.
pub const CUT_OFF: &str = "\n[output cut off by cutover]\n";
/// Free bytes that output leaves on the disk: twice the journal's reserve.
const MARGIN: u64 = 2 << 20;
/// Length in bytes of the tail that the daemon gets.
pub(super) const TAIL: usize = 4096;
/// The byte that requests the tail.
pub(super) const ASK: &[u8] = b"\n";
/// The capacity of a pipe.
const CHUNK: usize = 1 << 16;

/// Runs the relay. Standard input is the pipe, standard output is the socket to the daemon, standard error is the file.
pub(super) fn pass() -> ExitCode {
    relay().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn relay() -> io::Result<()> {
    let mut pipe = Some(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let mut daemon = Some(UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?));
    let mut output = Output::new(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    let mut chunk = vec![0; CHUNK];
    // The daemon may request the tail after the last writer has closed the pipe.
    while pipe.is_some() || daemon.is_some() {
        let asked = wait(pipe.as_ref(), daemon.as_ref())?;
        if let Some(mut daemon) = daemon.take_if(|_| asked) {
            // End of file means that the daemon is gone.
            if matches!(daemon.read(&mut [0]), Ok(1)) {
                if let Some(pipe) = &mut pipe {
                    // The pipe holds everything that the command has written. Later output of others is not waited for.
                    let length = ioctl_fionread(&*pipe)?;
                    copy(&mut pipe.take(length), &mut chunk, &mut output)?;
                }
                let _ = daemon.write_all(output.tail());
            }
            // Standard output is the same socket, so dropping `daemon` would not close it.
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

/// Waits for input. Returns whether the daemon's socket has some, which is served first.
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

/// Whether the disk has more free space than the journal may need. Space from the deleted reserve is for the journal only.
fn leaves_room(file: &File) -> bool {
    let free = fstatvfs(file).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    free.is_ok_and(|free| free >= MARGIN)
}

/// The output file and the tail.
struct Output {
    file: File,
    /// Bytes that may still be written to the file.
    room: usize,
    /// Whether the file gets no more output, because it is full or cannot be written.
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
