//! The module's own clock: nginx's is exact to a millisecond and stands still between two events.

use std::mem::MaybeUninit;

/// Microseconds of the system's monotonic clock.
pub(crate) fn micros() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: room for a time; this clock always exists, so the call fills it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    // SAFETY: filled just now.
    let now = unsafe { now.assume_init() };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
