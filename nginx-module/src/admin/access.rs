//! Who may use the API.
//!
//! nginx makes unix sockets that anybody can connect to, so the user at the other end is asked for with every request: root,
//! the user that started nginx, and those of `uid=`. Over TCP the API can only be read, and only from this host.

use std::os::fd::BorrowedFd;

use cutover_core::api::{ErrorCode, Failure};
use ngx::ffi::{NGX_LOG_WARN, ngx_connection_t, ngx_http_request_t, sockaddr, sockaddr_in, sockaddr_in6};

use super::Api;
use super::answer::Answer;
use crate::conf::AccessList;
use crate::ext::{connection, log};

/// Who sends the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A process on this host with this user id.
    Local(u32),
    /// Somebody on this host, over TCP.
    Loopback,
}

/// Answers 403, and logs it, unless the sender may read.
pub(super) fn check(request: &ngx_http_request_t, allowed: &AccessList) -> Result<User, Answer> {
    let connection = connection(request);
    match user_of(connection) {
        Some(User::Local(uid)) if !may_use(uid, allowed) => {
            log(
                NGX_LOG_WARN,
                connection.log,
                format_args!(
                    "cutover_api: user with id {uid} refused; allow it with \"cutover_api uid={uid}\""
                ),
            );
            Err(forbidden(format!("the user with id {uid} may not use this API")))
        }
        Some(user) => Ok(user),
        None => {
            log(
                NGX_LOG_WARN,
                connection.log,
                format_args!("cutover_api: a client that is not on this host refused"),
            );
            Err(forbidden("this API is for this host only".to_owned()))
        }
    }
}

/// Answers 403 unless the sender may change the route.
pub(super) fn check_write(api: &Api, user: User) -> Result<(), Answer> {
    if !api.write {
        let message = "this location only reads; changes need \"cutover_api write=on\"";
        return Err(Answer::failure(Failure::new(ErrorCode::ReadOnly, message)));
    }
    match user {
        User::Local(_) => Ok(()),
        User::Loopback => Err(forbidden("changes are accepted on a unix socket only".to_owned())),
    }
}

/// The sender, for the log: checked already.
pub(super) fn name_of(request: &ngx_http_request_t) -> String {
    match user_of(connection(request)) {
        Some(User::Local(uid)) => format!("uid {uid}"),
        Some(User::Loopback) | None => "an unknown user".to_owned(),
    }
}

fn may_use(uid: u32, allowed: &AccessList) -> bool {
    uid == 0 || allowed.0.contains(&uid)
}

fn forbidden(message: String) -> Answer {
    Answer::failure(Failure::new(ErrorCode::Forbidden, message))
}

fn user_of(connection: &ngx_connection_t) -> Option<User> {
    // SAFETY: the listening socket that accepted the connection stays in its cycle.
    let listening = unsafe { &*connection.listening };
    match family(listening.sockaddr)? {
        libc::AF_UNIX => {
            // SAFETY: open for as long as the connection.
            let socket = unsafe { BorrowedFd::borrow_raw(connection.fd) };
            let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
            Some(User::Local(peer.uid.as_raw()))
        }
        _ => is_loopback(connection.sockaddr).then_some(User::Loopback),
    }
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
