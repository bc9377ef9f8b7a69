//! `POST /v1/groups/NAME/confirm` and `renew`: a change on trial stays, or gets more time.

use cutover_core::api::{Confirmation, ErrorCode, Failure, Renewal, check_lease};
use cutover_core::event::Kind;
use cutover_core::route::Route;
use cutover_core::trial::{Deadline, Phase, Trial, TrialWords};
use ngx::ffi::{NGX_LOG_INFO, NGX_LOG_NOTICE, ngx_http_request_t};

use super::answer::Answer;
use super::body::{Asked, Step};
use super::switch::{check_generation, quoted, reason_of};
use super::{access, describe};
use crate::ext::{connection, log};
use crate::group::Group;
use crate::trial;

/// The change stays; guard, lease and rescue are done.
pub(super) fn confirm(request: &ngx_http_request_t, asked: &Asked<Confirmation>) -> Result<Step, Answer> {
    let group = asked.group;
    loop {
        let (route, seen, words) = armed(group, asked.expected)?;
        if words.confirm(&seen) {
            if let Some(word) = group.word() {
                word.disarm(route);
            }
            audit(request, group, route, &seen, asked.change.reason.as_deref());
            return Ok(Step::Made);
        }
    }
}

/// The lease ends later.
pub(super) fn renew(request: &ngx_http_request_t, asked: &Asked<Renewal>) -> Result<Step, Answer> {
    let group = asked.group;
    let lease_ms = check_lease(asked.change.lease_ms).map_err(Answer::failure)?;
    let word = group.word().ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    loop {
        let (route, seen, words) = armed(group, asked.expected)?;
        if seen.phase != Phase::Armed {
            return Err(not_armed(group, "is held: it can only be confirmed, or the traffic switched"));
        }
        if seen.lease.is_none() {
            return Err(not_armed(group, "is on trial without a lease: there is nothing to renew"));
        }
        let lease = Deadline::after(trial::now(), lease_ms);
        if words.renew(word, route, &seen, lease) {
            trial::announce(group);
            trial::wake_by(lease.monotonic_ms);
            log(
                NGX_LOG_INFO,
                connection(request).log,
                format_args!(
                    "cutover: the lease of group \"{}\", generation {}, renewed for {lease_ms} ms, by {}",
                    group.name,
                    route.generation,
                    access::name_of(request)
                ),
            );
            return Ok(Step::Made);
        }
    }
}

/// The trial that is under way.
fn armed(group: &Group, expected: Option<u32>) -> Result<(Route, Trial, &TrialWords), Answer> {
    let reading = group.reading();
    check_generation(group, reading, expected)?;
    let trial = trial::of(group, reading);
    let trial = trial.filter(|(_, trial, _)| matches!(trial.phase, Phase::Armed | Phase::Held));
    trial.ok_or_else(|| not_armed(group, "is not on trial: there is nothing to confirm or renew"))
}

fn not_armed(group: &Group, what: &str) -> Answer {
    let now = describe::group(group);
    let message = format!(
        "the route of group \"{}\", generation {}, {what}; \"{}\" is active",
        group.name, now.route.generation, now.route.active
    );
    let failure = Failure::new(ErrorCode::NotArmed, message);
    Answer::failure(Failure { group: Some(Box::new(now)), ..failure })
}

fn audit(request: &ngx_http_request_t, group: &Group, route: Route, seen: &Trial, reason: Option<&str>) {
    let logger = connection(request).log;
    let (slot, who) = (group.name_of(seen.terms.slot), access::name_of(request));
    log(
        NGX_LOG_NOTICE,
        logger,
        format_args!(
            "cutover: group \"{}\" confirmed on \"{slot}\", generation {}, by {who}, reason: {}",
            group.name,
            route.generation,
            quoted(reason)
        ),
    );
    let figures = trial::figures(group, route, &seen.terms, seen.terms.slot);
    let reason = reason_of(reason);
    trial::record(group, Kind::Confirm, slot, slot, route.generation, &who, reason, Some(figures), logger);
}
