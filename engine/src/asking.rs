//! Asks servers as a check says, and compares what comes back with what is expected.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use cutover_core::placeholder::Values;
use cutover_core::smoke::{Answer, excerpt};
use http::Request;
use tokio::time::Instant;

use crate::peers::{Call, CheckError, Destination, Peers, Reply, TlsCall, What, request, with_usual};
use crate::policy::{Check, Policy, Tls, Way};

/// The header with which a check tells nginx the slot, and in which nginx says which slot has answered.
pub const SLOT_HEADER: &str = "x-cutover-slot";

/// Asks the servers of one slot.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a, W> {
    /// Sends what is asked.
    pub world: &'a W,
    /// The group's name, which is the value of `Host` unless the policy has one.
    pub group: &'a str,
    /// The policy of the group.
    pub policy: &'a Policy,
    /// The values of placeholders: the slot and its version.
    pub values: Values<'a>,
    /// Who asks.
    pub agent: Agent,
    /// The statuses that pass without an expected status.
    pub pass: &'a Range<u16>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// A probe.
    Probe,
    /// A smoke test.
    Smoke,
    /// A soak, with synthetic requests.
    Soak,
}

impl Agent {
    /// The value of `User-Agent`.
    fn name(self) -> &'static str {
        match self {
            Self::Probe => "cutover-probe",
            Self::Smoke => "cutover-smoke",
            Self::Soak => "cutover-soak",
        }
    }
}

/// What one check of one server has come to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What was sent, in a few words.
    pub sent: String,
    /// How long it took.
    pub took: Duration,
    /// What came back.
    pub reply: Result<Reply, CheckError>,
    /// Why the server does not pass, in one line that names what was sent.
    pub verdict: Result<(), String>,
}

impl Asked {
    /// The answer as it came over HTTP, if there was one.
    pub fn answer(&self) -> Option<&Answer> {
        self.reply.as_ref().ok().and_then(Reply::answer)
    }

    /// The redirect that was the answer, as in `status 301 to https://shop.example/`.
    pub fn redirect(&self) -> Option<String> {
        self.answer().and_then(redirect)
    }

    /// What came back, in one line, as in `status 200`.
    pub fn came(&self) -> String {
        match &self.reply {
            Ok(Reply::Http(answer)) => format!("status {}", answer.status),
            Ok(Reply::Serving(_)) => "SERVING".to_owned(),
            Ok(Reply::Connected) => "connected".to_owned(),
            Ok(Reply::Succeeded(line)) if line.is_empty() => "exit code 0".to_owned(),
            Ok(Reply::Succeeded(line)) => format!("exit code 0: {line}"),
            Err(error) => error.to_string(),
        }
    }
}

impl<W: Peers> Asking<'_, W> {
    /// Asks one server.
    pub async fn ask(
        &self,
        check: &Check,
        peer: &str,
        captured: Option<&BTreeMap<String, String>>,
        limit: Duration,
    ) -> Asked {
        let check = check.filled(&Values { peer, captured, ..self.values });
        let begin = Instant::now();
        let (sent, reply) = match self.call(&check, peer) {
            Ok(call) => (sent(&check, &call), self.world.check(peer, call, limit).await),
            Err(error) => (check.sent(), Err(error)),
        };
        let verdict = match &reply {
            Ok(reply) => self.judge(&check, reply).map_err(|why| format!("{sent}: {why}")),
            // Without a connection it does not matter what would have been sent, but where to.
            Err(CheckError::NotSent(why)) => Err(match check.way() {
                Some(Way { port: None, through: None, .. }) | None => why.clone(),
                Some(_) => format!("{sent}: {why}"),
            }),
            Err(error) => Err(format!("{sent}: {error}")),
        };
        Asked { sent, took: begin.elapsed(), reply, verdict }
    }

    fn host(&self) -> &str {
        self.policy.host.as_deref().unwrap_or(self.group)
    }

    fn judge(&self, check: &Check, reply: &Reply) -> Result<(), String> {
        let Some(answer) = reply.answer() else { return Ok(()) };
        if let Some(through) = check.way().and_then(|way| way.through.as_ref()?.of(self.values.slot)) {
            came_from(self.values.slot, &through.to_string(), answer)?;
        }
        let (Some(expect), Reply::Http(answer)) = (check.expect(), reply) else { return Ok(()) };
        expect.check(answer, self.pass).map_err(|why| match redirect(answer) {
            Some(redirect) if expect.status.is_none() && !self.pass.contains(&answer.status) => format!(
                "{redirect} instead of {} to {}; a redirect does not show whether the application works: send what it wants to \
                 see, as in headers = {{ X-Forwarded-Proto = \"https\" }}, or accept it with expect.status",
                self.pass.start,
                self.pass.end.saturating_sub(1)
            ),
            _ => why,
        })
    }

    fn call(&self, check: &Check, peer: &str) -> Result<Call, CheckError> {
        let invalid = |why: String| CheckError::Invalid(why);
        let way = check.way().cloned().unwrap_or_default();
        let to = self.destination(&way).map_err(invalid)?;
        let is_through = matches!(to, Destination::Through(_));
        let slot = [(SLOT_HEADER, self.values.slot)];
        let slot = if is_through { &slot[..] } else { &[] };
        let what = match check {
            Check::Http(http) => {
                let usual =
                    [("host", self.host()), ("user-agent", self.agent.name()), ("connection", "close")];
                // HTTP/2 has no such header.
                let usual = if http.http2 { &usual[..2] } else { &usual[..] };
                let usual: Vec<_> = usual.iter().chain(slot).copied().collect();
                let headers = with_usual(&http.headers, &usual);
                let body = http.body.clone().map(String::into_bytes);
                let request = request(&http.method, http.path.as_str(), &headers, body);
                let request = request.map_err(|error| invalid(format!("no request can be made: {error}")))?;
                What::Http { request: self.marked(request), http2: http.http2 }
            }
            Check::Tcp(_) => What::Tcp,
            Check::Grpc(grpc) => {
                let usual: Vec<_> = [("user-agent", self.agent.name())].iter().chain(slot).copied().collect();
                let headers = with_usual(&grpc.headers, &usual);
                let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                let host = self.host().to_owned();
                What::Grpc { service: grpc.service.clone(), host, headers: headers.collect() }
            }
            Check::Command(command) => What::Command {
                command: command.command.clone(),
                cwd: command.cwd.clone(),
                environment: self.environment(peer),
            },
        };
        Ok(Call { tls: self.tls(&way, &to), to, what })
    }

    fn destination(&self, way: &Way) -> Result<Destination, String> {
        let slot = self.values.slot;
        let unnamed = |key: &str| {
            format!("\"{key}\" has no value for slot \"{slot}\": add one, as in {{ {slot} = .. }}")
        };
        if let Some(through) = &way.through {
            return through.of(slot).cloned().map(Destination::Through).ok_or_else(|| unnamed("through"));
        }
        match &way.port {
            Some(port) => {
                port.of(slot).map(|port| Destination::Port(port.get())).ok_or_else(|| unnamed("port"))
            }
            None => Ok(Destination::Peer),
        }
    }

    fn tls(&self, way: &Way, to: &Destination) -> Option<TlsCall> {
        let settings = match to {
            Destination::Through(door) => door.is_https().then(|| way.tls.clone().unwrap_or_default())?,
            Destination::Peer | Destination::Port(_) => way.tls.clone()?,
        };
        let usual = match to {
            Destination::Through(door) => door.uri().host().unwrap_or_default().trim_matches(['[', ']']),
            // A port belongs to a header, but to no certificate.
            _ => self.host().rsplit_once(':').map_or(self.host(), |(host, _)| host),
        };
        let Tls { sni, .. } = &settings;
        Some(TlsCall { name: sni.clone().unwrap_or_else(|| usual.to_owned()), settings })
    }

    fn environment(&self, peer: &str) -> BTreeMap<String, String> {
        let mut environment = self.policy.env.clone();
        for (name, value) in [
            ("CUTOVER_PEER", peer),
            ("CUTOVER_GROUP", self.group),
            ("CUTOVER_SLOT", self.values.slot),
            ("CUTOVER_VERSION", self.values.version.unwrap_or_default()),
        ] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        environment
    }

    fn marked<B>(&self, mut request: Request<B>) -> Request<B> {
        if self.agent == Agent::Soak {
            request.headers_mut().insert("x-cutover-synthetic", http::HeaderValue::from_static("1"));
        }
        request
    }
}

/// What was sent, with its way.
fn sent(check: &Check, call: &Call) -> String {
    let sent = check.sent();
    match &call.to {
        Destination::Peer => sent,
        Destination::Port(port) => format!("port {port}: {sent}"),
        Destination::Through(door) => format!("through {door}: {sent}"),
    }
}

/// Fails unless nginx says that the answer is of this slot: otherwise it may be of the active one.
fn came_from(slot: &str, door: &str, answer: &Answer) -> Result<(), String> {
    let came: Vec<&str> = answer.header(SLOT_HEADER).collect();
    if came.contains(&slot) {
        return Ok(());
    }
    let status = answer.status;
    Err(match came.first().filter(|came| !came.is_empty()) {
        Some(other) => format!(
            "status {status} of slot \"{other}\" instead of \"{slot}\": the server of nginx at {door} needs \
             \"cutover_slot $http_x_cutover_slot;\""
        ),
        None => format!(
            "status {status}, and nginx does not say that slot \"{slot}\" has answered: its server at {door} needs \
             \"cutover_slot $http_x_cutover_slot; add_header X-Cutover-Slot $cutover_slot always;\"; the answer begins with: {}",
            excerpt(&answer.body)
        ),
    })
}

fn redirect(answer: &Answer) -> Option<String> {
    let is_redirect = (300..400).contains(&answer.status) && answer.status != 304;
    is_redirect.then(|| match answer.header("location").next() {
        Some(to) => format!("status {} to {to}", answer.status),
        None => format!("status {}", answer.status),
    })
}
