//! Moving a route until the outcome is certain.
//!
//! A shift counts once the edge has confirmed it. If the reply is lost, the route is read: it has the revision that the shift
//! expected (nothing has moved), or the next one and the wanted slot (it was this shift), or another one (it was somebody else). A
//! shift that was only read, not confirmed, is asked for again at the revision that it led to: that moves nothing, and the edge
//! answers once the route is on disk.

use std::time::Duration;

use cutover_core::deployment::Revision;

use crate::edge::{Edge, EdgeError, Look, Shift, ShiftError};

/// How long an edge may not answer before a step that needs it gives up: it may be restarting.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// A shift, and the route that it was decided on.
#[derive(Clone, Debug)]
pub struct ShiftRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The change.
    pub shift: &'a Shift,
    /// The revision that it expects.
    pub expected: &'a Revision,
    /// Tries until it is given up.
    pub tries: u32,
    /// How long an edge that does not answer is asked again.
    pub patience: Duration,
}

/// How a shift ended.
#[derive(Clone, Debug)]
pub enum Shifted {
    /// The slot has the traffic, and the edge has confirmed it.
    Done(Look),
    /// Certain: this shift has moved nothing, and never will.
    NotDone(String),
    /// Somebody else moved the route.
    Elsewhere(Look),
    /// The slot has the traffic, but a power loss would move it back.
    NotDurable(String),
    /// It may have moved the route, or may still do so.
    Uncertain(String),
}

/// Decides before each try whether the slot may have the traffic.
pub trait Fit: Sync {
    /// The error says in one line why it may not.
    fn check(&self, look: &Look) -> impl Future<Output = Result<(), String>> + Send;
}

/// Moves a route.
pub async fn shift_until_known<E: Edge>(edge: &E, request: &ShiftRequest<'_>, fit: &impl Fit) -> Shifted {
    let ShiftRequest { group, shift, expected, .. } = request;
    let mut sent = false;
    let mut last = Shifted::Uncertain("no attempt was made".to_owned());
    for _ in 0..request.tries {
        let look = match look_patiently(edge, group, request.patience).await {
            Ok(look) => look,
            Err(error) => return Shifted::Uncertain(error.to_string()),
        };
        let done = look.route().active == shift.to && look.follows.as_ref() == Some(*expected);
        if !done && look.revision != **expected {
            return Shifted::Elsewhere(look);
        }
        if !done && let Err(why) = fit.check(&look).await {
            return if sent { Shifted::Uncertain(why) } else { Shifted::NotDone(why) };
        }
        let expected = if done { &look.revision } else { *expected };
        match edge.shift(group, shift, expected).await {
            Ok(now) if now.route().active == shift.to => return Shifted::Done(now),
            Ok(now) => return Shifted::Elsewhere(now),
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

/// Reads a group, again and again for a while if the edge does not answer.
pub async fn look_patiently<E: Edge>(edge: &E, group: &str, patience: Duration) -> Result<Look, EdgeError> {
    let begin = tokio::time::Instant::now();
    loop {
        match edge.look(group).await {
            Err(_) if begin.elapsed() < patience => tokio::time::sleep(PAUSE).await,
            looked => return looked,
        }
    }
}
