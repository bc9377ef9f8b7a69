//! The end of a trial that has failed: the traffic goes back, unless the fallback is failing too.

use cutover_core::event::{Kind, RouteEvent};
use cutover_core::guard::{Figures, is_failing_without_guard};
use cutover_core::route::{Reading, Route};
use cutover_core::trial::Stage;
use ngx::ffi::{NGX_LOG_ALERT, NGX_LOG_WARN, ngx_log_t};

use super::on_trial::OnTrial;
use crate::ext;
use crate::group::Group;

/// Why a trial ends.
pub(super) struct Failed {
    /// [`Stage::Tripped`] or [`Stage::Expired`].
    pub(super) stage: Stage,
    pub(super) reason: String,
    /// What the slot on trial has done.
    pub(super) figures: Figures,
}

impl Failed {
    fn by(&self) -> &'static str {
        if self.stage == Stage::Expired { "lease" } else { "guard" }
    }

    fn kind(&self) -> Kind {
        if self.stage == Stage::Expired { Kind::Lease } else { Kind::Guard }
    }
}

impl OnTrial<'_> {
    /// Ends the trial, and takes the traffic back unless the fallback is failing too, or gone.
    pub(super) fn go_back(&self, failed: &Failed, log: *mut ngx_log_t) {
        let fallback = self.terms().fallback;
        if self.group.position_of(fallback).is_none() && self.group.is_configured(fallback) {
            // A worker of an earlier configuration cannot tell how the slot is doing. The workers that know it will look.
            return;
        }
        match self.obstacle() {
            Some(obstacle) => {
                if self.words.end(&self.trial, Stage::Held) {
                    self.hold(failed, &obstacle, log);
                }
            }
            None => {
                if self.words.end(&self.trial, failed.stage) {
                    self.finish(failed, log);
                }
            }
        }
    }

    /// Why the fallback cannot take the traffic.
    fn obstacle(&self) -> Option<String> {
        let terms = self.terms();
        if !self.group.is_configured(terms.fallback) {
            return Some("the slot to go back to is no longer configured".to_owned());
        }
        let fallback = self.figures_of(terms.fallback);
        let failing = match terms.guard {
            Some(guard) => guard.is_failing(&fallback),
            None => is_failing_without_guard(&fallback),
        };
        failing.then(|| {
            let name = self.group.name_of(terms.fallback);
            format!("slot \"{name}\" is failing too: {} of {} requests", fallback.errors, fallback.requests)
        })
    }

    fn hold(&self, failed: &Failed, obstacle: &str, log: *mut ngx_log_t) {
        let Self { group, route, .. } = self;
        let slot = group.name_of(self.terms().slot);
        let reason = format!("{}; {obstacle}", failed.reason);
        ext::log(
            NGX_LOG_ALERT,
            log,
            format_args!(
                "cutover: group \"{}\" stays on \"{slot}\", generation {}: {reason}; look at both slots, then switch or confirm",
                group.name, route.generation
            ),
        );
        let event = RouteEvent::new(Kind::Held, slot, slot, route.generation).by(failed.by(), &reason);
        group.write_event(RouteEvent { figures: Some(failed.figures), ..event }, log);
    }

    /// The trial has ended: the route goes back, unless another process has moved it meanwhile.
    pub(super) fn finish(&self, failed: &Failed, log: *mut ngx_log_t) {
        let Self { group, route, .. } = *self;
        let Some(word) = group.word() else { return };
        let way_back = self.terms().way_back();
        let Ok(back) = word.switch(Reading::Set(route), Some(route.to.active), way_back) else { return };
        let (from, to) = (group.name_of(self.terms().slot), group.name_of(self.terms().fallback));
        let reason = &failed.reason;
        ext::log(
            NGX_LOG_WARN,
            log,
            format_args!(
                "cutover: group \"{}\" went back from \"{from}\" to \"{to}\", generation {}, by the {}, reason: {reason}",
                group.name,
                back.generation,
                failed.by()
            ),
        );
        let event = RouteEvent::new(failed.kind(), from, to, back.generation).by(failed.by(), reason);
        group.write_event(RouteEvent { figures: Some(failed.figures), ..event }, log);
        group.flush_in_background();
    }
}

/// Takes back a change whose trial was never armed because its process died. No client was told of it.
pub(super) fn take_back_unfinished(group: &Group, route: Route, log: *mut ngx_log_t) {
    let Some(word) = group.word() else { return };
    let Some(before) = word.before(route).filter(|before| group.is_configured(*before)) else { return };
    if !group.trial_words().is_some_and(|words| words.give_up(route)) {
        return;
    }
    let Ok(back) = word.switch(Reading::Set(route), Some(route.to.active), before.into()) else { return };
    let (from, to) = (group.name_of(route.to.active), group.name_of(before));
    let reason =
        "the worker that switched died before the trial was armed, and before the switch was acknowledged";
    ext::log(
        NGX_LOG_WARN,
        log,
        format_args!(
            "cutover: group \"{}\" went back from \"{from}\" to \"{to}\", generation {}: {reason}",
            group.name, back.generation
        ),
    );
    let event = RouteEvent::new(Kind::TakenBack, from, to, back.generation).by("nginx", reason);
    group.write_event(event, log);
    group.flush_in_background();
}
