//! Asks servers of upstreams from this host: over HTTP/1.1, HTTP/2 and gRPC, with TLS if the check says so.
//!
//! Each call uses a new connection, as a probe must see whether the server takes one.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::smoke::Answer;
use cutover_engine::peers::{Call, CheckError, Destination, Peers, Reply, TlsCall, What};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::http::Address;
use crate::tls::{Application, ClientFiles, HttpsHost, ServerName, TlsClient, TlsSettings};

mod connection;
mod exchange;
mod health;
mod protocol;

use connection::{Connected, connect};

/// Most TLS settings that are kept with what was read from their files.
const MOST_CLIENTS: usize = 64;

/// A client for the servers that this host reaches. It runs no commands.
#[derive(Debug, Default)]
pub struct SocketPeers {
    /// By their settings and the protocol. A client reads its files again when they change.
    clients: Mutex<BTreeMap<(TlsCall, bool), TlsClient>>,
}

impl Peers for SocketPeers {
    async fn check(&self, peer: &str, call: Call, limit: Duration) -> Result<Reply, CheckError> {
        let Call { to, tls, what } = call;
        let address = address(peer, &to)?;
        let http2 = matches!(what, What::Grpc { .. } | What::Http { http2: true, .. });
        let is_through = matches!(to, Destination::Through(_));
        let tls = tls.map(|tls| self.client(tls, http2)).transpose()?;
        let deadline = Instant::now() + limit;
        let within = humantime::format_duration(limit);
        let connected = timeout_at(deadline, connect(&address, tls.as_ref(), http2)).await;
        let connected = connected
            .unwrap_or_else(|_| Err(CheckError::NotSent(format!("no connection within {within}"))))?;
        let asked = timeout_at(deadline, ask(connected, what)).await;
        let failed = match asked {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(failed)) => failed,
            Err(_) => return Err(CheckError::NoAnswer(format!("no answer within {within}"))),
        };
        let Failed { error, began_with } = failed;
        let CheckError::NoAnswer(why) = error else { return Err(error) };
        let speaks = match is_through || tls.is_some() {
            true => None,
            false => {
                timeout_at(deadline, protocol::spoken(&address, &began_with, http2)).await.ok().flatten()
            }
        };
        Err(CheckError::NoAnswer(match speaks {
            Some(hint) => format!("{why}: {hint}"),
            None => why,
        }))
    }
}

/// A call without an answer.
struct Failed {
    error: CheckError,
    /// The first bytes that came nevertheless.
    began_with: Vec<u8>,
}

async fn ask(connected: Connected, what: What) -> Result<Reply, Failed> {
    let began = connected.began();
    let done = match what {
        What::Tcp => Ok(Reply::Connected),
        What::Http { request, http2: false } => exchange::http1(connected, request).await.map(Reply::Http),
        What::Http { request, http2: true } => exchange::http2(connected, request).await.map(Reply::Http),
        What::Grpc { service, host, headers } => health::check(connected, service, &host, &headers).await,
        What::Command { .. } => Err(CheckError::Invalid("commands are not run here".to_owned())),
    };
    done.map_err(|error| Failed { error, began_with: began.bytes() })
}

/// Where a call connects to.
fn address(peer: &str, to: &Destination) -> Result<Address, CheckError> {
    let of_peer = || Address::of_peer(peer).map_err(|error| CheckError::NotSent(error.to_string()));
    match to {
        Destination::Through(door) => Ok(Address::Tcp(door.address())),
        Destination::Peer => of_peer(),
        Destination::Port(port) => match of_peer()? {
            Address::Tcp(address) => match address.parse::<std::net::SocketAddr>() {
                Ok(address) => Ok(Address::Tcp(std::net::SocketAddr::new(address.ip(), *port).to_string())),
                Err(error) => Err(CheckError::Invalid(format!("\"{address}\": {error}"))),
            },
            _ => Err(CheckError::Invalid(format!(
                "a unix socket has no port {port}: remove \"port\", or write command = [..], which gets the socket's path"
            ))),
        },
    }
}

impl SocketPeers {
    fn client(&self, tls: TlsCall, http2: bool) -> Result<TlsClient, CheckError> {
        let key = (tls, http2);
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = new_client(&key.0, http2)?;
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn new_client(TlsCall { settings, name }: &TlsCall, http2: bool) -> Result<TlsClient, CheckError> {
    let name = ServerName::try_from(name.clone()).map_err(|_| {
        CheckError::Invalid(format!(
            "\"{name}\" is no name that a certificate can have: set tls.sni, as in tls = {{ sni = \"shop.example\" }}"
        ))
    })?;
    let client = settings.client.clone();
    let settings = TlsSettings {
        section: "tls".to_owned(),
        ca: settings.ca.clone(),
        client: client.map(|(certificate, key)| ClientFiles { certificate, key }),
        server_name: None,
        application: Some(Application { insecure: settings.insecure, http2 }),
    };
    // The port is that of the address. It is not shown.
    Ok(TlsClient::new(HttpsHost::new(name, 0), settings))
}

/// An empty answer with this status, for what has no body of its own.
fn without_body(status: u16, headers: &http::HeaderMap) -> Answer {
    let headers = headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Answer { status, headers: headers.collect(), body: Vec::new() }
}
