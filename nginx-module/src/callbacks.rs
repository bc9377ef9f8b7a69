//! The callbacks of one upstream request, as plain data: those that a balancer and a protocol have set, or the module's own in
//! front of them. How they are put in front: [`crate::upstream`].

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use ngx::ffi::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t, ngx_peer_connection_t,
};

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
pub(crate) use with_tls::Sessions;
#[cfg(not(any(ngx_feature = "ssl", ngx_feature = "compat")))]
pub(crate) use without_tls::Sessions;

/// An upstream of the configuration.
pub(crate) type Upstream = ngx_http_upstream_srv_conf_t;

/// The upstream behind a slot. It lives as long as the cycle.
pub(crate) type Target = NonNull<Upstream>;

/// A step of a protocol.
pub(crate) type Step = unsafe extern "C" fn(r: *mut ngx_http_request_t) -> ngx_int_t;
type Finalize = Option<unsafe extern "C" fn(r: *mut ngx_http_request_t, rc: ngx_int_t)>;

/// What most requests of a slot bring, and what takes its place. Nearly all requests of a slot bring the same, so the slot keeps
/// it once and a request only points there: the pool of a request is small.
#[derive(Debug)]
pub(crate) struct Usual {
    pub(crate) theirs: Callbacks,
    pub(crate) ours: Callbacks,
}

/// Callbacks of one upstream request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callbacks {
    pub(crate) get: ngx_event_get_peer_pt,
    pub(crate) free: ngx_event_free_peer_pt,
    pub(crate) notify: ngx_event_notify_peer_pt,
    pub(crate) sessions: Sessions,
    pub(crate) process_header: Option<Step>,
    pub(crate) reinit_request: Option<Step>,
    pub(crate) finalize_request: Finalize,
}

impl Callbacks {
    /// What the upstream has now: after its balancer's `peer.init`.
    pub(crate) fn of(u: &ngx_http_upstream_t) -> Self {
        Self {
            get: u.peer.get,
            free: u.peer.free,
            notify: u.peer.notify,
            sessions: Sessions::of(&u.peer),
            process_header: u.process_header,
            reinit_request: u.reinit_request,
            finalize_request: u.finalize_request,
        }
    }

    #[inline]
    pub(crate) fn put_into(&self, u: &mut ngx_http_upstream_t) {
        u.peer.get = self.get;
        u.peer.free = self.free;
        u.peer.notify = self.notify;
        self.sessions.put_into(&mut u.peer);
        u.process_header = self.process_header;
        u.reinit_request = self.reinit_request;
        u.finalize_request = self.finalize_request;
    }

    /// Whether the upstream has just these; a `false` for two copies of one function costs a little memory.
    #[inline]
    pub(crate) fn are_those_of(&self, u: &ngx_http_upstream_t) -> bool {
        macro_rules! same {
            ($($ours:expr, $theirs:expr;)+) => {
                $(($ours.map(|f| f as usize) == $theirs.map(|f| f as usize)))&&+
            };
        }
        let same = same! {
            self.get, u.peer.get;
            self.free, u.peer.free;
            self.notify, u.peer.notify;
            self.process_header, u.process_header;
            self.reinit_request, u.reinit_request;
            self.finalize_request, u.finalize_request;
        };
        same && self.sessions.are_those_of(&u.peer)
    }

    /// Removes what a balancer has left, so that the next one does not take it for its own.
    pub(crate) fn clear(peer: &mut ngx_peer_connection_t) {
        peer.data = ptr::null_mut::<c_void>();
        peer.notify = None;
        Sessions::clear(peer);
    }
}

/// The two callbacks of a peer that keep TLS sessions.
#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
mod with_tls {
    use ngx::ffi::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt};

    use super::ngx_peer_connection_t;

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Sessions {
        pub(crate) set: ngx_event_set_peer_session_pt,
        pub(crate) save: ngx_event_save_peer_session_pt,
    }

    impl Sessions {
        /// The peer's.
        #[inline]
        pub(crate) fn of(peer: &ngx_peer_connection_t) -> Self {
            Self { set: peer.set_session, save: peer.save_session }
        }

        #[inline]
        pub(crate) fn put_into(self, peer: &mut ngx_peer_connection_t) {
            peer.set_session = self.set;
            peer.save_session = self.save;
        }

        /// Whether the peer has just these.
        #[inline]
        pub(crate) fn are_those_of(self, peer: &ngx_peer_connection_t) -> bool {
            self.set.map(|f| f as usize) == peer.set_session.map(|f| f as usize)
                && self.save.map(|f| f as usize) == peer.save_session.map(|f| f as usize)
        }

        /// Leaves none.
        pub(crate) fn clear(peer: &mut ngx_peer_connection_t) {
            Self { set: None, save: None }.put_into(peer);
        }
    }
}

/// An nginx that was configured without TLS, and without `--with-compat`, does not have them.
#[cfg(not(any(ngx_feature = "ssl", ngx_feature = "compat")))]
mod without_tls {
    use super::ngx_peer_connection_t;

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Sessions;

    impl Sessions {
        pub(crate) fn of(_: &ngx_peer_connection_t) -> Self {
            Self
        }

        pub(crate) fn put_into(self, _: &mut ngx_peer_connection_t) {}

        pub(crate) fn are_those_of(self, _: &ngx_peer_connection_t) -> bool {
            true
        }

        pub(crate) fn clear(_: &mut ngx_peer_connection_t) {}
    }
}
