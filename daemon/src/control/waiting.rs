//! Callers that wait for their turn, in the order in which they came.
//!
//! A caller sends its request again and again with the same ticket, so the daemon holds nothing open for it. The line is in
//! memory: a daemon that restarts forgets the order, and nothing else.

use std::time::Duration;

use cutover_core::deployment::Outcome;
use cutover_core::shell::quoted;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::refusal::{Busy, Overtaken};
use super::{Control, Refusal};

/// A caller that has not come back for so long has given up. It asks every second, through ssh every five.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a caller that waits for its turn sends with its request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// A random text that is the same at each try.
    pub ticket: String,
    /// The deployments that have been in its way.
    #[serde(default)]
    pub seen: Vec<String>,
}

/// One caller in the line.
#[derive(Debug)]
struct Place {
    ticket: String,
    groups: Vec<String>,
    who: String,
    since: cutover_core::deployment::Time,
    last: Instant,
}

/// The callers, the first one first.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<Place>);

impl Line {
    fn forget_those_who_gave_up(&mut self) {
        self.0.retain(|place| place.last.elapsed() < PATIENCE);
    }

    /// The caller before this one that waits for one of the same groups. Everybody in the line is before one without a ticket.
    fn before(&self, ticket: Option<&str>, groups: &[String]) -> Option<&Place> {
        let ahead = self.0.iter().take_while(|place| Some(place.ticket.as_str()) != ticket);
        ahead.into_iter().find(|place| place.groups.iter().any(|group| groups.contains(group)))
    }

    fn leave(&mut self, ticket: &str) {
        self.0.retain(|place| place.ticket != ticket);
    }
}

impl<W: World> Control<W> {
    /// Does what a caller wants when nobody who came earlier waits for the same groups. A caller with a ticket keeps its place
    /// while something is in its way.
    pub async fn in_turn<T>(
        &self,
        groups: &[String],
        waiting: Option<&Waiting>,
        who: &str,
        action: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let ticket = waiting.map(|waiting| waiting.ticket.as_str());
        if let Some(first) = self.first_in_line(groups, ticket) {
            self.keep_place(groups, ticket, who);
            return Err(first);
        }
        let done = action.await;
        match &done {
            Err(refused) if refused.busy().is_some() => self.keep_place(groups, ticket, who),
            _ => ticket.into_iter().for_each(|ticket| self.line.lock().leave(ticket)),
        }
        done
    }

    fn first_in_line(&self, groups: &[String], ticket: Option<&str>) -> Option<Refusal> {
        let mut line = self.line.lock();
        line.forget_those_who_gave_up();
        let place = line.before(ticket, groups)?;
        Some(Refusal::Busy(Box::new(Busy {
            id: None,
            group: place.groups.iter().find(|group| groups.contains(group)).cloned(),
            version: String::new(),
            phase: "waiting".to_owned(),
            who: place.who.clone(),
            reason: String::new(),
            since: Some(place.since),
            now: self.clock.now(),
            may_abort: false,
        })))
    }

    fn keep_place(&self, groups: &[String], ticket: Option<&str>, who: &str) {
        let Some(ticket) = ticket else { return };
        let mut line = self.line.lock();
        match line.0.iter_mut().find(|place| place.ticket == ticket) {
            Some(place) => place.last = Instant::now(),
            None => line.0.push(Place {
                ticket: ticket.to_owned(),
                groups: groups.to_vec(),
                who: who.to_owned(),
                since: self.clock.now(),
                last: Instant::now(),
            }),
        }
    }

    /// Fails if a deployment of this group, for whose end the caller has waited, was rolled back or is stuck. What the caller wants
    /// was decided before that, and may bring the same fault back. `again`: the command that does it all the same.
    pub async fn nothing_went_back(
        &self,
        group: &str,
        waiting: Option<&Waiting>,
        again: &str,
    ) -> Result<(), Refusal> {
        for id in waiting.into_iter().flat_map(|waiting| &waiting.seen) {
            let Some(entry) = self.journal.entry(id).await? else { continue };
            let went_back = matches!(entry.outcome, Some(Outcome::RolledBack | Outcome::Stuck));
            if entry.deployment.plan.group == group && went_back {
                return Err(Refusal::Overtaken(Box::new(Overtaken {
                    id: id.clone(),
                    version: entry.deployment.version,
                    outcome: entry.outcome.map_or("", Outcome::as_str).replace('_', " "),
                    message: entry.message,
                    again: again.to_owned(),
                })));
            }
        }
        Ok(())
    }
}

/// The command that deploys a version without waiting.
pub(super) fn deploy_again(group: &str, version: &str, to: Option<&str>) -> String {
    let to = to.map(|slot| format!(" --to {}", quoted(slot))).unwrap_or_default();
    let version = if version.is_empty() { String::new() } else { format!(" --version {}", quoted(version)) };
    format!("cutover deploy {}{version}{to}", quoted(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(places: &[(&str, &[&str])]) -> Line {
        let place = |(ticket, groups): &(&str, &[&str])| Place {
            ticket: (*ticket).to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            who: format!("who has {ticket}"),
            since: cutover_core::deployment::Time(0),
            last: Instant::now(),
        };
        Line(places.iter().map(place).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_first() {
        let mut line = line(&[("a", &["shop"]), ("b", &["shop", "books"]), ("c", &["books"])]);
        let before = |line: &Line, ticket: Option<&str>, groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            line.before(ticket, &groups).map(|place| place.ticket.clone())
        };
        assert_eq!(before(&line, Some("a"), &["shop"]), None);
        assert_eq!(before(&line, Some("b"), &["shop", "books"]).as_deref(), Some("a"));
        assert_eq!(before(&line, Some("c"), &["books"]).as_deref(), Some("b"));
        assert_eq!(before(&line, Some("new"), &["books"]).as_deref(), Some("b"));
        assert_eq!(
            before(&line, None, &["shop"]).as_deref(),
            Some("a"),
            "a caller that does not wait comes last"
        );
        assert_eq!(before(&line, None, &["other"]), None);
        line.leave("a");
        assert_eq!(before(&line, Some("b"), &["shop", "books"]), None);
        tokio::time::advance(PATIENCE).await;
        line.forget_those_who_gave_up();
        assert!(line.0.is_empty(), "killed callers hold nobody up");
    }
}
