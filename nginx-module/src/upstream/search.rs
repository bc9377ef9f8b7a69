//! How the upstream request of an nginx request is found: by the peer of its upstream, else by an entry of the pool.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use ngx::ffi::{ngx_event_get_peer_pt, ngx_http_request_t, ngx_http_upstream_t, ngx_peer_connection_t};

use super::peer;
use super::request::{Progress, UpstreamRequest};

/// The mark by which upstream requests are known in a peer. A static, because a function named twice may have two addresses.
static GET: ngx_event_get_peer_pt = Some(peer::get);

/// The upstream request whose `peer.init` is running; nginx does all its work on one thread.
pub(super) static ENTERING: AtomicPtr<UpstreamRequest> = AtomicPtr::new(ptr::null_mut());

impl UpstreamRequest {
    /// Makes the peer point here, as long as it belongs to no balancer.
    pub(super) fn claim_peer(&self, peer: &mut ngx_peer_connection_t) {
        peer.get = GET;
        peer.data = ptr::from_ref(self).cast_mut().cast();
    }

    /// The upstream request of this upstream.
    #[inline]
    fn of_upstream<'a>(u: &ngx_http_upstream_t) -> Option<&'a Self> {
        let ours = u.peer.get.map(|get| get as usize) == GET.map(|get| get as usize);
        // SAFETY: our get is in a peer only with such data; it lives in the pool of the request.
        if ours { unsafe { u.peer.data.cast::<Self>().as_ref() } } else { None }
    }

    /// The upstream request that was made early for this upstream, if it is not in use yet.
    #[inline]
    pub(super) fn chosen_for<'a>(u: &ngx_http_upstream_t) -> Option<&'a Self> {
        Self::of_upstream(u).filter(|own| own.progress.get() == Progress::Chosen)
    }

    /// The upstream request of a request whose callback nginx calls, and its upstream.
    #[inline]
    pub(super) fn serving<'a>(r: &ngx_http_request_t) -> Option<(&'a Self, *mut ngx_http_upstream_t)> {
        // SAFETY: null, or the upstream of the request.
        let own = unsafe { r.upstream.as_ref() }.and_then(Self::of_upstream);
        // By the request alone if another module has put itself in front of our peer, or another upstream in its place.
        let own = own.or_else(|| Self::remembered(r))?;
        Some((own, own.upstream))
    }

    /// The upstream request of the upstream that the request has now.
    pub(crate) fn current<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: null, or the upstream of the request.
        unsafe { r.upstream.as_ref() }.and_then(Self::of_upstream).or_else(|| Self::entering(r))
    }

    /// The upstream request whose `peer.init` is running: the balancer may evaluate our variables (`hash $cutover_slot`) when the
    /// peer belongs to it already, and not to us yet.
    fn entering<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: null, or the one whose `peer.init` is running.
        let entering = unsafe { ENTERING.load(Ordering::Relaxed).as_ref() }?;
        (ptr::eq(entering.request, r) && ptr::eq(entering.upstream, r.upstream)).then_some(entering)
    }

    /// The latest upstream request of this request (not of its subrequests).
    pub(crate) fn latest<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::current(r).or_else(|| Self::remembered(r))
    }
}
