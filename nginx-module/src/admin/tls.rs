//! TLS of a client's connection, as nginx's variables tell.
//!
//! Variables need no header and no symbol of OpenSSL. So the module builds for an nginx without TLS and loads into it; there, a
//! connection never has TLS.

use ngx::ffi::ngx_http_request_t;

use crate::ext;

/// What is known of the client by TLS.
pub(super) enum Tls {
    /// The connection has no TLS.
    Absent,
    /// nginx did not ask the client for a certificate, or it has none. nginx itself refuses it with `ssl_verify_client on`.
    NoCertificate,
    /// The subject of a certificate that nginx has verified.
    Verified(String),
    /// nginx could not verify the certificate, and goes on all the same (`ssl_verify_client optional_no_ca`). Holds nginx's reason.
    Unverified(String),
}

/// TLS of the connection of this request.
pub(super) fn of(request: &mut ngx_http_request_t) -> Tls {
    if ext::variable(request, "https").as_deref() != Some("on") {
        return Tls::Absent;
    }
    match ext::variable(request, "ssl_client_verify").as_deref() {
        Some("SUCCESS") => Tls::Verified(ext::variable(request, "ssl_client_s_dn").unwrap_or_default()),
        None | Some("" | "NONE") => Tls::NoCertificate,
        Some(failed) => Tls::Unverified(failed.trim_start_matches("FAILED:").to_owned()),
    }
}
