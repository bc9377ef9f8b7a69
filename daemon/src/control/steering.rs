//! Pauses, resumptions and promotions of a running deployment.

use cutover_core::deployment::{Event, Phase, State, Store};
use cutover_core::shell::quoted;
use cutover_engine::world::World;

use super::running::live;
use super::{Control, Refusal};

/// A request that decides when more traffic moves to the new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// No more traffic moves until the deployment is resumed. It is judged meanwhile.
    Pause,
    /// A paused deployment goes on.
    Resume,
    /// The next step begins now.
    Promote,
}

impl Steering {
    /// The verb on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
        }
    }

    fn event(self, by: &str) -> Event {
        match self {
            Self::Pause => Event::Pause(by.to_owned()),
            Self::Resume => Event::Resume(by.to_owned()),
            Self::Promote => Event::Promote(by.to_owned()),
        }
    }

    /// Why the request makes no sense in this state. `None` if it does.
    fn nonsense(self, group: &str, state: &State) -> Option<String> {
        let group = quoted(group);
        let is_waiting = matches!(state.phase, Phase::Soaking { until: None });
        let why = match (&state.phase, self, &state.paused) {
            (Phase::Decommissioning(_), _, _) => {
                "the new version is live, and the old one is being stopped".to_owned()
            }
            (Phase::Warm { .. }, _, _) => {
                format!(
                    "the new version is live; to go back to the version before it: cutover rollback {group}"
                )
            }
            (Phase::TearingDown { .. } | Phase::RollingBack { .. }, _, _) => {
                "it is being undone; to deploy again, wait until it ends".to_owned()
            }
            (Phase::Confirming(_) | Phase::Draining { .. }, _, _) => format!(
                "the new version has all the traffic and is good; to go back all the same: cutover rollback {group}"
            ),
            (_, Self::Pause, Some(by)) => {
                format!("it is paused already, by {by}; to go on: cutover resume {group}")
            }
            (Phase::Switching(Store::Storing), Self::Pause | Self::Promote, _) => {
                "the traffic is just moving: try again in a moment".to_owned()
            }
            (_, Self::Pause, None) | (_, Self::Resume, Some(_)) => return None,
            (_, Self::Resume, None) if is_waiting => {
                format!("it is not paused, but waits for the next step: cutover promote {group}")
            }
            (_, Self::Resume, None) => "it is not paused".to_owned(),
            (Phase::Soaking { .. }, Self::Promote, _)
            | (Phase::Switching(Store::Reading), Self::Promote, Some(_)) => return None,
            (_, Self::Promote, Some(_)) => {
                format!("it has not moved traffic yet, and is paused; to go on: cutover resume {group}")
            }
            (_, Self::Promote, None) => "it has not moved traffic yet, and goes on by itself".to_owned(),
        };
        Some(why)
    }
}

impl<W: World> Control<W> {
    /// Asks the running deployment of a group, and those that move together with it. Returns its id, when the request is in the
    /// journal. `step`: the step that a promotion is to end. Of two promotions at once only one counts.
    pub async fn steer(
        &self,
        group: &str,
        which: Steering,
        step: Option<usize>,
        asked_by: &str,
    ) -> Result<String, Refusal> {
        self.leading()?;
        self.policy_or_last(group).await?;
        let locked = self.moving_with(group).await;
        let (current, others) = locked.guards().await;
        let Some((running, _)) = live(&current).await else {
            return Err(Refusal::NothingUnderWay { group: group.to_owned(), verb: which.as_str() });
        };
        let state = running.past_switch().await;
        if let Some(step) = step.filter(|step| *step != state.step + 1) {
            let why = format!("step {step} is not under way: step {} is", state.step + 1);
            return Err(running.refusal(why).await);
        }
        if let Some(why) = which.nonsense(group, &state) {
            return Err(running.refusal(why).await);
        }
        running.ask(which.event(asked_by)).await?;
        for other in running.companions_in(&others) {
            let state = other.past_switch().await;
            // One for which it makes no sense now waits for this one at the next point anyway.
            if which.nonsense(&other.plan().group, &state).is_none() {
                let _ = other.ask(which.event(asked_by)).await;
            }
        }
        Ok(running.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::deployment::Time;

    use super::*;

    fn state(phase: Phase, paused: bool) -> State {
        let paused = paused.then(|| "uid 0".to_owned());
        State { paused, ..State::new(phase) }
    }

    #[test]
    fn what_makes_no_sense_says_why_and_what_does() {
        let soaking = Phase::Soaking { until: Some(Time(1)) };
        let waiting = Phase::Soaking { until: None };
        let warm = Phase::Warm { until: Time(1) };
        for (phase, paused, which, said) in [
            (Phase::Migrating, false, Steering::Pause, None),
            (soaking.clone(), false, Steering::Pause, None),
            (waiting.clone(), false, Steering::Pause, None),
            (waiting.clone(), false, Steering::Promote, None),
            (soaking.clone(), true, Steering::Resume, None),
            (Phase::Switching(Store::Reading), true, Steering::Promote, None),
            (
                soaking.clone(),
                true,
                Steering::Pause,
                Some("paused already, by uid 0; to go on: cutover resume"),
            ),
            (soaking, false, Steering::Resume, Some("it is not paused")),
            (waiting, false, Steering::Resume, Some("waits for the next step: cutover promote")),
            (Phase::Smoking, false, Steering::Promote, Some("goes on by itself")),
            (Phase::Smoking, true, Steering::Promote, Some("to go on: cutover resume 'a b'")),
            (Phase::Switching(Store::Storing), false, Steering::Pause, Some("is just moving")),
            (
                warm,
                false,
                Steering::Promote,
                Some("is live; to go back to the version before it: cutover rollback"),
            ),
            (Phase::Draining { until: Time(1) }, false, Steering::Pause, Some("all the traffic and is good")),
        ] {
            let found = which.nonsense("a b", &state(phase.clone(), paused));
            match said {
                Some(said) => {
                    assert!(found.clone().is_some_and(|why| why.contains(said)), "{phase:?}: {found:?}")
                }
                None => assert_eq!(found, None, "{which:?} in {phase:?}"),
            }
        }
    }
}
