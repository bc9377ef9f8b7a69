//! The kernel's asynchronous I/O, as far as a flush needs it: `io_submit(2)` with `IOCB_CMD_FDSYNC`.
//!
//! The structures and numbers are those of the kernel's `linux/aio_abi.h`.

use std::cell::Cell;
use std::ffi::{c_long, c_ulong};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use ngx::ffi::ngx_pid_t;

use crate::ext;

/// `IOCB_CMD_FDSYNC`: as `fdatasync(2)`. The kernel has it since 4.18.
const FDSYNC: u16 = 3;

/// `IOCB_FLAG_RESFD`: the kernel writes to the eventfd named in the request when it is done.
const NOTIFY: u32 = 1;

/// How many flushes of a process may be under way.
const DEPTH: usize = 64;

/// `struct iocb`: a request.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key_and_flags: u64,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// `struct io_event`: a request that is done. `result` is zero or a negative error number.
#[repr(C)]
struct Done {
    data: u64,
    request: u64,
    result: i64,
    more: i64,
}

/// This process's queue of flushes. The kernel knows it by the process: after a fork it is the parent's.
#[derive(Clone, Copy)]
pub(super) struct Queue(c_ulong);

thread_local! {
    /// The process that has opened its queue, and the queue if that succeeded. nginx does all its work on one thread.
    static QUEUE: Cell<(ngx_pid_t, Option<Queue>)> = const { Cell::new((0, None)) };
}

impl Queue {
    /// The queue of this process, made at its first use. `None`: the kernel gives none.
    pub(super) fn of_this_process() -> Option<Self> {
        let pid = ext::pid();
        let (owner, queue) = QUEUE.get();
        if owner == pid {
            return queue;
        }
        let queue = Self::open().ok();
        QUEUE.set((pid, queue));
        queue
    }

    fn open() -> io::Result<Self> {
        let mut context: c_ulong = 0;
        // SAFETY: the kernel writes the context's id there.
        check(unsafe { libc::syscall(libc::SYS_io_setup, DEPTH as c_ulong, &raw mut context) })?;
        Ok(Self(context))
    }

    /// Begins to flush a file; the kernel writes to `eventfd` when that is done. Then [`Self::collect`] has the result,
    /// beside `data`.
    pub(super) fn submit(
        self,
        file: BorrowedFd<'_>,
        eventfd: Option<BorrowedFd<'_>>,
        data: u64,
    ) -> io::Result<()> {
        let number = |fd: BorrowedFd<'_>| fd.as_raw_fd().cast_unsigned();
        let mut request = Request {
            data,
            opcode: FDSYNC,
            fd: number(file),
            flags: if eventfd.is_some() { NOTIFY } else { 0 },
            eventfd: eventfd.map_or(0, number),
            ..Request::default()
        };
        let mut requests = [&raw mut request];
        // SAFETY: one request, which the kernel copies before it returns; it holds both descriptors until it is done.
        let taken =
            check(unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1 as c_long, requests.as_mut_ptr()) })?;
        if taken == 1 { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Calls `each` for every flush that has ended, without waiting.
    pub(super) fn collect(self, mut each: impl FnMut(u64, io::Result<()>)) {
        let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let mut done = [const { MaybeUninit::<Done>::uninit() }; DEPTH];
        loop {
            // SAFETY: room for as many as are asked for; the kernel writes as many as it says.
            let got = check(unsafe {
                libc::syscall(
                    libc::SYS_io_getevents,
                    self.0,
                    0 as c_long,
                    DEPTH as c_long,
                    done.as_mut_ptr(),
                    &raw const no_time,
                )
            });
            let got = got.unwrap_or(0);
            for done in done.iter().take(got) {
                // SAFETY: one of those that the kernel has written.
                let done = unsafe { done.assume_init_ref() };
                each(done.data, result_of(done.result));
            }
            if got < DEPTH {
                return;
            }
        }
    }
}

fn check(returned: c_long) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

fn result_of(result: i64) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO)))
    } else {
        Ok(())
    }
}
