//! Several edges as one. Users reach any of them, so they move forward together and back together.
//!
//! ```text
//! look, groups   all at once; an edge that does not answer in time is away
//! forward        all at once, each until its outcome is certain; anything short of all is uncertain
//! back           all at once; none waits for another
//! ```
//!
//! A fleet of one edge behaves like that edge: nothing is cut short, and no message names it.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::Revision;
use futures_util::future::join_all;

use crate::edge::{Abilities, Edge, EdgeError, Follow, Look, Shift, ShiftError};
use crate::fencing::fence;
use crate::policy::is_among;
use crate::shifting::{Fit, ShiftRequest, shift_until_known};

mod member;
mod shifted;
mod view;

pub use member::Member;
use member::Wait;
pub use shifted::FleetShifted;
pub use view::View;

/// The edges of a group.
#[derive(Debug)]
pub struct Fleet<'a, E> {
    members: Vec<&'a Member<E>>,
}

impl<E> Clone for Fleet<'_, E> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone() }
    }
}

/// The groups of each edge, by its name.
pub type Survey = Vec<(String, Result<Vec<Group>, EdgeError>)>;

/// A change for all edges, and the conditions for it.
#[derive(Clone, Debug)]
pub struct FleetRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The change.
    pub shift: &'a Shift,
    /// The expected revision by edge. An edge without one is not touched.
    pub expected: &'a BTreeMap<String, Revision>,
    /// Maximum number of tries on each edge.
    pub tries: u32,
    /// How long an edge that does not answer is retried. Several edges have this time for everything.
    pub patience: Duration,
}

impl<'a, E: Edge> Fleet<'a, E> {
    /// The edges of these names, or all if there is no name.
    pub fn new(members: &'a [Member<E>], names: &[String]) -> Self {
        Self { members: members.iter().filter(|member| is_among(names, member.name())).collect() }
    }

    /// The fleet without these edges.
    pub fn without(mut self, names: &[String]) -> Self {
        self.members.retain(|member| !names.iter().any(|name| name == member.name()));
        self
    }

    /// The names of the edges.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.iter().map(|member| member.name())
    }

    /// The names of the edges in one line, for messages.
    pub fn name(&self) -> String {
        self.names().collect::<Vec<_>>().join("\", \"")
    }

    /// Whether there are several edges.
    pub fn is_several(&self) -> bool {
        self.members.len() > 1
    }

    /// What all edges are able to do.
    pub fn abilities(&self) -> Abilities {
        let all = Abilities { follow: Follow::AtOnce, trials: true, counters: true, shares: true };
        self.members.iter().fold(all, |all, member| {
            let its = member.edge().abilities();
            Abilities {
                follow: all.follow.max(its.follow),
                trials: all.trials && its.trials,
                counters: all.counters && its.counters,
                shares: all.shares && its.shares,
            }
        })
    }

    /// Reads a group on all edges. Fails if none answers.
    pub async fn look(&self, group: &str) -> Result<View, EdgeError> {
        self.look_for(group, Wait::Patient).await
    }

    /// The same, without waiting long for an edge that is slow or away. If all are slow, nobody waits for another one.
    pub async fn look_quickly(&self, group: &str) -> Result<View, EdgeError> {
        match self.look_for(group, Wait::Short).await {
            Err(_) if self.is_several() => self.look(group).await,
            looked => looked,
        }
    }

    async fn look_for(&self, group: &str, wait: Wait) -> Result<View, EdgeError> {
        let looks = self.members.iter().map(async |member| {
            (member.name().to_owned(), member.in_time(member.edge().look(group), self.among(wait)).await)
        });
        View::of(join_all(looks).await)
    }

    /// How long the others wait for an edge; a single edge has nobody who waits.
    fn among(&self, wait: Wait) -> Option<Wait> {
        Some(wait).filter(|_| self.is_several())
    }

    /// Reads a group. Retries for `patience` while no edge answers.
    pub async fn look_patiently(&self, group: &str, patience: Duration) -> Result<View, EdgeError> {
        let begin = tokio::time::Instant::now();
        loop {
            match self.look(group).await {
                Err(_) if begin.elapsed() < patience => tokio::time::sleep(crate::shifting::PAUSE).await,
                looked => return looked,
            }
        }
    }

    /// Reads all groups of all edges, the same group of several edges as one. Fails if an edge does not answer, because it may
    /// send traffic to any slot.
    pub async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        self.groups_without(&[]).await
    }

    /// The same, but these edges need not answer.
    pub async fn groups_without(&self, excluded: &[String]) -> Result<Vec<Group>, EdgeError> {
        let mut by_name = BTreeMap::<String, Vec<Group>>::new();
        let mut order = Vec::new();
        for (edge, groups) in self.survey().await {
            if groups.is_err() && excluded.contains(&edge) {
                continue;
            }
            for group in groups.map_err(|error| self.of_one(&edge, error))? {
                let same = by_name.entry(group.name.clone()).or_default();
                if same.is_empty() {
                    order.push(group.name.clone());
                }
                same.push(group);
            }
        }
        let merged = |name: &String| Group::merged(&by_name.get(name)?.iter().collect::<Vec<_>>());
        Ok(order.iter().filter_map(merged).collect())
    }

    /// An error that stands for all edges names its edge.
    fn of_one(&self, edge: &str, error: EdgeError) -> EdgeError {
        if self.is_several() { error.of(edge) } else { error }
    }

    /// Reads all groups of each edge.
    pub async fn survey(&self) -> Survey {
        let looks = self.members.iter().map(async |member| {
            (
                member.name().to_owned(),
                member.in_time(member.edge().groups(), self.among(Wait::Patient)).await,
            )
        });
        join_all(looks).await
    }

    /// Directs previews of the standby to a slot, on all edges. Fails if an edge fails.
    pub async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        let asked = self.members.iter().map(async |member| {
            let asked = member.in_time(member.edge().stand_by(group, slot), self.among(Wait::Patient)).await;
            asked.map_err(|error| self.of_one(member.name(), error))
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Moves the route on all edges at once. `fit` checks on each edge that the slot may get the traffic.
    pub async fn forward(&self, request: &FleetRequest<'_>, fit: &impl Fit) -> FleetShifted {
        let FleetRequest { group, shift, expected, tries, patience } = request;
        let moves = self.members.iter().filter_map(|member| {
            let expected = expected.get(member.name())?;
            Some(async move {
                let request = ShiftRequest { group, shift, expected, tries: *tries, patience: *patience };
                let moved = shift_until_known(member.edge(), &request, fit);
                let moved = match self.is_several() {
                    true => tokio::time::timeout(*patience, moved).await.ok(),
                    false => Some(moved.await),
                };
                (member.name().to_owned(), moved)
            })
        });
        FleetShifted::of(join_all(moves).await, *patience)
    }

    /// Moves the route back on all edges at once, from the revisions of `seen`. An edge that was away then is read first.
    pub async fn back(
        &self,
        group: &str,
        shift: &Shift,
        seen: &View,
        patience: Duration,
    ) -> BTreeMap<String, Result<Look, ShiftError>> {
        let moves = self.members.iter().map(async |member| {
            let moved = async {
                let revision = match seen.edges.get(member.name()) {
                    Some(look) => look.revision.clone(),
                    None => {
                        // The others move meanwhile.
                        let look = member.in_time(member.edge().look(group), self.among(Wait::Patient)).await;
                        look.map_err(ShiftError::NotSent)?.revision
                    }
                };
                member.edge().shift(group, shift, &revision).await
            };
            (member.name().to_owned(), member.change_in_time(moved, self.is_several(), patience).await)
        });
        join_all(moves).await.into_iter().collect()
    }

    /// Gives the routes of these edges a new revision and leaves the traffic where it is, see [`fence`].
    pub async fn fence(
        &self,
        seen: &BTreeMap<String, &Look>,
        reason: &str,
        lease: Option<Duration>,
        patience: Duration,
    ) -> BTreeMap<String, Result<Look, ShiftError>> {
        let fences = self.members.iter().filter_map(|member| {
            let look = *seen.get(member.name())?;
            Some(async move {
                let fenced = fence(member.edge(), look, reason, lease);
                (member.name().to_owned(), member.change_in_time(fenced, self.is_several(), patience).await)
            })
        });
        join_all(fences).await.into_iter().collect()
    }

    /// Moves the end of the leases to this much from now, on the edges that `seen` has.
    pub async fn renew(
        &self,
        group: &str,
        lease: Duration,
        seen: &BTreeMap<String, &Look>,
    ) -> BTreeMap<String, Result<Look, ShiftError>> {
        let renewals = self.members.iter().filter_map(|member| {
            let look = *seen.get(member.name())?;
            Some(async move {
                let renewed = member.edge().renew(group, lease, &look.revision);
                (member.name().to_owned(), member.change_in_time(renewed, self.is_several(), lease / 2).await)
            })
        });
        join_all(renewals).await.into_iter().collect()
    }

    /// Makes the changes on trial permanent, on the edges that `seen` has.
    pub async fn confirm(
        &self,
        group: &str,
        reason: &str,
        seen: &BTreeMap<String, &Look>,
        patience: Duration,
    ) -> BTreeMap<String, Result<Look, ShiftError>> {
        let confirmations = self.members.iter().filter_map(|member| {
            let look = *seen.get(member.name())?;
            Some(async move {
                let confirmed = member.edge().confirm(group, reason, &look.revision);
                (
                    member.name().to_owned(),
                    member.change_in_time(confirmed, self.is_several(), patience).await,
                )
            })
        });
        join_all(confirmations).await.into_iter().collect()
    }

    /// Moves the route on one edge that is not as the others are.
    pub async fn repair(
        &self,
        edge: &str,
        request: &ShiftRequest<'_>,
        fit: &impl Fit,
    ) -> Option<crate::shifting::Shifted> {
        let member = self.members.iter().find(|member| member.name() == edge)?;
        Some(shift_until_known(member.edge(), request, fit).await)
    }

    /// How long an edge has not answered. `None`: it answered the last time.
    pub fn away_for(&self, edge: &str) -> Option<Duration> {
        self.members.iter().find(|member| member.name() == edge)?.away_for()
    }
}
