//! The client of the control API.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::ErrorAnswer;
use cutover_edges::http::{self, Address, HttpError};
use cutover_engine::peers::request;

/// Time limit of a call without a command. A switch probes first.
const LIMIT: Duration = Duration::from_secs(120);

/// Maximum length of an answer in bytes, for a long history of long versions.
const MOST: usize = 1 << 30;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens on the socket.
    #[error("no daemon answers at {}: {source}; is `cutover serve` running?", socket.display())]
    Down {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        source: HttpError,
    },
    /// This user has no permission for the socket.
    #[error(
        "this user may not use the daemon's socket {}; run the command as root or as the daemon's user, or see daemon.socket_mode",
        .0.display()
    )]
    Closed(PathBuf),
    /// The connection broke during the call.
    #[error("the connection to the daemon was lost before it answered: {0}; see `cutover status`")]
    Lost(HttpError),
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
    /// The daemon failed, for example because its disk is full.
    #[error("{0}")]
    Failed(String),
    /// The answer is not from a daemon, or from another version of it.
    #[error("the daemon's answer cannot be read: {0}")]
    Unrecognised(String),
    /// The operator has interrupted a command that follows a deployment.
    #[error("the deployment goes on; to follow it: cutover watch {group}; to end it: cutover abort {group}")]
    Interrupted {
        /// The group, quoted for a shell.
        group: String,
    },
    /// The daemon did not come back in time.
    #[error("the daemon did not answer for {} s during deployment \"{deployment}\"; see `cutover history`", patience.as_secs())]
    Gone {
        /// The followed deployment.
        deployment: String,
        /// How long the client waited.
        patience: Duration,
    },
}

impl ClientError {
    /// Whether a retry may succeed, for example after a restart of the daemon.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::Lost(_) | Self::Failed(_))
    }
}

/// A client of the control API.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call("GET", path, None, LIMIT).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Unrecognised(error.to_string()))?;
        self.call("POST", path, Some(body), LIMIT).await
    }

    /// Like [`Client::post`] without a time limit, for a call that runs a command of the operator. The command has its own limit.
    pub(super) async fn post_and_wait<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Unrecognised(error.to_string()))?;
        self.call("POST", path, Some(body), Duration::MAX).await
    }

    /// Opens a stream of lines. It has no time limit.
    pub(super) async fn lines(&self, path: &str) -> Result<LineStream, ClientError> {
        let request = self.request("GET", path, None)?;
        let response = http::send(&self.address(), request).await.map_err(|error| self.error(error))?;
        if response.status() == 200 {
            return Ok(LineStream { body: response.into_body(), rest: Vec::new() });
        }
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refused(status, &body))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let request = self.request(method, path, body)?;
        let answer = http::ask_for(&self.address(), request, limit, MOST).await;
        let answer = answer.map_err(|error| self.error(error))?;
        if (200..300).contains(&answer.status) {
            return serde_json::from_slice(&answer.body)
                .map_err(|error| ClientError::Unrecognised(error.to_string()));
        }
        Err(refused(answer.status, &answer.body))
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<::http::Request<http_body_util::Full<bytes::Bytes>>, ClientError> {
        let headers = [("host", "cutover"), ("content-type", "application/json")];
        request(method, path, &headers, body).map_err(|error| ClientError::Refused(error.to_string()))
    }

    fn address(&self) -> Address {
        Address::Unix(self.socket.clone())
    }

    fn error(&self, source: HttpError) -> ClientError {
        let socket = self.socket.clone();
        match source {
            HttpError::Connect(error) if error.kind() == ErrorKind::PermissionDenied => {
                ClientError::Closed(socket)
            }
            source if source.is_before_sending() => ClientError::Down { socket, source },
            source => ClientError::Lost(source),
        }
    }
}

fn refused(status: u16, body: &[u8]) -> ClientError {
    let message = match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => answer.message,
        Err(_) if body.is_empty() => format!("the daemon answers with status {status} and no reason"),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    if status == 500 { ClientError::Failed(message) } else { ClientError::Refused(message) }
}

/// A stream of lines.
#[derive(Debug)]
pub(super) struct LineStream {
    body: Incoming,
    rest: Vec<u8>,
}

impl LineStream {
    /// Waits for the next line. `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(ClientError::Lost(HttpError::Broken(error.to_string()))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_not_for_this_user_is_no_daemon_that_is_down() {
        let client = Client::new("/run/c.sock".into());
        let said = |kind: ErrorKind| client.error(HttpError::Connect(kind.into())).to_string();
        let closed = said(ErrorKind::PermissionDenied);
        assert!(closed.starts_with("this user may not use the daemon's socket /run/c.sock"), "{closed}");
        for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
            let down = said(kind);
            assert!(down.ends_with("is `cutover serve` running?"), "{down}");
        }
    }
}
