//! The two callbacks of a peer that keep TLS sessions. An nginx that was configured without TLS, and without `--with-compat`,
//! does not have them.

use ngx::ffi::ngx_peer_connection_t;

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
pub(super) use with_tls::Sessions;
#[cfg(not(any(ngx_feature = "ssl", ngx_feature = "compat")))]
pub(super) use without_tls::Sessions;

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
mod with_tls {
    use std::ffi::c_void;

    use ngx::core::Status;
    use ngx::ffi::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt, ngx_int_t};

    use super::ngx_peer_connection_t;
    use crate::upstream::peer::record;

    /// What a balancer, or ours, does about sessions.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::upstream) struct Sessions {
        set: ngx_event_set_peer_session_pt,
        save: ngx_event_save_peer_session_pt,
    }

    impl Sessions {
        /// The peer's.
        #[inline]
        pub(in crate::upstream) fn of(peer: &ngx_peer_connection_t) -> Self {
            Self { set: peer.set_session, save: peer.save_session }
        }

        /// Ours, where there are some.
        pub(in crate::upstream) fn wrapped(self) -> Self {
            Self { set: self.set.and(Some(set_session)), save: self.save.and(Some(save_session)) }
        }

        #[inline]
        pub(in crate::upstream) fn put_into(self, peer: &mut ngx_peer_connection_t) {
            peer.set_session = self.set;
            peer.save_session = self.save;
        }

        /// Whether the peer has just these.
        #[inline]
        pub(in crate::upstream) fn are_those_of(self, peer: &ngx_peer_connection_t) -> bool {
            self.set.map(|f| f as usize) == peer.set_session.map(|f| f as usize)
                && self.save.map(|f| f as usize) == peer.save_session.map(|f| f as usize)
        }

        /// Leaves none.
        pub(in crate::upstream) fn clear(peer: &mut ngx_peer_connection_t) {
            Self { set: None, save: None }.put_into(peer);
        }
    }

    unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
        // SAFETY: nginx passes peer.data back.
        let record = unsafe { record(data) };
        match record.callbacks().and_then(|callbacks| callbacks.sessions.set) {
            // SAFETY: what nginx would have called, with what it would have passed.
            Some(original) => unsafe { original(pc, record.balancer_data()) },
            None => Status::NGX_OK.into(),
        }
    }

    unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
        // SAFETY: nginx passes peer.data back.
        let record = unsafe { record(data) };
        if let Some(original) = record.callbacks().and_then(|callbacks| callbacks.sessions.save) {
            // SAFETY: what nginx would have called, with what it would have passed.
            unsafe { original(pc, record.balancer_data()) };
        }
    }
}

#[cfg(not(any(ngx_feature = "ssl", ngx_feature = "compat")))]
mod without_tls {
    use super::ngx_peer_connection_t;

    /// There is nothing to keep.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::upstream) struct Sessions;

    impl Sessions {
        pub(in crate::upstream) fn of(_: &ngx_peer_connection_t) -> Self {
            Self
        }

        pub(in crate::upstream) fn wrapped(self) -> Self {
            self
        }

        pub(in crate::upstream) fn put_into(self, _: &mut ngx_peer_connection_t) {}

        pub(in crate::upstream) fn are_those_of(self, _: &ngx_peer_connection_t) -> bool {
            true
        }

        pub(in crate::upstream) fn clear(_: &mut ngx_peer_connection_t) {}
    }
}
