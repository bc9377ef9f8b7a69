//! A change of a route as the admin API takes it.

use std::time::Duration;

use cutover_core::api::{RouteChange, Shares, kept_reason};
use cutover_core::fraction::{Percent, Share};
use cutover_engine::edge::{Partial, Shift, TrialTerms};

/// The change on the wire. The reason contains the version, which may be long. nginx would refuse a body that is too large.
pub(super) fn change_of(shift: &Shift) -> RouteChange {
    let change = RouteChange::to(&shift.to, kept_reason(&shift.reason).to_owned()).fenced(shift.fence);
    let change = match &shift.share {
        Some(share) => RouteChange { active: None, split: shares(&shift.to, share), ..change },
        None => change,
    };
    match shift.trial {
        Some(TrialTerms { lease, guard, rescue }) => {
            RouteChange { guard, lease_ms: lease.map(milliseconds), rescue, ..change }
        }
        None => change,
    }
}

fn shares(slot: &str, Partial { percent, rest }: &Partial) -> Option<Shares> {
    let left = Percent::from_parts(Share::WHOLE.checked_sub(percent.parts())?)?;
    Some([(rest.clone(), left), (slot.to_owned(), *percent)].into())
}

/// Milliseconds, at most as many as the wire can carry.
pub(super) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
