//! The client of the control API.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::shell::quoted;
use cutover_edges::http::{self, Address, HttpError};
use cutover_engine::peers::request;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::host::Host;
use super::myself;
use super::ssh::{self, Said};
use super::terminal::plain;
use crate::api::{CLAIM, ErrorAnswer};
use crate::control::{NOT_LEADER, UNKNOWN_DEPLOYMENT};

mod bytes_of;
mod error;
mod lines;
#[cfg(test)]
mod tests;

pub(super) use bytes_of::ByteStream;
pub use error::ClientError;
pub(super) use lines::LineStream;

/// Time limit of a call without a command. A switch probes first.
const LIMIT: Duration = Duration::from_secs(120);

/// Maximum length of an answer in bytes, for a long history of long versions.
const MOST: usize = 1 << 30;

/// A client of the control API of one or several daemons.
#[derive(Debug)]
pub(super) struct Client {
    hosts: Vec<Host>,
    /// The host that has answered last. The next call begins there.
    answered: AtomicUsize,
    /// The last note about a host, so that a repeated call does not repeat it.
    noted: Mutex<String>,
}

/// A call of the API.
struct Call<'a> {
    method: &'static str,
    path: &'a str,
    body: Option<Vec<u8>>,
    limit: Duration,
}

impl Client {
    /// A client of the daemon that listens on a socket of this machine.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self::of_hosts(vec![Host::Unix(socket)])
    }

    /// A client of several daemons, in the order in which they are asked.
    pub(super) fn of_hosts(hosts: Vec<Host>) -> Self {
        Self { hosts, answered: AtomicUsize::new(0), noted: Mutex::new(String::new()) }
    }

    /// Whether ssh is between this client and a daemon.
    pub(super) fn is_remote(&self) -> bool {
        self.hosts.iter().any(|host| matches!(host, Host::Ssh(_)))
    }

    /// `cutover` with the hosts of this client, for a command that an operator copies.
    pub(super) fn program(&self) -> String {
        let mut words = "cutover".to_owned();
        if self.hosts.len() > 1 || self.is_remote() {
            for host in &self.hosts {
                words.push_str(&format!(" --host {}", quoted(&host.to_string())));
            }
        }
        words
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let call = Call { method: "GET", path, body: None, limit: LIMIT };
        self.at_one(ClientError::permits_another_read, async |host| self.ask(host, &call).await).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.change(path, body, LIMIT).await
    }

    /// Like [`Client::post`] without a time limit, for a call that runs a command of the operator. The command has its own limit.
    pub(super) async fn post_and_wait<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.change(path, body, Duration::MAX).await
    }

    /// Opens a stream of lines. It has no time limit.
    pub(super) async fn lines(&self, path: &str) -> Result<LineStream, ClientError> {
        let call = Call { method: "GET", path, body: None, limit: Duration::MAX };
        self.at_one(ClientError::permits_another_read, async |host| {
            let reply = self.send(host, &call).await?;
            match reply.response.status().as_u16() {
                200 => Ok(LineStream::new(reply)),
                status => Err(refused(host, status, &reply.body(MOST).await.unwrap_or_default())),
            }
        })
        .await
    }

    /// Opens a stream of bytes. It has no time limit.
    pub(super) async fn stream(&self, path: &str) -> Result<ByteStream, ClientError> {
        let call = Call { method: "GET", path, body: None, limit: Duration::MAX };
        self.at_one(ClientError::permits_another_read, async |host| {
            let reply = self.send(host, &call).await?;
            match reply.response.status().as_u16() {
                200 => Ok(ByteStream::new(reply)),
                status => Err(refused(host, status, &reply.body(MOST).await.unwrap_or_default())),
            }
        })
        .await
    }

    async fn change<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Unrecognised(error.to_string()))?;
        let call = Call { method: "POST", path, body: Some(body), limit };
        let done = self.at_one(ClientError::permits_another_change, async |host| self.ask(host, &call).await);
        done.await.map_err(|error| match error {
            // The daemon may have taken the request, so it is not sent again.
            ClientError::Lost { daemon, why } => {
                ClientError::Uncertain { daemon, why, cutover: self.program() }
            }
            error => error,
        })
    }

    /// Makes a call at the first host whose error does not permit to go on to the next one.
    async fn at_one<T>(
        &self,
        goes_on: fn(&ClientError) -> bool,
        call: impl AsyncFn(&Host) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let (first, number) = (self.answered.load(Ordering::Relaxed), self.hosts.len());
        let mut may_pass = false;
        let mut rest = (0..number).map(|turn| (first + turn) % number).peekable();
        while let Some(index) = rest.next() {
            let Some(host) = self.hosts.get(index) else { break };
            let error = match call(host).await {
                Ok(done) => {
                    self.answered.store(index, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(error) if number == 1 || !goes_on(&error) => return Err(error),
                Err(error) => error,
            };
            may_pass |= error.may_pass();
            match rest.peek().and_then(|next| self.hosts.get(*next)) {
                Some(next) => self.note(&format!("{error}; asking the next host, {next}")),
                None => return Err(ClientError::NoneLeft { last: Box::new(error), may_pass }),
            }
        }
        Err(ClientError::NoHost)
    }

    fn note(&self, text: &str) {
        let mut noted = self.noted.lock();
        if *noted != text {
            let _ = writeln!(io::stderr(), "cutover: {}", plain(text));
            text.clone_into(&mut noted);
        }
    }

    async fn ask<T: DeserializeOwned>(&self, host: &Host, call: &Call<'_>) -> Result<T, ClientError> {
        let whole = async {
            let reply = self.send(host, call).await?;
            let status = reply.response.status().as_u16();
            Ok((status, reply.body(MOST).await?))
        };
        let late = |_| Err(ClientError::lost(host, HttpError::Timeout(call.limit).to_string()));
        let (status, body) = timeout(call.limit, whole).await.unwrap_or_else(late)?;
        match status {
            200..300 => {
                serde_json::from_slice(&body).map_err(|error| ClientError::Unrecognised(error.to_string()))
            }
            _ => Err(refused(host, status, &body)),
        }
    }

    async fn send(&self, host: &Host, call: &Call<'_>) -> Result<Reply, ClientError> {
        let mut headers = vec![("host", "cutover"), ("content-type", "application/json")];
        // The daemon of another machine knows the user of ssh.
        let claim = myself::become_root().filter(|_| matches!(host, Host::Unix(_)));
        headers.extend(claim.as_deref().map(|name| (CLAIM, name)));
        let request = request(call.method, call.path, &headers, call.body.clone())
            .map_err(|error| ClientError::Refused(error.to_string()))?;
        let (sent, mut said) = match host {
            Host::Unix(socket) => (http::send(&Address::Unix(socket.clone()), request).await, None),
            Host::Ssh(machine) => {
                let (stream, said) = ssh::connect(machine)
                    .await
                    .map_err(|why| ClientError::Unreached { host: host.to_string(), why })?;
                (http::exchange(stream, request).await, Some(said))
            }
        };
        match sent {
            Ok(response) => Ok(Reply { response, said, host: host.clone() }),
            Err(error) => Err(explained(host, error, said.as_mut()).await),
        }
    }
}

/// The head of an answer, and the connection that the rest comes through.
struct Reply {
    response: ::http::Response<Incoming>,
    said: Option<Said>,
    host: Host,
}

impl Reply {
    async fn body(self, most: usize) -> Result<Bytes, ClientError> {
        let Self { response, mut said, host } = self;
        match Limited::new(response.into_body(), most).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(explained(&host, HttpError::Broken(error.to_string()), said.as_mut()).await),
        }
    }
}

/// The error of a broken connection. What ssh says about it is better than that there was no answer.
async fn explained(host: &Host, error: HttpError, said: Option<&mut Said>) -> ClientError {
    let ssh = match said {
        Some(said) => said.whole().await,
        None => String::new(),
    };
    match (host, ssh.as_str()) {
        (Host::Unix(socket), _) => ClientError::at_socket(socket, error),
        (Host::Ssh(_), "") => ClientError::lost(host, error.to_string()),
        (Host::Ssh(_), said) => ClientError::lost(host, format!("ssh: {said}")),
    }
}

fn refused(host: &Host, status: u16, body: &[u8]) -> ClientError {
    let answer = match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => answer,
        Err(_) if body.is_empty() => {
            return ClientError::Refused(format!("the daemon answers with status {status} and no reason"));
        }
        Err(_) => return ClientError::Refused(String::from_utf8_lossy(body).into_owned()),
    };
    match (answer.code.as_str(), status) {
        (NOT_LEADER, _) => ClientError::NotLeader { host: host.to_string(), message: answer.message },
        (UNKNOWN_DEPLOYMENT, _) => ClientError::UnknownDeployment(answer.message),
        (_, 500) => ClientError::Failed(answer.message),
        _ => ClientError::Answered(Box::new(answer)),
    }
}
