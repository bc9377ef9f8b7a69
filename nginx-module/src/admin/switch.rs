//! `PUT /v1/groups/NAME/route`: moves the route.

use cutover_core::api::{Change, ErrorCode, Failure, RouteChange, kept_reason};
use cutover_core::event::{Event, Kind};
use cutover_core::route::{Reading, Route, SlotId};
use cutover_core::split::{Percent, Split};
use cutover_core::trial::Deadline;
use ngx::ffi::{NGX_LOG_NOTICE, ngx_http_request_t};

use super::answer::Answer;
use super::body::{Asked, Step};
use super::{access, describe};
use crate::ext::{connection, log};
use crate::group::Group;
use crate::trial;

const NO_REASON: &str = "none given";

/// Bytes of it, escaped: nginx cuts a line off at 2048 (NGX_MAX_ERROR_STR), and what it adds shall still be there.
const MAX_QUOTED: usize = 1500;

/// Makes the change; `may_wait` for one that somebody else is amid.
pub(super) fn run(
    request: &ngx_http_request_t,
    asked: &Asked<RouteChange>,
    may_wait: bool,
) -> Result<Step, Answer> {
    if may_wait && !is_settled(asked.group) {
        return Ok(Step::NotYet);
    }
    let Some(moved) = move_route(asked)? else { return Ok(Step::Made) };
    audit(request, asked, &moved);
    match (moved.in_time, may_wait) {
        (true, _) => Ok(Step::Made),
        // It is tried again, on what is there then.
        (false, true) => Ok(Step::NotYet),
        (false, false) => Err(Answer::internal("others change this route at the same time: ask again")),
    }
}

/// A change that was made.
struct Moved {
    /// The name of the slot that had the traffic.
    from: String,
    route: Route,
    /// Its trial, if it asks for one, is armed. Else somebody has moved the route on before that.
    in_time: bool,
}

/// `None`: the route is as asked for already.
fn move_route(asked: &Asked<RouteChange>) -> Result<Option<Moved>, Answer> {
    let Asked { group, expected, change: wanted } = asked;
    let word = group.word().ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    let words = group.trial_words().ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    let mut seen = group.reading();
    loop {
        check_generation(group, seen, *expected)?;
        let from = group.name_in(seen).to_owned();
        let active = group.active_id(seen).ok_or_else(|| Answer::internal("the group has no slots"))?;
        let change = Change::plan(wanted, *group, active).map_err(Answer::failure)?;
        let same = matches!(seen, Reading::Set(route) if route.to == change.to);
        if same && !change.to.armed && !wanted.fence {
            // It is acknowledged like any other.
            word.touch();
            return Ok(None);
        }
        let slots = [Some(change.to.active), change.to.split.map(Split::second)];
        let is_gone = |id: &SlotId| !group.is_configured(*id);
        if slots.into_iter().flatten().any(|id| is_gone(&id)) {
            return Err(dropped(group));
        }
        match word.switch(seen, Some(active), change.to) {
            // See state::commit: a reload that drops the slot may have looked at the route just before.
            Ok(route) if slots.into_iter().flatten().any(|id| is_gone(&id)) => {
                // If it is refused, the master has taken it back already.
                let _ = word.switch(Reading::Set(route), Some(change.to.active), active.into());
                return Err(dropped(group));
            }
            Ok(route) => {
                let mut in_time = true;
                if let Some(terms) = change.terms {
                    let lease = change.lease_ms.map(|lease_ms| Deadline::after(trial::now(), lease_ms));
                    in_time = words.arm(word, route, &terms, lease, trial::boot());
                    trial::announce(group);
                    if let Some(lease) = lease {
                        trial::wake_by(lease.monotonic_ms);
                    }
                }
                return Ok(Some(Moved { from, route, in_time }));
            }
            Err(other) => seen = other,
        }
    }
}

/// Somebody who has moved the route may still be arming its trial, or may have ended it and be about to move the route back:
/// that takes a moment, unless they were killed at it.
fn is_settled(group: &Group) -> bool {
    let reading = group.reading();
    let on_trial = matches!(reading, Reading::Set(route) if route.to.armed);
    !on_trial || trial::of(group, reading).is_some_and(|(_, trial, _)| !trial.phase.goes_back())
}

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

fn dropped(group: &Group) -> Answer {
    let message = format!(
        "the configuration of group \"{}\" no longer has this slot: ask again; if an upgrade of nginx has just \
         failed, reload nginx",
        group.name
    );
    Answer::failure(Failure::new(ErrorCode::UnknownSlot, message))
}

/// A reason as it is kept with the event.
pub(super) fn reason_of(reason: Option<&str>) -> &str {
    reason.unwrap_or(NO_REASON)
}

/// The same as it is logged, in quotes: nobody may forge a line, or what nginx adds to it.
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

/// Tells of the change, in the log and as an event.
fn audit(request: &ngx_http_request_t, asked: &Asked<RouteChange>, moved: &Moved) {
    let Asked { group, change: asked, .. } = asked;
    let Moved { from, route, .. } = moved;
    let split = route.to.split;
    let to = group.name_of(split.map_or(route.to.active, Split::second));
    let percent = split.and_then(|split| Percent::from_parts(split.share().get()));
    let (who, reason) = (access::name_of(request), asked.reason.as_deref());
    let mut with = Vec::new();
    with.extend(percent.map(|percent| format!(", {percent} of the traffic")));
    with.extend(asked.guard.map(|_| ", guarded".to_owned()));
    with.extend(asked.lease_ms.map(|lease_ms| format!(", leased for {lease_ms} ms")));
    with.extend(asked.rescue.then(|| ", with rescue".to_owned()));
    let logger = connection(request).log;
    log(
        NGX_LOG_NOTICE,
        logger,
        format_args!(
            "cutover: group \"{}\" switched from \"{from}\" to \"{to}\"{}, generation {}, by {who}, reason: {}",
            group.name,
            with.concat(),
            route.generation,
            quoted(reason),
        ),
    );
    let event = Event {
        number: 0,
        unix_ms: trial::now().wall_ms,
        kind: if split.is_some() { Kind::Split } else { Kind::Switch },
        from: from.clone(),
        to: to.to_owned(),
        percent,
        generation: route.generation,
        who,
        reason: reason_of(reason).to_owned(),
        figures: None,
    };
    trial::write_event(group, event, logger);
}
