//! The keys of a check as they are written, and which of them belong together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cutover_core::smoke::Expectation;
use serde::{Deserialize, Serialize};

use super::super::expect;
use super::super::url::HttpUrl;
use super::super::value::{Argv, UrlPath};
use super::{BySlot, Check, CommandCheck, GrpcCheck, HttpCheck, Port, Tls, Way};

/// `kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(in crate::policy) enum Kind {
    /// A request, and the expected answer.
    Http,
    /// A connection.
    Tcp,
    /// A call of `grpc.health.v1.Health/Check`.
    Grpc,
    /// A command.
    #[cfg_attr(feature = "schema", schemars(skip))]
    Command,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
            Self::Command => "command",
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["path", "method", "headers", "body", "expect", "http2", "port", "tls", "through"],
            Self::Tcp => &["port", "tls"],
            Self::Grpc => &["service", "headers", "port", "tls", "through"],
            Self::Command => &["command", "cwd"],
        }
    }
}

/// Defines the keys of a check in one place, and repeats them in each table that has them: a flattened structure would lose the
/// line of an error.
macro_rules! keys_of_check {
    (
        @with
        $(#[$attribute:meta])*
        struct $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* }
        $($(#[$of_check:meta])* $key:ident: $of_key:ty,)*
    ) => {
        $(#[$attribute])*
        struct $name {
            $($(#[$of_field])* $field: $type,)*
            $($(#[$of_check])* #[serde(skip_serializing_if = "Option::is_none")] $key: Option<$of_key>,)*
        }

        impl $name {
            /// Takes the keys of the check out.
            fn take_check(&mut self) -> $crate::policy::check::RawCheck {
                $crate::policy::check::RawCheck { $($key: self.$key.take(),)* }
            }

            /// Puts the keys of a check in.
            fn with_check(self, check: $crate::policy::check::RawCheck) -> Self {
                Self { $($key: check.$key,)* ..self }
            }
        }
    };
    ($($table:tt)*) => {
        keys_of_check! {
            @with
            $($table)*
            /// What is asked. Without it, `grpc` if there is a `service`, otherwise `http`.
            kind: $crate::policy::check::Kind,
            /// http: the path, with a query. It may contain placeholders, as in {slot}.
            path: $crate::policy::UrlPath,
            /// http: the method. Without it, GET.
            #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")))]
            method: String,
            /// http, grpc: headers to send.
            headers: std::collections::BTreeMap<String, String>,
            /// http: the body to send.
            body: String,
            /// http: the expected answer.
            expect: cutover_core::smoke::Expectation,
            /// http: speaks HTTP/2: over TLS by ALPN, otherwise at once. Without it, HTTP/1.1.
            http2: bool,
            /// Another port of the server than the one that gets the traffic, or one for each slot.
            port: $crate::policy::BySlot<$crate::policy::Port>,
            /// Speaks TLS with the server. {} has the defaults.
            tls: $crate::policy::Tls,
            /// The URL of a server of nginx that sends the request to a server of the slot, or one for each slot.
            through: $crate::policy::BySlot<$crate::policy::HttpUrl>,
            /// grpc: the service whose health is asked for. Without it, that of the whole server.
            service: String,
            #[cfg_attr(feature = "schema", schemars(skip))]
            command: $crate::policy::Argv,
            #[cfg_attr(feature = "schema", schemars(skip))]
            cwd: std::path::PathBuf,
        }
    };
}

pub(in crate::policy) use keys_of_check;

/// All keys of a check.
#[derive(Default)]
pub(in crate::policy) struct RawCheck {
    pub(in crate::policy) kind: Option<Kind>,
    pub(in crate::policy) path: Option<UrlPath>,
    pub(in crate::policy) method: Option<String>,
    pub(in crate::policy) headers: Option<BTreeMap<String, String>>,
    pub(in crate::policy) body: Option<String>,
    pub(in crate::policy) expect: Option<Expectation>,
    pub(in crate::policy) http2: Option<bool>,
    pub(in crate::policy) port: Option<BySlot<Port>>,
    pub(in crate::policy) tls: Option<Tls>,
    pub(in crate::policy) through: Option<BySlot<HttpUrl>>,
    pub(in crate::policy) service: Option<String>,
    pub(in crate::policy) command: Option<Argv>,
    pub(in crate::policy) cwd: Option<PathBuf>,
}

impl RawCheck {
    /// The keys that are there, `kind` excluded.
    pub(in crate::policy) fn given(&self) -> Vec<&'static str> {
        let all = [
            ("path", self.path.is_some()),
            ("method", self.method.is_some()),
            ("headers", self.headers.is_some()),
            ("body", self.body.is_some()),
            ("expect", self.expect.is_some()),
            ("http2", self.http2.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("through", self.through.is_some()),
            ("service", self.service.is_some()),
            ("command", self.command.is_some()),
            ("cwd", self.cwd.is_some()),
        ];
        all.into_iter().filter_map(|(key, is_there)| is_there.then_some(key)).collect()
    }

    /// The kind as written, or the one that a key belongs to.
    pub(in crate::policy) fn kind(&self) -> Kind {
        match self.kind {
            Some(kind) => kind,
            None if self.command.is_some() => Kind::Command,
            None if self.service.is_some() => Kind::Grpc,
            None => Kind::Http,
        }
    }

    /// The check. `usual`: the path of a request without one; `None`: it needs one. The error completes a sentence that begins
    /// with the place.
    pub(in crate::policy) fn check(self, usual: Option<&str>) -> Result<Check, String> {
        let kind = self.kind();
        if let Some(foreign) = self.given().into_iter().find(|key| !kind.keys().contains(key)) {
            return Err(match kind {
                Kind::Command => format!("has a command, so \"{foreign}\" is not allowed"),
                // A key that only one other kind has shows what was meant.
                _ if foreign == "cwd" => "has no command, so \"cwd\" is not allowed".to_owned(),
                _ => format!(
                    "is of kind \"{}\", so \"{foreign}\" is not allowed; its keys are {}",
                    kind.name(),
                    kind.keys().join(", ")
                ),
            });
        }
        let way = Way { port: self.port, tls: self.tls, through: self.through };
        check_way(&way)?;
        if let Some(headers) = &self.headers {
            expect::check_headers(headers).map_err(|why| format!(": {why}"))?;
        }
        let headers = self.headers.unwrap_or_default();
        match kind {
            Kind::Http => {
                let usual = usual.map(UrlPath::fixed);
                let path = self.path.or(usual).ok_or("needs a path or a command")?;
                let method = self.method.unwrap_or_else(|| "GET".to_owned());
                if method.parse::<http::Method>().is_err() {
                    return Err(format!(": \"{method}\" is not a method, as in \"GET\""));
                }
                let expect = self.expect.unwrap_or_default();
                expect::check(&expect).map_err(|why| format!(": {why}"))?;
                let http2 = self.http2.unwrap_or_default();
                Ok(Check::Http(Box::new(HttpCheck {
                    method,
                    path,
                    headers,
                    body: self.body,
                    expect,
                    http2,
                    way,
                })))
            }
            Kind::Tcp => Ok(Check::Tcp(way)),
            Kind::Grpc => {
                let service = self.service.unwrap_or_default();
                Ok(Check::Grpc(Box::new(GrpcCheck { service, headers, way })))
            }
            Kind::Command => {
                let command = self.command.ok_or(
                    "is of kind \"command\" and has none: add it, as in command = [\"/usr/local/bin/shop-health\"]",
                )?;
                Ok(Check::Command(CommandCheck { command, cwd: self.cwd }))
            }
        }
    }
}

fn check_way(way: &Way) -> Result<(), String> {
    let Some(through) = &way.through else { return Ok(()) };
    if way.port.is_some() {
        return Err("goes through nginx, which chooses the server, so \"port\" is not allowed".to_owned());
    }
    for door in through.values() {
        if door.uri().path() != "/" {
            return Err(format!(
                ": through \"{door}\" has a path: expected where nginx listens, as in \"http://127.0.0.1:8081\""
            ));
        }
        if way.tls.is_some() && !door.is_https() {
            return Err(format!(
                "goes through \"{door}\" without TLS, so \"tls\" is not allowed: nginx speaks TLS with the server by itself, or \
                 write https://"
            ));
        }
    }
    Ok(())
}

impl From<Check> for RawCheck {
    fn from(check: Check) -> Self {
        let of_way =
            |way: Way| Self { port: way.port, tls: way.tls, through: way.through, ..Self::default() };
        let some = |headers: BTreeMap<_, _>| (!headers.is_empty()).then_some(headers);
        match check {
            Check::Http(http) => {
                let HttpCheck { method, path, headers, body, expect, http2, way } = *http;
                Self {
                    path: Some(path),
                    method: (method != "GET").then_some(method),
                    headers: some(headers),
                    body,
                    expect: (expect != Expectation::default()).then_some(expect),
                    http2: http2.then_some(true),
                    ..of_way(way)
                }
            }
            Check::Tcp(way) => Self { kind: Some(Kind::Tcp), ..of_way(way) },
            Check::Grpc(grpc) => {
                let GrpcCheck { service, headers, way } = *grpc;
                let service = Some(service).filter(|service| !service.is_empty());
                Self { kind: Some(Kind::Grpc), service, headers: some(headers), ..of_way(way) }
            }
            Check::Command(CommandCheck { command, cwd }) => {
                Self { command: Some(command), cwd, ..Self::default() }
            }
        }
    }
}
