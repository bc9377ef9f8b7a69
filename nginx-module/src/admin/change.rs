//! A change that a client asks for, and what all kinds of changes have in common.

use cutover_core::api::{ErrorCode, Failure, kept_reason};
use cutover_core::route::Reading;

use super::access::User;
use super::answer::Answer;
use super::describe;
use crate::group::Group;

/// One kind of change.
#[derive(Debug)]
pub(super) struct ChangeRequest<T> {
    /// The generation of `If-Match`.
    pub(super) expected: Option<u32>,
    pub(super) user: User,
    pub(super) body: T,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is made, or need not be.
    Made,
    /// Another process is changing the route: this change is tried again in a moment.
    NotYet,
}

const NO_REASON: &str = "none given";

/// The longest quoted reason in bytes, escaped: nginx cuts a line off at 2048 (NGX_MAX_ERROR_STR), and there must be
/// room for what nginx adds to it.
const MAX_QUOTED: usize = 1500;

/// Answers 412 if the caller expects another generation.
pub(super) fn check_generation(group: &Group, seen: Reading, expected: Option<u32>) -> Result<(), Answer> {
    let Some(expected) = expected.filter(|expected| *expected != seen.generation()) else { return Ok(()) };
    let now = describe::group(group);
    let message = format!(
        "the route of group \"{}\" is at generation {}, not {expected}: \"{}\" is active",
        group.name, now.route.generation, now.route.active
    );
    let failure = Failure::new(ErrorCode::GenerationMismatch, message);
    Err(Answer::failure(Failure { group: Some(Box::new(now)), ..failure }))
}

/// A reason as it is kept with the event.
pub(super) fn reason_of(reason: Option<&str>) -> &str {
    reason.unwrap_or(NO_REASON)
}

/// A reason as it is logged, in quotes: no client may forge a line, or what nginx adds to it.
pub(super) fn quoted(reason: Option<&str>) -> String {
    let Some(reason) = reason else { return NO_REASON.to_owned() };
    // Between double quotes a single one is none.
    let parts: Vec<_> = kept_reason(reason).split('\'').map(|part| part.escape_debug().to_string()).collect();
    let mut quoted = format!("\"{}\"", parts.join("'"));
    if quoted.len() > MAX_QUOTED {
        let end = (0..=MAX_QUOTED).rev().find(|at| quoted.is_char_boundary(*at));
        quoted.truncate(end.unwrap_or(0));
        quoted.push_str("..\"");
    }
    quoted
}
