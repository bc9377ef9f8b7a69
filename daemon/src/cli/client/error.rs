//! Why a call of the control API failed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_edges::http::HttpError;

use crate::api::ErrorAnswer;
use crate::cli::host::Host;
use crate::cli::ssh::SshError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens on the socket. Nothing was sent.
    #[error("no daemon answers at {}: {source}; is `cutover serve` running?", socket.display())]
    Down {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        source: HttpError,
    },
    /// This user has no permission for the socket. Nothing was sent.
    #[error(
        "this user may not use the daemon's socket {}; run the command as root or as the daemon's user, or see daemon.socket_mode",
        .0.display()
    )]
    Closed(PathBuf),
    /// There is no connection with the daemon of another machine. Nothing was sent.
    #[error("{host}: {why}")]
    Unreached {
        /// The address.
        host: String,
        /// The reason.
        why: SshError,
    },
    /// The connection broke during the call.
    #[error("the connection to {daemon} was lost: {why}")]
    Lost {
        /// The daemon.
        daemon: String,
        /// The reason.
        why: String,
    },
    /// The connection broke during a change.
    #[error(
        "the connection to {daemon} was lost before it answered: {why}; it may have taken the request, so it is not sent again; \
         to see whether it has: {cutover} status"
    )]
    Uncertain {
        /// The daemon.
        daemon: String,
        /// The reason.
        why: String,
        /// The command line with the hosts.
        cutover: String,
    },
    /// Another daemon leads. Nothing has changed.
    #[error("{host}: {message}")]
    NotLeader {
        /// The address.
        host: String,
        /// The daemon's message.
        message: String,
    },
    /// No host is left to ask.
    #[error("{last}; no host is left to ask")]
    NoneLeft {
        /// The error of the last host.
        last: Box<ClientError>,
        /// Whether one of the hosts may answer later.
        may_pass: bool,
    },
    /// There is no address.
    #[error("no host is given")]
    NoHost,
    /// The daemon has no such deployment.
    #[error("{0}")]
    UnknownDeployment(String),
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
    /// The daemon refused the request, and says what helps.
    #[error("{}", .0.message)]
    Answered(Box<ErrorAnswer>),
    /// Something was in the way for the whole time.
    #[error("waited for {} s, and then: {last}; nothing was begun", waited.as_secs())]
    NotFree {
        /// How long.
        waited: Duration,
        /// The last error.
        last: String,
    },
    /// The operator has interrupted a command that waited for its turn.
    #[error("interrupted: nothing was begun")]
    NotBegun,
    /// The daemon failed, for example because its disk is full.
    #[error("{0}")]
    Failed(String),
    /// The answer is not from a daemon, or from another version of it.
    #[error("the daemon's answer cannot be read: {0}")]
    Unrecognised(String),
    /// The operator has interrupted a command that follows a deployment.
    #[error(
        "the deployment goes on; to follow it: {cutover} watch {group}; to end it: {cutover} abort {group}"
    )]
    Interrupted {
        /// The command line with the hosts.
        cutover: String,
        /// The group, quoted for a shell.
        group: String,
    },
    /// The daemon did not come back in time.
    #[error(
        "the daemon did not answer for {} s during deployment \"{deployment}\"; to follow it: {cutover} watch {group}",
        patience.as_secs()
    )]
    Gone {
        /// The followed deployment.
        deployment: String,
        /// How long the client waited.
        patience: Duration,
        /// The command line with the hosts.
        cutover: String,
        /// The group, quoted for a shell.
        group: String,
    },
}

impl ClientError {
    /// An error of a socket of this machine.
    pub(super) fn at_socket(socket: &Path, source: HttpError) -> Self {
        let socket = socket.to_owned();
        match source {
            HttpError::Connect(error) if error.kind() == ErrorKind::PermissionDenied => Self::Closed(socket),
            source if source.is_before_sending() => Self::Down { socket, source },
            source => Self::lost(&Host::Unix(socket), source.to_string()),
        }
    }

    pub(super) fn lost(host: &Host, why: String) -> Self {
        let daemon = match host {
            Host::Unix(_) => "the daemon".to_owned(),
            Host::Ssh(host) => format!("the daemon of {host}"),
        };
        Self::Lost { daemon, why }
    }

    /// Whether a retry may succeed, for example after a restart of the daemon.
    pub(in crate::cli) fn may_pass(&self) -> bool {
        match self {
            Self::Down { .. } | Self::Unreached { .. } | Self::Lost { .. } | Self::Failed(_) => true,
            Self::NoneLeft { may_pass, .. } => *may_pass,
            _ => false,
        }
    }

    /// Whether the next host may be asked to show something. A daemon with a journal of its own may not know a deployment.
    pub(super) fn permits_another_read(&self) -> bool {
        self.may_pass()
            || matches!(self, Self::Closed(_) | Self::NotLeader { .. } | Self::UnknownDeployment(_))
    }

    /// Whether it is certain that the daemon has not taken a change, so the next host may get it.
    pub(in crate::cli) fn permits_another_change(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::Closed(_) | Self::Unreached { .. } | Self::NotLeader { .. })
    }
}
