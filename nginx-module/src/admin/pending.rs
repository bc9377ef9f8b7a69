//! A change from the call to its answer: the body is read, the change is parsed, made, and flushed.

use std::cell::OnceCell;
use std::ptr;

use cutover_core::api::{
    Action, Confirmation, ErrorCode, Failure, Renewal, RouteChange, StandbyChoice, parse_change,
    parse_if_match,
};
use ngx::ffi::{ngx_http_request_t, ngx_int_t};
use serde::de::DeserializeOwned;

use super::access::User;
use super::answer::Answer;
use super::change::{ChangeRequest, Step};
use super::pause::Pauses;
use super::{body, durable, headers, standby, switch, trial};
use crate::group::Group;
use crate::memory::flush;
use crate::pool;

/// A change that a request asks for, in the request's pool.
struct Pending {
    request: *mut ngx_http_request_t,
    action: Action,
    group: &'static Group,
    user: User,
    /// Parsed once the body is there.
    change: OnceCell<Parsed>,
    pauses: Pauses,
}

/// A change, by its kind.
enum Parsed {
    Switch(ChangeRequest<RouteChange>),
    Confirm(ChangeRequest<Confirmation>),
    Renew(ChangeRequest<Renewal>),
    Standby(ChangeRequest<StandbyChoice>),
}

/// The mark by which changes are known among the entries of a pool. A static, because a function named twice may have two
/// addresses.
static DROP: pool::Handler = pool::drop_value::<Pending>;

/// Begins a change that may be made: reads the body. Returns what a content handler returns.
pub(super) fn begin(
    request: &mut ngx_http_request_t,
    action: Action,
    group: &'static Group,
    user: User,
) -> ngx_int_t {
    let pending =
        Pending { request, action, group, user, change: OnceCell::new(), pauses: Pauses::default() };
    if pool::add(request.pool, pending, DROP).is_none() {
        return Answer::internal("no memory for the change: ask again").send_without_body(request);
    }
    body::read(request, complete)
}

/// The change of a request. A pool is shared by a request and its subrequests.
fn pending_of<'a>(request: &ngx_http_request_t) -> Option<&'a Pending> {
    // SAFETY: only `begin` uses this handler, with such data.
    let mut all = unsafe { pool::entries::<Pending>(request.pool, DROP) };
    all.find(|pending| ptr::eq(pending.request, request))
}

unsafe extern "C" fn complete(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the request whose body has been read.
    go_on(unsafe { &mut *r });
}

/// Makes the change, at once or after a pause.
fn go_on(request: &mut ngx_http_request_t) {
    let done = match pending_of(request) {
        Some(pending) => pending.go_on(request),
        None => Some(Answer::internal("the change is not known any more")),
    };
    if let Some(answer) = done {
        answer.finish(request);
    }
}

impl Pending {
    /// `None`: the answer follows, when the change is on disk or after a pause.
    fn go_on(&self, request: &mut ngx_http_request_t) -> Option<Answer> {
        let ticket = flush::ticket();
        match self.make(request) {
            Ok(Step::Made) => durable::then_answer(request, self.group, ticket),
            Ok(Step::NotYet) => match self.pauses.pause(request, go_on) {
                Some(()) => None,
                None => {
                    Some(Answer::internal("no memory to wait until another change is complete: ask again"))
                }
            },
            Err(answer) => Some(answer),
        }
    }

    fn make(&self, request: &ngx_http_request_t) -> Result<Step, Answer> {
        let change = match self.change.get() {
            Some(change) => change,
            None => {
                let bytes = body::bytes(request)?;
                self.refuse_if_left_behind()?;
                let change = self.parse(request, &bytes)?;
                self.change.get_or_init(|| change)
            }
        };
        self.refuse_if_left_behind()?;
        match change {
            Parsed::Switch(change) => switch::run(request, self.group, change, self.pauses.are_left()),
            Parsed::Confirm(change) => trial::confirm(request, self.group, change),
            Parsed::Renew(change) => trial::renew(request, self.group, change),
            Parsed::Standby(change) => standby::choose(request, self.group, change),
        }
    }

    fn refuse_if_left_behind(&self) -> Result<(), Answer> {
        if self.group.is_left_behind() {
            let message = "nginx has left the state folder that this worker goes by: ask again";
            return Err(Answer::failure(Failure::new(ErrorCode::LeftBehind, message)));
        }
        Ok(())
    }

    fn parse(&self, request: &ngx_http_request_t, bytes: &[u8]) -> Result<Parsed, Answer> {
        Ok(match self.action {
            Action::Switch => Parsed::Switch(self.parse_as(request, bytes)?),
            Action::Confirm => Parsed::Confirm(self.parse_as(request, bytes)?),
            Action::Renew => Parsed::Renew(self.parse_as(request, bytes)?),
            Action::Standby => Parsed::Standby(self.parse_as(request, bytes)?),
        })
    }

    fn parse_as<T: DeserializeOwned>(
        &self,
        request: &ngx_http_request_t,
        bytes: &[u8],
    ) -> Result<ChangeRequest<T>, Answer> {
        let expected = parse_if_match(headers::value(request, b"if-match")).map_err(Answer::failure)?;
        let content_type = headers::value(request, b"content-type");
        let body = parse_change(self.action, content_type, bytes).map_err(Answer::failure)?;
        Ok(ChangeRequest { expected, user: self.user.clone(), body })
    }
}
