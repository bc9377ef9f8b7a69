//! `POST /v1/groups/NAME/confirm` and `renew`: a change on trial stays, or gets more time.

use cutover_core::api::{Confirmation, ErrorCode, Failure, Renewal, check_lease};
use cutover_core::event::{Kind, RouteEvent};
use cutover_core::trial::{Deadline, Stage};
use ngx::ffi::{NGX_LOG_INFO, NGX_LOG_NOTICE, ngx_http_request_t};

use super::answer::Answer;
use super::change::{ChangeRequest, Step, check_generation, quoted, reason_of};
use super::describe;
use crate::clock;
use crate::ext::{connection, log};
use crate::group::Group;
use crate::trial::{self, OnTrial};

/// The change stays; guard, lease and rescue are done.
pub(super) fn confirm(
    request: &ngx_http_request_t,
    group: &Group,
    change: &ChangeRequest<Confirmation>,
) -> Result<Step, Answer> {
    loop {
        let on_trial = armed(group, change.expected)?;
        if on_trial.words.confirm(&on_trial.trial) {
            if let Some(word) = group.word() {
                word.disarm(on_trial.route);
            }
            audit(request, &on_trial, change);
            return Ok(Step::Made);
        }
    }
}

/// The lease ends later.
pub(super) fn renew(
    request: &ngx_http_request_t,
    group: &Group,
    change: &ChangeRequest<Renewal>,
) -> Result<Step, Answer> {
    let lease_ms = check_lease(change.body.lease_ms).map_err(Answer::failure)?;
    let word = group.word().ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    loop {
        let OnTrial { route, trial: seen, words, .. } = armed(group, change.expected)?;
        if seen.stage != Stage::Armed {
            return Err(not_armed(group, "is held: it can only be confirmed, or the traffic switched"));
        }
        if seen.lease.is_none() {
            return Err(not_armed(group, "is on trial without a lease: there is nothing to renew"));
        }
        let lease = Deadline::after(clock::now(), lease_ms);
        if words.renew(word, route, &seen, lease) {
            group.announce_trial();
            trial::wake_by(lease.monotonic_ms);
            log(
                NGX_LOG_INFO,
                connection(request).log,
                format_args!(
                    "cutover: the lease of group \"{}\", generation {}, renewed for {lease_ms} ms, by {}",
                    group.name,
                    route.generation,
                    change.user.in_full()
                ),
            );
            return Ok(Step::Made);
        }
    }
}

/// The trial that is under way.
fn armed(group: &Group, expected: Option<u32>) -> Result<OnTrial<'_>, Answer> {
    let reading = group.reading();
    check_generation(group, reading, expected)?;
    let on_trial = trial::of(group, reading);
    let on_trial = on_trial.filter(|seen| matches!(seen.trial.stage, Stage::Armed | Stage::Held));
    on_trial.ok_or_else(|| not_armed(group, "is not on trial: there is nothing to confirm or renew"))
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

fn audit(request: &ngx_http_request_t, on_trial: &OnTrial<'_>, change: &ChangeRequest<Confirmation>) {
    let ChangeRequest { user, body: Confirmation { reason }, .. } = change;
    let reason = reason.as_deref();
    let logger = connection(request).log;
    let OnTrial { group, route, .. } = on_trial;
    let slot = group.name_of(on_trial.terms().slot);
    log(
        NGX_LOG_NOTICE,
        logger,
        format_args!(
            "cutover: group \"{}\" confirmed on \"{slot}\", generation {}, by {}, reason: {}",
            group.name,
            route.generation,
            user.in_full(),
            quoted(reason)
        ),
    );
    let event =
        RouteEvent::new(Kind::Confirm, slot, slot, route.generation).by(&user.to_string(), reason_of(reason));
    group.write_event(RouteEvent { figures: Some(on_trial.figures()), ..event }, logger);
}
