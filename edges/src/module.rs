//! The edge of nginx with Cutover's module: a client of the admin API.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use ::http::Request;
use ::http::header::AUTHORIZATION;
use bytes::Bytes;
use cutover_core::api::{
    Confirmation, ErrorBody, ErrorCode, Failure, Group, Groups, Renewal, RouteChange, StandbyChoice,
    kept_reason,
};
use cutover_core::deployment::Revision;
use cutover_core::event::RouteEvent;
use cutover_core::name::in_path;
use cutover_core::smoke::Answer;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Follow, Look, Shift, ShiftError};
use cutover_engine::peers::request;
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{self, Address, HttpError};
use crate::tls::{Handshake, TlsClient, TlsError, TlsSettings};

mod address;
mod change;
mod page;
mod token;

pub use address::AdminAddress;

use change::{change_of, milliseconds};
use token::{Token, TokenError, TokenFile};

/// Time limit of one call. nginx answers from memory, but a switch waits for the disk.
const LIMIT: Duration = Duration::from_secs(5);
/// Status of a call with a missing or wrong token.
const UNAUTHORIZED: u16 = 401;
/// Status of a call that the location or the user does not permit.
const FORBIDDEN: u16 = 403;

/// The path of a request that changes nothing, see [`Module::may_write`].
const NO_CHANGE: &str = "/v1/groups/-/route";

/// The subject of the errors of this edge.
const NGINX: &str = "nginx";

/// A client of the admin API. Clones share the last token that nginx accepted.
#[derive(Clone, Debug)]
pub struct Module {
    name: String,
    address: Address,
    shown: String,
    token: Option<TokenFile>,
}

/// Why a call has no answer.
enum CallError {
    Http(HttpError),
    NoToken(TokenError),
}

impl Module {
    /// A client for the section `[edge.NAME]` of the configuration. It connects for each call.
    pub fn new(name: &str, admin: &AdminAddress, token_file: Option<&Path>) -> Self {
        let address = match admin {
            AdminAddress::Unix(path) => Address::Unix(path.clone()),
            AdminAddress::Tcp(address) => Address::Tcp(address.to_string()),
            AdminAddress::Https(host) => {
                Address::Tls(TlsClient::new(host.clone(), TlsSettings::new(section(name))))
            }
        };
        let token = token_file.map(|path| TokenFile::new(format!("{}.token_file", section(name)), path));
        Self { name: name.to_owned(), address, shown: admin.to_string(), token }
    }

    /// The same client with other settings for TLS. Without TLS they have no effect.
    pub fn with_tls(self, settings: TlsSettings) -> Self {
        let address = match self.address {
            Address::Tls(client) => Address::Tls(TlsClient::new(client.host().clone(), settings)),
            other => other,
        };
        Self { address, ..self }
    }

    /// Checks that the token and the certificates can be read, if the client needs them. Over TCP a change needs a token.
    pub async fn check_credentials(&self) -> Result<(), EdgeError> {
        if let Address::Tls(client) = &self.address {
            client.check_files().await.map_err(no_credentials)?;
        }
        match (&self.address, &self.token) {
            (Address::Unix(_), _) | (_, None) => Ok(()),
            (Address::Tcp(_) | Address::Tls(_), Some(file)) => file.check().await.map_err(no_credentials),
        }
    }

    /// Connects and returns what the TLS handshake has shown. `None` without TLS.
    pub async fn inspect_tls(&self) -> Option<Result<Handshake, EdgeError>> {
        let Address::Tls(client) = &self.address else { return None };
        Some(http::inspect(client, LIMIT).await.map_err(|error| self.no_answer(CallError::Http(error))))
    }

    /// Checks that nginx lets this client make changes. The error is nginx's own. The check sends a change for a group that
    /// does not exist: a client that may make changes gets an error about the group instead of 401 or 403.
    pub async fn may_write(&self) -> Result<(), EdgeError> {
        let answer = self.call("PUT", NO_CHANGE, &[], None).await.map_err(|error| self.no_answer(error))?;
        match self.read::<Group>(&answer) {
            Err(error) if matches!(answer.status, UNAUTHORIZED | FORBIDDEN) => Err(error),
            _ => Ok(()),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EdgeError> {
        let answer = self.call("GET", path, &[], None).await;
        self.read(&answer.map_err(|error| self.no_answer(error))?)
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, CallError> {
        // Over TCP without a token, the module accepts only "localhost" and IP addresses as host. Over TLS nginx accepts only
        // the name that the handshake has used.
        let host = match &self.address {
            Address::Tls(client) => client.host_header(),
            Address::Tcp(_) | Address::Unix(_) => "localhost".to_owned(),
        };
        let headers = [&[("host", host.as_str())], headers].concat();
        let call = request(method, path, &headers, body).map_err(HttpError::from).map_err(CallError::Http)?;
        let Some(file) = &self.token else { return self.send(call, None).await };
        let token = match (file.taken(), &self.address) {
            (Some(token), _) => Some(token),
            (None, Address::Tcp(_) | Address::Tls(_)) => Some(file.read().await.map_err(CallError::NoToken)?),
            // On a unix socket nginx needs no token, unless a proxy listens there and forwards the call.
            (None, Address::Unix(_)) => file.read().await.ok(),
        };
        let answer = self.send(call.clone(), token.as_ref()).await?;
        if answer.status != UNAUTHORIZED {
            file.take(token);
            return Ok(answer);
        }
        file.take(None);
        let fresh = file.read().await.map_err(CallError::NoToken)?;
        if Some(&fresh) == token.as_ref() {
            return Ok(answer);
        }
        let answer = self.send(call, Some(&fresh)).await?;
        if answer.status != UNAUTHORIZED {
            file.take(Some(fresh));
        }
        Ok(answer)
    }

    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        token: Option<&Token>,
    ) -> Result<Answer, CallError> {
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        http::ask(&self.address, request, LIMIT).await.map_err(CallError::Http)
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, EdgeError> {
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body)
                .map_err(|error| self.unrecognised(error.to_string()));
        }
        Err(match (serde_json::from_slice::<Failure>(&answer.body), self.said_by_nginx(answer)) {
            (Ok(failure), _) => EdgeError::Refused { subject: NGINX, why: self.why(failure.error) },
            (Err(_), Some(why)) => EdgeError::Refused { subject: NGINX, why },
            (Err(_), None) => self.unrecognised(format!("status {} without a JSON error", answer.status)),
        })
    }

    fn no_answer(&self, error: CallError) -> EdgeError {
        match error {
            CallError::Http(HttpError::Tls(TlsError::File(error))) => no_credentials(error),
            CallError::Http(error) => {
                let why = format!("{error}{}", self.next_step(&error));
                EdgeError::Unreachable { subject: NGINX, address: self.shown.clone(), why }
            }
            CallError::NoToken(error) => no_credentials(error),
        }
    }

    /// What an operator can do about a socket without nginx, as a clause.
    fn next_step(&self, error: &HttpError) -> String {
        let (HttpError::Connect(error), Address::Unix(path)) = (error, &self.address) else {
            return String::new();
        };
        let (path, name) = (path.display(), &self.name);
        match error.kind() {
            ErrorKind::NotFound => format!(
                "; start nginx, and if it does not start, nginx -t says why; or correct edge.{name}.admin: a server of nginx has \
                 \"listen unix:{path};\" and \"cutover_api\""
            ),
            ErrorKind::ConnectionRefused => {
                "; start nginx: systemctl start nginx; if it does not start, nginx -t says why".to_owned()
            }
            ErrorKind::PermissionDenied => {
                format!(
                    "; as root, let the daemon's user into the socket's folder: see host/tmpfiles.conf, and ls -ld {path}"
                )
            }
            _ => String::new(),
        }
    }

    /// The message of a refusal. For a missing or wrong token it names the key of the daemon's configuration.
    fn why(&self, error: ErrorBody) -> String {
        match (error.code, &self.token) {
            (ErrorCode::Unauthorized, Some(file)) => format!(
                "nginx does not accept the token of {} at {}: it must be the file that \"cutover_api token_file=\" names there; \
                 nginx reads a new token at its next reload",
                file.shown(),
                self.shown
            ),
            (ErrorCode::Unauthorized, None) => format!(
                "{} requires a token: set edge.{}.token_file to the file that \"cutover_api token_file=\" names there",
                self.shown, self.name
            ),
            _ => error.message,
        }
    }

    /// Why nginx itself refused the connection, so that the module has not seen the call. `None`: it did not.
    fn said_by_nginx(&self, answer: &Answer) -> Option<String> {
        let client_cert = match &self.address {
            Address::Tls(client) => {
                client.settings().client.as_ref().map(|files| files.certificate.as_path())
            }
            Address::Tcp(_) | Address::Unix(_) => None,
        };
        Some(page::refusal(answer)?.text(&self.shown, &section(&self.name), client_cert))
    }

    fn unrecognised(&self, why: String) -> EdgeError {
        EdgeError::Unrecognised { subject: NGINX, address: self.shown.clone(), why }
    }

    async fn put_route(
        &self,
        group: &str,
        change: &RouteChange,
        expected: &Revision,
    ) -> Result<Look, (Option<ErrorCode>, ShiftError)> {
        self.change("PUT", &format!("/v1/groups/{}/route", in_path(group)), change, expected).await
    }

    /// Makes a change at the expected revision. A refusal comes with its code.
    async fn change(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        expected: &Revision,
    ) -> Result<Look, (Option<ErrorCode>, ShiftError)> {
        let Some(expected) = generation(expected) else {
            return Err((None, ShiftError::Refused(format!("\"{expected}\" is not a revision of nginx"))));
        };
        let if_match = format!("\"{expected}\"");
        let headers = [("content-type", "application/json"), ("if-match", if_match.as_str())];
        let body = serde_json::to_vec(body).unwrap_or_default();
        match self.call(method, path, &headers, Some(body)).await {
            Ok(answer) if answer.status == 200 => self
                .read(&answer)
                .map(|group| self.looked(group))
                .map_err(|error| (None, ShiftError::Unknown(error))),
            Ok(answer) => Err(self.refusal(&answer)),
            Err(error) if error.is_before_sending() => {
                Err((None, ShiftError::NotSent(self.no_answer(error))))
            }
            Err(error) => Err((None, ShiftError::Unknown(self.no_answer(error)))),
        }
    }

    /// The group with names for its servers that are unique over hosts, see [`Address::elsewhere`].
    fn as_seen_here(&self, mut group: Group) -> Group {
        if let Address::Tls(client) = &self.address
            && !client.host().is_loopback()
        {
            let host = client.host().name().to_str();
            for peer in group.slots.iter_mut().flat_map(|slot| &mut slot.peers) {
                peer.address = Address::elsewhere(&peer.address, &host);
            }
        }
        group
    }

    fn looked(&self, group: Group) -> Look {
        let group = self.as_seen_here(group);
        let current = group.route.generation;
        let last = group.events.last().filter(|event| event.generation == current);
        let taken_back = last.and_then(RouteEvent::taken_back_by);
        let reason = last.map(|event| event.reason.clone()).filter(|reason| !reason.is_empty());
        Look {
            revision: revision(current),
            follows: current.checked_sub(1).map(revision),
            taken_back,
            reason,
            group,
        }
    }

    fn refusal(&self, answer: &Answer) -> (Option<ErrorCode>, ShiftError) {
        let Ok(failure) = serde_json::from_slice::<Failure>(&answer.body) else {
            if let Some(why) = self.said_by_nginx(answer) {
                return (None, ShiftError::Refused(format!("nginx refuses: {why}")));
            }
            let error = self.unrecognised(format!("status {} without a JSON error", answer.status));
            return (None, ShiftError::Unknown(error));
        };
        let code = failure.error.code;
        let message = self.why(failure.error);
        let error = match (code, failure.group) {
            (ErrorCode::GenerationMismatch | ErrorCode::NotArmed, Some(group)) => {
                ShiftError::Moved(Box::new(self.looked(*group)))
            }
            (ErrorCode::NotDurable, _) => {
                ShiftError::NotDurable(format!("nginx could not write the change to disk: {message}"))
            }
            // A worker that is about to exit has answered. The next call reaches another worker.
            (ErrorCode::Internal | ErrorCode::LeftBehind, _) => {
                ShiftError::Unknown(self.unrecognised(message))
            }
            _ => ShiftError::Refused(format!("nginx refuses: {message}")),
        };
        (Some(code), error)
    }
}

impl CallError {
    /// Whether it is certain that nginx changed nothing. The token is read before the request is sent, or after nginx refused it.
    fn is_before_sending(&self) -> bool {
        match self {
            Self::Http(error) => error.is_before_sending(),
            Self::NoToken(_) => true,
        }
    }
}

fn no_credentials(error: impl fmt::Display) -> EdgeError {
    EdgeError::NoCredentials { subject: NGINX, why: error.to_string() }
}

/// The section of an edge, for messages.
fn section(name: &str) -> String {
    format!("edge.{name}")
}

fn revision(generation: u32) -> Revision {
    Revision::new(format!("generation {generation}"))
}

fn generation(revision: &Revision) -> Option<u32> {
    revision.as_str().strip_prefix("generation ")?.parse().ok()
}

impl Edge for Module {
    fn name(&self) -> &str {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        Abilities { follow: Follow::AtOnce, trials: true, counters: true, shares: true }
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        self.get::<Groups>("/v1/groups")
            .await
            .map(|all| all.groups.into_iter().map(|group| self.as_seen_here(group)).collect())
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        self.get(&format!("/v1/groups/{}", in_path(group))).await.map(|group| self.looked(group))
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        let body = serde_json::to_vec(&StandbyChoice { slot: slot.to_owned() }).unwrap_or_default();
        let path = format!("/v1/groups/{}/standby", in_path(group));
        let answer = self.call("PUT", &path, &[("content-type", "application/json")], Some(body)).await;
        self.read::<Group>(&answer.map_err(|error| self.no_answer(error))?).map(drop)
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        let mut change = change_of(shift);
        match self.put_route(group, &change, expected).await {
            // A group of backend names cannot rescue. The rest of the trial is worth having.
            Err((Some(ErrorCode::BadTrial), _)) if change.rescue => {
                change.rescue = false;
                self.put_route(group, &change, expected).await.map_err(|(_, error)| error)
            }
            done => done.map_err(|(_, error)| error),
        }
    }

    async fn renew(&self, group: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        let path = format!("/v1/groups/{}/renew", in_path(group));
        let renewal = Renewal { lease_ms: milliseconds(lease) };
        self.change("POST", &path, &renewal, expected).await.map_err(|(_, error)| error)
    }

    async fn confirm(&self, group: &str, reason: &str, expected: &Revision) -> Result<Look, ShiftError> {
        let path = format!("/v1/groups/{}/confirm", in_path(group));
        let confirmation = Confirmation { reason: Some(kept_reason(reason).to_owned()) };
        match self.change("POST", &path, &confirmation, expected).await {
            // A split without a trial is as permanent as it can be. The plain change would end it.
            Err((Some(ErrorCode::NotArmed), ShiftError::Moved(now)))
                if now.revision == *expected && now.route().split.is_some() =>
            {
                Ok(*now)
            }
            // There is no trial. The plain change to the slot that has the traffic is answered when the route is on disk.
            Err((Some(ErrorCode::NotArmed), ShiftError::Moved(now))) if now.revision == *expected => {
                let plain = RouteChange::to(&now.route().active, kept_reason(reason).to_owned());
                self.put_route(group, &plain, expected).await.map_err(|(_, error)| error)
            }
            done => done.map_err(|(_, error)| error),
        }
    }
}
