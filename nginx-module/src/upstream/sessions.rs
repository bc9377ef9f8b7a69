//! The two callbacks of a peer that keep TLS sessions, each in front of the balancer's own. An nginx that was configured without
//! TLS, and without `--with-compat`, does not have them.

use crate::callbacks::Sessions;

/// Ours, where the balancer has its own.
#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
pub(super) fn wrapped(theirs: Sessions) -> Sessions {
    Sessions {
        set: theirs.set.and(Some(with_tls::set_session)),
        save: theirs.save.and(Some(with_tls::save_session)),
    }
}

#[cfg(not(any(ngx_feature = "ssl", ngx_feature = "compat")))]
pub(super) fn wrapped(none: Sessions) -> Sessions {
    none
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
mod with_tls {
    use std::ffi::c_void;

    use ngx::core::Status;
    use ngx::ffi::{ngx_int_t, ngx_peer_connection_t};

    use crate::upstream::peer::request;

    pub(super) unsafe extern "C" fn set_session(
        pc: *mut ngx_peer_connection_t,
        data: *mut c_void,
    ) -> ngx_int_t {
        // SAFETY: nginx passes peer.data back.
        let request = unsafe { request(data) };
        match request.callbacks().and_then(|callbacks| callbacks.sessions.set) {
            // SAFETY: what nginx would have called, with what it would have passed.
            Some(original) => unsafe { original(pc, request.balancer_data()) },
            None => Status::NGX_OK.into(),
        }
    }

    pub(super) unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
        // SAFETY: nginx passes peer.data back.
        let request = unsafe { request(data) };
        if let Some(original) = request.callbacks().and_then(|callbacks| callbacks.sessions.save) {
            // SAFETY: what nginx would have called, with what it would have passed.
            unsafe { original(pc, request.balancer_data()) };
        }
    }
}
