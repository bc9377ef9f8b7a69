//! Reading the body of a change, then doing it.

use std::os::fd::BorrowedFd;

use cutover_core::api::{Call, ErrorCode, Failure, MAX_BODY, parse_call, parse_change, parse_if_match};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_SPECIAL_RESPONSE, ngx_buf_t, ngx_chain_t, ngx_http_finalize_request,
    ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
};
use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::patience::Patience;
use super::{find, flush, headers, is_left_behind, path_in_location, standby, switch, trial};
use crate::ext::text;
use crate::group::Group;
use crate::layout::bits;
use crate::state;

/// Refuses a body that says it is too large, before any of it is read.
pub(super) fn check_length(request: &ngx_http_request_t) -> Result<(), Answer> {
    if request.headers_in.content_length_n > MAX_BODY as i64 { Err(too_large()) } else { Ok(()) }
}

/// Reads the body, then goes on with [`run`]; gives back what a content handler returns.
pub(super) fn read(request: &mut ngx_http_request_t) -> ngx_int_t {
    bits::ngx_http_request_t::REQUEST_BODY_IN_SINGLE_BUF.set(request, true);
    // SAFETY: the request that is served; nginx calls `complete` when all of the body is there.
    let rc = unsafe { ngx_http_read_client_request_body(request, Some(complete)) };
    if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t { rc } else { Status::NGX_DONE.into() }
}

unsafe extern "C" fn complete(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the request whose body has been read.
    go_on(unsafe { &mut *r }, Patience::WHOLE);
}

/// Does what the request asks for, at once or when it need not wait for others any more.
pub(super) fn go_on(request: &mut ngx_http_request_t, patience: Patience) {
    let done = match bytes(request) {
        Ok(body) => run(request, &body, patience),
        Err(answer) => Some(answer),
    };
    if let Some(answer) = done {
        finish(request, answer);
    }
}

/// `None`: the answer follows, when it is on disk or when others are done.
fn run(request: &mut ngx_http_request_t, body: &[u8], patience: Patience) -> Option<Answer> {
    let path = path_in_location(request);
    let ticket = state::flush::ticket();
    let done = match parse_call(&text(&request.method_name), &path) {
        Ok(call @ Call::Switch(name)) => change(request, &call, name, body, |request, asked| {
            switch::run(request, asked, patience.is_left())
        }),
        Ok(call @ Call::Confirm(name)) => change(request, &call, name, body, trial::confirm),
        Ok(call @ Call::Renew(name)) => change(request, &call, name, body, trial::renew),
        Ok(call @ Call::Standby(name)) => change(request, &call, name, body, standby::choose),
        Ok(Call::Groups | Call::Group(_) | Call::Metrics) => Err(Answer::internal("not a change")),
        Err(failure) => Err(Answer::failure(failure)),
    };
    match done {
        Ok((group, Step::Made)) => flush::then_answer(request, group, ticket),
        Ok((_, Step::NotYet)) => match patience.pause(request) {
            Some(()) => None,
            None => Some(Answer::internal("no memory to wait until another change is complete: ask again")),
        },
        Err(answer) => Some(answer),
    }
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is made, or need not be.
    Made,
    /// Somebody else is amid one: it shall be tried again in a moment.
    NotYet,
}

/// A change that somebody asks for.
pub(super) struct Asked<T> {
    pub(super) group: &'static Group,
    /// The generation of `If-Match`.
    pub(super) expected: Option<u32>,
    pub(super) change: T,
}

fn change<T: DeserializeOwned>(
    request: &ngx_http_request_t,
    call: &Call<'_>,
    name: &str,
    body: &[u8],
    make: impl FnOnce(&ngx_http_request_t, &Asked<T>) -> Result<Step, Answer>,
) -> Result<(&'static Group, Step), Answer> {
    let group = find(request, name)?;
    if is_left_behind(group) {
        let message = "nginx has left the state folder that this worker goes by: ask again";
        return Err(Answer::failure(Failure::new(ErrorCode::LeftBehind, message)));
    }
    let expected = parse_if_match(headers::value(request, b"if-match")).map_err(Answer::failure)?;
    let content_type = headers::value(request, b"content-type");
    let change = parse_change(call, content_type, body).map_err(Answer::failure)?;
    let step = make(request, &Asked { group, expected, change })?;
    Ok((group, step))
}

/// Sends the answer and ends the request.
pub(super) fn finish(request: &mut ngx_http_request_t, answer: Answer) {
    let rc = answer.send(request);
    // SAFETY: the request whose body reading counted one more user of it, which this releases.
    unsafe { ngx_http_finalize_request(request, rc) };
}

fn bytes(request: &ngx_http_request_t) -> Result<Vec<u8>, Answer> {
    let mut bytes = Vec::new();
    // SAFETY: null, or the body that nginx has just read.
    let body = unsafe { request.request_body.as_ref() };
    let mut next: *const ngx_chain_t = body.map_or(std::ptr::null(), |body| body.bufs);
    // SAFETY: nginx ends a chain with null.
    while let Some(link) = unsafe { next.as_ref() } {
        // SAFETY: each link of a body has a buffer.
        let buffer = unsafe { &*link.buf };
        if bytes.len() + length(buffer) > MAX_BODY {
            return Err(too_large());
        }
        append(buffer, &mut bytes).map_err(|_| Answer::internal("the body could not be read back"))?;
        next = link.next;
    }
    Ok(bytes)
}

fn length(buffer: &ngx_buf_t) -> usize {
    if bits::ngx_buf_t::IN_FILE.is_set(buffer) {
        (buffer.file_last - buffer.file_pos) as usize
    } else {
        (buffer.last as usize).saturating_sub(buffer.pos as usize)
    }
}

/// nginx keeps what does not fit `client_body_buffer_size` in a file.
fn append(buffer: &ngx_buf_t, bytes: &mut Vec<u8>) -> rustix::io::Result<()> {
    let length = length(buffer);
    if !bits::ngx_buf_t::IN_FILE.is_set(buffer) {
        // SAFETY: a buffer in memory holds the bytes from `pos` to `last`.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(buffer.pos, length) });
        return Ok(());
    }
    // SAFETY: a buffer in a file has the file.
    let fd = unsafe { (*buffer.file).fd };
    // SAFETY: open for as long as the request.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut content = vec![0; length];
    let mut offset = buffer.file_pos as u64;
    let mut rest = content.as_mut_slice();
    while !rest.is_empty() {
        match rustix::io::pread(file, &mut *rest, offset)? {
            0 => return Err(rustix::io::Errno::IO),
            read => {
                offset += read as u64;
                rest = rest.split_at_mut_checked(read).map(|(_, rest)| rest).unwrap_or_default();
            }
        }
    }
    bytes.append(&mut content);
    Ok(())
}

fn too_large() -> Answer {
    let message = format!("the body is larger than {MAX_BODY} bytes");
    Answer::failure(Failure::new(ErrorCode::BodyTooLarge, message))
}
