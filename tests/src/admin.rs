//! A client of the module's admin API, typed by the wire types of the core.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use cutover_core::api::{Confirmation, Failure, Group, Groups, Renewal, RouteChange};
use cutover_core::name::in_path;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const LIMIT: Duration = Duration::from_secs(10);

/// Talks to `cutover_api`; each call has a connection of its own.
#[derive(Clone, Debug)]
pub struct Admin {
    listens: Listens,
}

#[derive(Clone, Debug)]
enum Listens {
    Unix(PathBuf),
    Tcp {
        address: SocketAddr,
        /// The header `authorization`.
        authorization: String,
    },
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The API's reply, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header `ETag`.
    pub etag: Option<String>,
    /// Header `Content-Type`.
    pub content_type: Option<String>,
    /// Header `Allow`.
    pub allow: Option<String>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The body as one of the wire types.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.body).with_context(|| format!("failed to read {:?}", self.body))
    }

    /// The body as a failure.
    pub fn failure(&self) -> Result<Failure> {
        self.json()
    }
}

impl Admin {
    /// A client of the API at this unix socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { listens: Listens::Unix(socket.into()) }
    }

    /// A client of the API at this address, with a token.
    pub fn with_token(address: SocketAddr, token: &str) -> Self {
        Self { listens: Listens::Tcp { address, authorization: format!("Bearer {token}") } }
    }

    /// `GET /v1/groups`.
    pub async fn groups(&self) -> Result<Groups> {
        self.ok(self.raw(Method::GET, "/v1/groups", &[], "").await?)
    }

    /// `GET /v1/groups/NAME`.
    pub async fn group(&self, name: &str) -> Result<Group> {
        self.ok(self.raw(Method::GET, &format!("/v1/groups/{}", in_path(name)), &[], "").await?)
    }

    /// Moves the route, whatever its generation; an error when the API refuses.
    pub async fn switch(&self, group: &str, to: &str) -> Result<Group> {
        self.ok(self.put_route(group, to, None).await?)
    }

    /// Moves the route if it still has this generation.
    pub async fn switch_if(&self, group: &str, to: &str, generation: u32) -> Result<Reply> {
        self.put_route(group, to, Some(generation)).await
    }

    /// Any change; an error when the API refuses.
    pub async fn change(&self, group: &str, change: &RouteChange) -> Result<Group> {
        self.ok(self.try_change(group, change, None).await?)
    }

    /// Any change, given as JSON; an error when the API refuses.
    pub async fn change_json(&self, group: &str, change: &str) -> Result<Group> {
        self.change(group, &serde_json::from_str(change)?).await
    }

    /// Any change; returns the reply whatever its status.
    pub async fn try_change(
        &self,
        group: &str,
        change: &RouteChange,
        generation: Option<u32>,
    ) -> Result<Reply> {
        self.send(Method::PUT, &format!("/v1/groups/{}/route", in_path(group)), change, generation).await
    }

    /// Confirms the change that is on trial.
    pub async fn confirm(&self, group: &str) -> Result<Reply> {
        self.send(
            Method::POST,
            &format!("/v1/groups/{}/confirm", in_path(group)),
            &Confirmation::default(),
            None,
        )
        .await
    }

    /// Renews the lease of the change that is on trial.
    pub async fn renew(&self, group: &str, lease_ms: u32) -> Result<Reply> {
        self.send(Method::POST, &format!("/v1/groups/{}/renew", in_path(group)), &Renewal { lease_ms }, None)
            .await
    }

    async fn put_route(&self, group: &str, to: &str, generation: Option<u32>) -> Result<Reply> {
        let change = RouteChange::to(to, "a test");
        self.try_change(group, &change, generation).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        generation: Option<u32>,
    ) -> Result<Reply> {
        let body = serde_json::to_string(body)?;
        let if_match = generation.map(|generation| format!("\"{generation}\""));
        let mut headers = vec![("content-type", "application/json")];
        if let Some(value) = &if_match {
            headers.push(("if-match", value));
        }
        self.raw(method, path, &headers, &body).await
    }

    /// Any request; returns the reply whatever its status.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply> {
        let call = self.call(method, path, headers, body);
        tokio::time::timeout(LIMIT, call).await.context("the admin API did not answer")?
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Reply> {
        let stream =
            self.connect().await.with_context(|| format!("failed to connect to {:?}", self.listens))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "cutover");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Listens::Tcp { authorization, .. } = &self.listens {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let (etag, content_type, allow) = (header("etag"), header("content-type"), header("allow"));
        let body = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(Reply { status, etag, content_type, allow, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.listens {
            Listens::Unix(socket) => Box::new(UnixStream::connect(socket).await?),
            Listens::Tcp { address, .. } => Box::new(TcpStream::connect(address).await?),
        })
    }

    fn ok<T: DeserializeOwned>(&self, reply: Reply) -> Result<T> {
        if reply.status != 200 {
            bail!("the admin API answered {}: {}", reply.status, reply.body);
        }
        reply.json()
    }
}
