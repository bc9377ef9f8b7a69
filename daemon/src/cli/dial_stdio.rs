//! `cutover dial-stdio`: the other end of `--host ssh://HOST`.
//!
//! It says [`GREETING`] once it is connected with the control socket, and then copies bytes in both directions. So the caller knows
//! that nothing was sent if the greeting has not arrived, and finds the first byte of the daemon after what a shell has printed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;

use super::greeting::{GREETING, NO_DAEMON, NOT_PERMITTED};
use super::{CliError, Place};

/// Size of the buffer of each direction, in bytes.
const BUFFER: usize = 16 * 1024;

#[derive(Debug, Args)]
pub(super) struct DialStdio {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No daemon listens on the socket.
    #[error("no daemon answers at {}: {source}; is `cutover serve` running there?", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// This user has no permission for the socket.
    #[error("user {user} may not use the daemon's socket {}; see daemon.socket_mode", socket.display())]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
        /// The user's number.
        user: u32,
    },
}

impl DialError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NoDaemon { .. } => NO_DAEMON,
            Self::NotPermitted { .. } => NOT_PERMITTED,
        }
    }
}

impl DialStdio {
    /// Returns when the daemon has closed the connection, which it also does when standard input ends.
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        place.here("dial-stdio")?;
        let stream = connect(&place.local_socket()?)?;
        // Threads and no tasks: a read of standard input that waits must not hold up the end of the program.
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let (mut from, mut to) = (File::from(input), stream.try_clone()?);
        thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        // A file, because the standard library keeps what follows the last newline back.
        let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        writeln!(out, "{GREETING}")?;
        let mut from = stream;
        copy(&mut from, &mut out)?;
        Ok(0)
    }
}

/// Copies until the end. Not `std::io::copy`: its splice holds the lock of the pipe while it waits for the daemon, and then sshd
/// waits for the lock and no longer answers.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(number) => to.write_all(buffer.get(..number).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn connect(socket: &Path) -> Result<UnixStream, DialError> {
    UnixStream::connect(socket).map_err(|source| {
        let socket = socket.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied => {
                DialError::NotPermitted { socket, user: rustix::process::geteuid().as_raw() }
            }
            _ => DialError::NoDaemon { socket, source },
        }
    })
}
