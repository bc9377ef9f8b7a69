//! An nginx that does not have the route is shown by the operator, too: the agent beside it may be dead, and then writes nothing.
//!
//! ```text
//! behind -> for LAG, while no change is under way -> Degraded, a clause of the message, an event
//!        -> all have it                           -> Degraded as the last deployment says, no clause, an event
//! ```

use std::time::Duration;

use cutover_core::deployment::Phase;
use tokio::time::Instant;

use super::{Context, Driven, Unreconciled};
use crate::conditions;

/// How long an nginx may be behind before it is shown.
const LAG: Duration = Duration::from_secs(5);

/// The reasons of the events.
const LAGS: &str = conditions::LAGS;
const FOLLOW: &str = "AgentsFollow";

impl Context {
    /// Shows what lags, or that nothing does any more.
    pub(super) async fn show_lag(
        &self,
        driven: &Driven,
        lagging: Option<String>,
    ) -> Result<(), Unreconciled> {
        let state = driven.running().map(|running| running.state());
        let at = self.clock.now();
        let is_shown = conditions::is_lagging(&driven.ledger.status().await);
        let Some(why) = lagging else {
            driven.behind.lock().take();
            if !is_shown {
                return Ok(());
            }
            driven.ledger.write(|status| conditions::end_lag(status, state.as_ref(), at)).await?;
            driven.ledger.publish(FOLLOW, "every nginx has the route again", false).await;
            return Ok(());
        };
        // The driver waits for the agents then, and says what comes of it.
        let moves = |phase: &Phase| {
            matches!(phase, Phase::Switching(_) | Phase::Confirming(_) | Phase::RollingBack { .. })
        };
        if state.as_ref().is_some_and(|state| moves(&state.phase)) {
            driven.behind.lock().take();
            return Ok(());
        }
        let since = *driven.behind.lock().get_or_insert_with(Instant::now);
        if since.elapsed() < LAG {
            return Ok(());
        }
        driven.ledger.write(|status| conditions::lag(status, &why, at)).await?;
        if !is_shown && conditions::is_lagging(&driven.ledger.status().await) {
            driven.ledger.publish(LAGS, &format!("not every nginx has the route: {why}"), true).await;
        }
        Ok(())
    }
}

impl Driven {
    /// Whether something lags that may have to be shown soon.
    pub(super) fn is_falling_behind(&self) -> bool {
        self.behind.lock().is_some_and(|since| since.elapsed() < LAG + super::SOON)
    }
}
