//! `PUT /v1/groups/NAME/route`: moves the route.

use cutover_core::api::{Change, ErrorCode, Failure, RouteChange};
use cutover_core::event::{Kind, RouteEvent};
use cutover_core::fraction::Percent;
use cutover_core::route::{Reading, Route};
use cutover_core::slot::SlotId;
use cutover_core::split::Split;
use cutover_core::trial::{Deadline, Stage};
use ngx::ffi::{NGX_LOG_NOTICE, ngx_http_request_t};

use super::answer::Answer;
use super::change::{ChangeRequest, Step, check_generation, quoted, reason_of};
use crate::clock;
use crate::ext::{connection, log};
use crate::group::Group;
use crate::trial;

/// Makes the change. `may_wait`: as long as another process is changing the route, it may be tried again.
pub(super) fn run(
    request: &ngx_http_request_t,
    group: &Group,
    change: &ChangeRequest<RouteChange>,
    may_wait: bool,
) -> Result<Step, Answer> {
    if may_wait && !is_settled(group) {
        return Ok(Step::NotYet);
    }
    let Some(moved) = move_route(group, change)? else { return Ok(Step::Made) };
    audit(request, group, change, &moved);
    match (moved.in_time, may_wait) {
        (true, _) => Ok(Step::Made),
        // It is tried again, from the route as it is then.
        (false, true) => Ok(Step::NotYet),
        (false, false) => Err(Answer::internal("others change this route at the same time: ask again")),
    }
}

/// A change that was made.
struct Moved {
    /// The name of the slot that had the traffic.
    from: String,
    route: Route,
    /// Its trial, if it asks for one, is armed. Else the route has been moved on before that.
    in_time: bool,
}

/// `None`: the route is as asked for already.
fn move_route(group: &Group, change: &ChangeRequest<RouteChange>) -> Result<Option<Moved>, Answer> {
    let word = group.word().ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    let mut seen = group.reading();
    loop {
        check_generation(group, seen, change.expected)?;
        let from = group.name_in(seen).to_owned();
        let active = group.active_id(seen).ok_or_else(|| Answer::internal("the group has no slots"))?;
        let fallback = fallback_of_all(group, seen, active);
        let planned = Change::plan(&change.body, group, active, fallback).map_err(Answer::failure)?;
        let same = matches!(seen, Reading::Set(route) if route.to == planned.to);
        if same && !planned.to.armed && !change.body.fence {
            // It is acknowledged like any other.
            word.touch();
            return Ok(None);
        }
        let slots = [Some(planned.to.active), planned.to.split.map(Split::second)];
        let is_gone = |id: &SlotId| !group.is_configured(*id);
        if slots.into_iter().flatten().any(|id| is_gone(&id)) {
            return Err(dropped(group));
        }
        match word.switch(seen, Some(active), planned.to) {
            // See state::commit: a reload that drops the slot may have looked at the route just before.
            Ok(route) if slots.into_iter().flatten().any(|id| is_gone(&id)) => {
                // If it is refused, the master has taken it back already.
                let _ = word.switch(Reading::Set(route), Some(planned.to.active), active.into());
                return Err(dropped(group));
            }
            Ok(route) => return Ok(Some(Moved { from, route, in_time: arm(group, route, &planned) })),
            Err(other) => seen = other,
        }
    }
}

/// Where the traffic goes back to, while the slot that has all of it is on trial.
fn fallback_of_all(group: &Group, seen: Reading, active: SlotId) -> Option<SlotId> {
    let on_trial = trial::of(group, seen).filter(|on_trial| on_trial.trial.stage == Stage::Armed)?;
    let terms = on_trial.terms();
    (terms.slot == active).then_some(terms.fallback)
}

/// Arms the trial of a route that was just moved, if it has one. `false`: the route has been moved on before that.
fn arm(group: &Group, route: Route, planned: &Change) -> bool {
    let (Some(terms), Some(word), Some(words)) = (planned.terms, group.word(), group.trial_words()) else {
        return true;
    };
    let lease = planned.lease_ms.map(|lease_ms| Deadline::after(clock::now(), lease_ms));
    let in_time = words.arm(word, route, &terms, lease, clock::boot());
    group.announce_trial();
    if let Some(lease) = lease {
        trial::wake_by(lease.monotonic_ms);
    }
    in_time
}

/// Whether no trial of the route is being armed or ended: the process that does it needs a moment, unless it was killed.
fn is_settled(group: &Group) -> bool {
    let reading = group.reading();
    let armed = matches!(reading, Reading::Set(route) if route.to.armed);
    !armed || trial::of(group, reading).is_some_and(|on_trial| !on_trial.trial.stage.goes_back())
}

fn dropped(group: &Group) -> Answer {
    let message = format!(
        "the configuration of group \"{}\" no longer has this slot: ask again; if an upgrade of nginx has just \
         failed, reload nginx",
        group.name
    );
    Answer::failure(Failure::new(ErrorCode::UnknownSlot, message))
}

/// Writes the change to the log and as an event.
fn audit(request: &ngx_http_request_t, group: &Group, change: &ChangeRequest<RouteChange>, moved: &Moved) {
    let ChangeRequest { user, body: change, .. } = change;
    let Moved { from, route, .. } = moved;
    let split = route.to.split;
    let to = group.name_of(split.map_or(route.to.active, Split::second));
    let percent = split.and_then(|split| Percent::from_parts(split.share().get()));
    let reason = change.reason.as_deref();
    let mut with = Vec::new();
    with.extend(percent.map(|percent| format!(", {percent} of the traffic")));
    with.extend(change.guard.map(|_| ", guarded".to_owned()));
    with.extend(change.lease_ms.map(|lease_ms| format!(", leased for {lease_ms} ms")));
    with.extend(change.rescue.then(|| ", with rescue".to_owned()));
    let logger = connection(request).log;
    log(
        NGX_LOG_NOTICE,
        logger,
        format_args!(
            "cutover: group \"{}\" switched from \"{from}\" to \"{to}\"{}, generation {}, by {}, reason: {}",
            group.name,
            with.concat(),
            route.generation,
            user.in_full(),
            quoted(reason),
        ),
    );
    let kind = if split.is_some() { Kind::Split } else { Kind::Switch };
    let event = RouteEvent::new(kind, from, to, route.generation).by(&user.to_string(), reason_of(reason));
    group.write_event(RouteEvent { percent, ..event }, logger);
}
