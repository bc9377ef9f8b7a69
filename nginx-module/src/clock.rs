//! The clocks that the module reads.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

use cutover_core::trial::Deadline;
use ngx::ffi::{ngx_cached_time, ngx_current_msec};

/// Microseconds of the system's monotonic clock, read now: nginx's own is exact to a millisecond and is not updated between
/// two events.
pub(crate) fn micros() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: room for a time; this clock always exists, so the call fills it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    // SAFETY: filled just now.
    let now = unsafe { now.assume_init() };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// Milliseconds of the monotonic clock, as nginx has read it last.
#[inline]
pub(crate) fn monotonic_ms() -> u64 {
    // SAFETY: nginx updates it between two events, on this thread.
    unsafe { ngx_current_msec as u64 }
}

/// Both clocks, as nginx has read them last.
pub(crate) fn now() -> Deadline {
    // SAFETY: nginx updates it between two events, on this thread.
    let time = unsafe { ngx_cached_time };
    // SAFETY: set before any configuration is read.
    let time = unsafe { &*time.cast_const() };
    let wall_ms = u64::try_from(time.sec).unwrap_or(0) * 1000 + time.msec as u64;
    Deadline { monotonic_ms: monotonic_ms(), wall_ms }
}

/// Tells one run of the system from another: half of a hash of the kernel's own id. The master reads it, workers inherit it:
/// no file is read between the store of a route and the arming of its trial.
pub(crate) fn boot() -> u16 {
    static BOOT: OnceLock<u16> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.iter().fold(1u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(u16::from(*byte)))
    })
}
