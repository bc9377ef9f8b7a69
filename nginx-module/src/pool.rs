//! What the module keeps in a request's pool, each value in a clean-up entry. An entry is found again by its handler.
//!
//! # Soundness
//!
//! A handler is used with one type of data only: [`add`] and [`entries`] are called with the same pair of them. nginx links the
//! entries of a pool, latest first, and ends them with null; a pool lives as long as its request, and a request shares it with
//! its subrequests.

use std::ffi::c_void;
use std::ptr;

use ngx::ffi::{ngx_palloc, ngx_pool_cleanup_add, ngx_pool_cleanup_t, ngx_pool_t};

/// What nginx calls when the pool is destroyed. Handlers are statics: a function that is named twice may have two addresses.
pub(crate) type Handler = unsafe extern "C" fn(*mut c_void);

/// Moves a value into the pool, without an entry: nothing is called for it. `None`: the pool is exhausted.
pub(crate) fn place<'a, T>(pool: *mut ngx_pool_t, value: T) -> Option<&'a mut T> {
    // SAFETY: callers pass the pool of the request that they serve.
    let place: *mut T = unsafe { ngx_palloc(pool, size_of::<T>()) }.cast();
    if place.is_null() {
        return None;
    }
    // SAFETY: room for the value; nginx aligns what it gives for any type.
    unsafe { place.write(value) };
    // SAFETY: just written; it lives as long as the pool.
    unsafe { place.as_mut() }
}

/// Moves a value into an entry of the pool. `None`: the pool is exhausted.
pub(crate) fn add<'a, T>(pool: *mut ngx_pool_t, value: T, handler: Handler) -> Option<&'a mut T> {
    // SAFETY: callers pass the pool of the request that they serve.
    let entry = unsafe { ngx_pool_cleanup_add(pool, size_of::<T>()) };
    // SAFETY: an entry of the pool, or null.
    let entry = unsafe { entry.as_mut() }?;
    let place: *mut T = entry.data.cast();
    // SAFETY: nginx allocated the size of it there, aligned for any type.
    unsafe { place.write(value) };
    entry.handler = Some(handler);
    // SAFETY: just written; it lives as long as the pool.
    unsafe { place.as_mut() }
}

/// Adds an entry for a value that is in the pool already. `None`: the pool is exhausted.
pub(crate) fn add_entry_of<T>(pool: *mut ngx_pool_t, value: &T, handler: Handler) -> Option<()> {
    // SAFETY: callers pass the pool of the request that they serve.
    let entry = unsafe { ngx_pool_cleanup_add(pool, 0) };
    // SAFETY: an entry of the pool, or null.
    let entry = unsafe { entry.as_mut() }?;
    entry.data = ptr::from_ref(value).cast_mut().cast();
    entry.handler = Some(handler);
    Some(())
}

/// The values of all entries with this handler, latest first.
///
/// # Safety
/// The data of such entries must be of type `T`.
pub(crate) unsafe fn entries<'a, T: 'a>(
    pool: *mut ngx_pool_t,
    handler: Handler,
) -> impl Iterator<Item = &'a T> {
    // SAFETY: callers pass the pool of the request that they serve.
    let mut next: *mut ngx_pool_cleanup_t = unsafe { (*pool).cleanup };
    std::iter::from_fn(move || {
        loop {
            // SAFETY: null, or an entry of the pool.
            let entry = unsafe { next.as_ref() }?;
            next = entry.next;
            if entry.handler.is_some_and(|own| ptr::fn_addr_eq(own, handler)) {
                // SAFETY: the caller vouches for the type; the value lives as long as the pool.
                return unsafe { entry.data.cast::<T>().as_ref() };
            }
        }
    })
}

/// A handler that drops the value of its entry.
///
/// # Safety
/// `data` must be a value of type `T` that is not used any more.
pub(crate) unsafe extern "C" fn drop_value<T>(data: *mut c_void) {
    // SAFETY: the caller, nginx at the pool's end, passes what `add` has written.
    unsafe { ptr::drop_in_place(data.cast::<T>()) };
}
