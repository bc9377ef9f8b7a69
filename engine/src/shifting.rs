//! Moves a route and finds out the outcome for certain.
//!
//! A shift is done when the edge has confirmed it. If the reply is lost, this code reads the route. If the route has the expected
//! revision, nothing has moved. If it has the next revision and the wanted slot, this shift has moved it. Any other revision means
//! that somebody else moved it. A shift that was read but not confirmed is requested again at its new revision. That moves nothing,
//! and the edge answers when the route is on disk. The lease of a trial is renewed instead. A trial without a lease cannot be
//! requested again; the confirmation after the soak brings it to disk.

use std::time::Duration;

use cutover_core::deployment::Revision;

use crate::edge::{Edge, EdgeError, Look, Shift, ShiftError};

/// How long a step waits for an edge that does not answer, which may be restarting.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// A shift and the conditions for it.
#[derive(Clone, Debug)]
pub struct ShiftRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The change.
    pub shift: &'a Shift,
    /// The expected revision of the route.
    pub expected: &'a Revision,
    /// Maximum number of tries.
    pub tries: u32,
    /// How long an edge that does not answer is retried.
    pub patience: Duration,
}

/// The outcome of a shift.
#[derive(Clone, Debug)]
pub enum Shifted {
    /// The slot has the traffic, and the edge has confirmed it. A trial without a lease may only have been seen.
    Done(Look),
    /// This shift has moved nothing and never will.
    NotDone(String),
    /// Somebody else moved the route.
    Elsewhere(Look),
    /// The slot has the traffic, but a power loss would move it back.
    NotDurable(String),
    /// The shift may have moved the route, or may still do so.
    Uncertain(String),
}

/// A check before each try that the slot may get the traffic.
pub trait Fit: Sync {
    /// Fails with one line if the slot must not get the traffic.
    fn check(&self, look: &Look) -> impl Future<Output = Result<(), String>> + Send;
}

/// Moves a route. Retries until the outcome is certain or the tries are used up.
pub async fn shift_until_known<E: Edge>(edge: &E, request: &ShiftRequest<'_>, fit: &impl Fit) -> Shifted {
    let ShiftRequest { group, shift, expected, .. } = request;
    let mut sent = false;
    let mut last = Shifted::Uncertain("no attempt was made".to_owned());
    for _ in 0..request.tries {
        let look = match look_patiently(edge, group, request.patience).await {
            Ok(look) => look,
            Err(error) => return Shifted::Uncertain(error.to_string()),
        };
        // A driver that has taken over expects its fence. An earlier driver of the same deployment may have made the shift before.
        let was_fenced = shift.trial.is_some() && look.revision == **expected;
        let done = shift.is_on(look.route()) && (was_fenced || look.follows.as_ref() == Some(*expected));
        if !done && look.revision != **expected {
            return Shifted::Elsewhere(look);
        }
        if !done && let Err(why) = fit.check(&look).await {
            return if sent { Shifted::Uncertain(why) } else { Shifted::NotDone(why) };
        }
        let expected = if done { &look.revision } else { *expected };
        let asked = match shift.trial {
            // The same change again would end its trial.
            Some(terms) if done => match terms.lease {
                Some(lease) => edge.renew(group, lease, expected).await,
                // There is no change without an effect that would bring it to disk.
                None if matches!(last, Shifted::NotDurable(_)) => return last,
                None => return Shifted::Done(look),
            },
            _ => edge.shift(group, shift, expected).await,
        };
        match asked {
            Ok(now) if shift.is_on(now.route()) => return Shifted::Done(now),
            // A reply does not say who moved the route since. The next reading does.
            Ok(_) => last = Shifted::Uncertain("the route was moved again at once".to_owned()),
            Err(ShiftError::Refused(why)) if !done && !sent => return Shifted::NotDone(why),
            Err(error) => {
                sent |= !matches!(error, ShiftError::NotSent(_) | ShiftError::Moved(_));
                let why = error.to_string();
                let is_there = done || matches!(error, ShiftError::NotDurable(_));
                last = if is_there { Shifted::NotDurable(why) } else { Shifted::Uncertain(why) };
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    last
}

/// Reads a group. Retries for `patience` if the edge does not answer.
pub async fn look_patiently<E: Edge>(edge: &E, group: &str, patience: Duration) -> Result<Look, EdgeError> {
    let begin = tokio::time::Instant::now();
    loop {
        match edge.look(group).await {
            Err(_) if begin.elapsed() < patience => tokio::time::sleep(PAUSE).await,
            looked => return looked,
        }
    }
}
