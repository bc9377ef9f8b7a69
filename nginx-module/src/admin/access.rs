//! Who may use the API.
//!
//! | connection | reads | changes, with `write=on` |
//! |---|---|---|
//! | unix socket | root, the user that started nginx, those of `uid=` | the same |
//! | TCP from this host | anybody; with `token_file` a client that has the token | a client that has the token |
//! | TCP from elsewhere | nobody; with `remote=on` a client with TLS and the token | the same |
//!
//! nginx makes unix sockets that anybody can connect to, so the user at the other end is asked for with every request. A web
//! page that a user of this host looks at could call the API too: browsers send `Origin` with what pages do, and that is
//! refused.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use cutover_core::api::{ErrorCode, Failure};
use ngx::ffi::{NGX_LOG_WARN, ngx_connection_t, ngx_http_request_t, sockaddr, sockaddr_in, sockaddr_in6};

use super::answer::Answer;
use super::headers;
use super::tls::{self, Tls};
use crate::conf::Api;
use crate::ext::{connection, log, text};

/// Who sends the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A process on this host with this user id.
    Local(u32),
    /// A client that has the token.
    Token {
        /// Its address, if it is not on this host.
        from: Option<String>,
        /// The subject of its certificate, if nginx has verified one.
        certificate: Option<String>,
    },
    /// A client on this host, over TCP.
    Loopback,
}

/// The user as an event keeps it, in 31 bytes.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(uid) => write!(f, "uid {uid}"),
            Self::Token { from: Some(address), .. } => write!(f, "token from {address}"),
            Self::Token { from: None, .. } => f.write_str("token"),
            Self::Loopback => f.write_str("an unknown user"),
        }
    }
}

impl User {
    /// The user as the log names it.
    pub(super) fn in_full(&self) -> String {
        match self {
            Self::Token { certificate: Some(subject), .. } => {
                format!("{self} with the certificate {}", quoted_subject(subject))
            }
            other => other.to_string(),
        }
    }
}

/// Bytes of a subject that the log shows; nginx cuts a line off at 2048.
const MAX_SUBJECT: usize = 200;

/// A subject is what a CA has signed. Even so it must not forge a line.
fn quoted_subject(subject: &str) -> String {
    let shown: String = subject.escape_debug().take(MAX_SUBJECT).collect();
    format!("\"{shown}\"")
}

/// Answers 401 or 403, and logs it, unless the sender may read.
pub(super) fn check(request: &mut ngx_http_request_t, api: &Api) -> Result<User, Answer> {
    if headers::value(request, b"origin").is_some() {
        let message =
            "the request has an \"Origin\": it comes from a web page, and pages may not use this API";
        return Err(refused(request, ErrorCode::FromAPage, "a web page", message.to_owned()));
    }
    match peer_of(connection(request)) {
        Some(Peer::Local(uid)) if may_use(uid, api) => Ok(User::Local(uid)),
        Some(Peer::Local(uid)) => {
            let who = format!("user with id {uid}");
            let message = format!(
                "the user with id {uid} may not use this API; \"cutover_api uid={uid}\" would allow it"
            );
            Err(refused(request, ErrorCode::Forbidden, &who, message))
        }
        Some(Peer::Remote) if !api.remote => {
            let message = "this API is for this host only".to_owned();
            Err(refused(request, ErrorCode::Forbidden, "a client that is not on this host", message))
        }
        Some(Peer::Remote) => {
            let certificate = check_tls(request)?;
            let address = text(&connection(request).addr_text);
            by_token(request, api).map(|()| User::Token { from: Some(address), certificate })
        }
        Some(Peer::Loopback) if api.token.is_some() => {
            by_token(request, api)?;
            let certificate = match tls::of(request) {
                Tls::Verified(subject) => Some(subject),
                _ => None,
            };
            Ok(User::Token { from: None, certificate })
        }
        Some(Peer::Loopback) if is_asked_for_by_address(request) => Ok(User::Loopback),
        Some(Peer::Loopback) => {
            let host = text(&request.headers_in.server);
            let message = format!(
                "the request is for the host \"{host}\": without a \"token_file\" this API answers to \"localhost\" and to \
                 addresses, because a web page can give any name to this host"
            );
            Err(refused(request, ErrorCode::FromAPage, "perhaps a web page", message))
        }
        None => {
            let message = "nobody is known at the other end".to_owned();
            Err(refused(request, ErrorCode::Forbidden, "an unknown client", message))
        }
    }
}

/// Refuses a client of another host without TLS, or with a certificate that nginx could not verify. Returns the subject of a
/// certificate that nginx has verified.
fn check_tls(request: &mut ngx_http_request_t) -> Result<Option<String>, Answer> {
    let (who, message) = match tls::of(request) {
        Tls::Verified(subject) => return Ok(Some(subject)),
        Tls::NoCertificate => return Ok(None),
        Tls::Unverified(reason) => (
            "a client with a certificate that is not verified",
            format!(
                "nginx could not verify the certificate of this client: {reason}; add its CA to \
                 \"ssl_client_certificate\", and set \"ssl_verify_client on\""
            ),
        ),
        Tls::Absent => {
            let token = match headers::value(request, b"authorization") {
                Some(_) => "; the token was sent without encryption, so replace it",
                None => "",
            };
            let message = format!(
                "clients of other hosts need TLS: use \"https://\" and a \"listen\" with \"ssl\" in this server{token}"
            );
            ("a client of another host without TLS", message)
        }
    };
    Err(refused(request, ErrorCode::Forbidden, who, message))
}

fn by_token(request: &ngx_http_request_t, api: &Api) -> Result<(), Answer> {
    let given = headers::value(request, b"authorization");
    match (&api.token, given) {
        (Some(token), Some(given)) if token.is_in(given) => Ok(()),
        (_, given) => {
            let who =
                if given.is_some() { "a client with a wrong token" } else { "a client without a token" };
            let message =
                "this API needs \"Authorization: Bearer TOKEN\" with the token of its token_file".to_owned();
            Err(refused(request, ErrorCode::Unauthorized, who, message))
        }
    }
}

/// Answers 403 unless the sender may change the route.
pub(super) fn check_write(api: &Api, user: &User) -> Result<(), Answer> {
    if !api.write {
        let message = "this location only reads; changes need \"cutover_api write=on\"";
        return Err(Answer::failure(Failure::new(ErrorCode::ReadOnly, message)));
    }
    match user {
        User::Local(_) | User::Token { .. } => Ok(()),
        User::Loopback => {
            let message =
                "over TCP changes need a token: give \"cutover_api\" a \"token_file\", or use a unix socket";
            Err(Answer::failure(Failure::new(ErrorCode::Forbidden, message)))
        }
    }
}

fn refused(request: &ngx_http_request_t, code: ErrorCode, who: &str, message: String) -> Answer {
    log(NGX_LOG_WARN, connection(request).log, format_args!("cutover_api: {who} refused: {message}"));
    Answer::failure(Failure::new(code, message))
}

/// Whether the request names an address. A page whose own name resolves to this host (DNS rebinding) sends that name, and no
/// `Origin`.
fn is_asked_for_by_address(request: &ngx_http_request_t) -> bool {
    let host = text(&request.headers_in.server);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    host.is_empty() || host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn may_use(uid: u32, api: &Api) -> bool {
    uid == 0 || api.users.0.contains(&uid)
}

/// What is at the other end.
enum Peer {
    Local(u32),
    Loopback,
    Remote,
}

fn peer_of(connection: &ngx_connection_t) -> Option<Peer> {
    // SAFETY: the listening socket that accepted the connection stays in its cycle.
    let listening = unsafe { &*connection.listening };
    match family(listening.sockaddr)? {
        libc::AF_UNIX => {
            // SAFETY: open for as long as the connection.
            let socket = unsafe { BorrowedFd::borrow_raw(connection.fd) };
            let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
            Some(Peer::Local(peer.uid.as_raw()))
        }
        // Both: nginx's idea of the client may come from a header (ngx_http_realip_module), and the socket's from a proxy.
        _ if is_loopback(connection.sockaddr) && socket_is_loopback(connection) => Some(Peer::Loopback),
        _ => Some(Peer::Remote),
    }
}

/// Who is really at the other end of the connection.
fn socket_is_loopback(connection: &ngx_connection_t) -> bool {
    // A stream of QUIC has no socket of its own (ngx_quic_create_stream), so nothing is known of it: it counts as remote.
    if connection.fd < 0 {
        return false;
    }
    // SAFETY: open for as long as the connection.
    let socket = unsafe { BorrowedFd::borrow_raw(connection.fd) };
    let peer = rustix::net::getpeername(socket).ok().flatten();
    let peer = peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

fn is_loopback(address: *const sockaddr) -> bool {
    match family(address) {
        Some(libc::AF_INET) => {
            // SAFETY: an AF_INET address is a sockaddr_in.
            let address = unsafe { &*address.cast::<sockaddr_in>() };
            address.sin_addr.s_addr.to_ne_bytes().first() == Some(&127)
        }
        Some(libc::AF_INET6) => {
            // SAFETY: an AF_INET6 address is a sockaddr_in6.
            let address = unsafe { &*address.cast::<sockaddr_in6>() };
            // SAFETY: all views of an in6_addr are 16 plain bytes.
            let bytes = unsafe { address.sin6_addr.__in6_u.__u6_addr8 };
            std::net::Ipv6Addr::from(bytes).to_canonical().is_loopback()
        }
        _ => false,
    }
}

fn family(address: *const sockaddr) -> Option<i32> {
    // SAFETY: null, or an address that nginx keeps for its socket.
    unsafe { address.as_ref() }.map(|address| i32::from(address.sa_family))
}
