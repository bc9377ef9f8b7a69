//! A reading of a group from all its edges.

use std::collections::BTreeMap;

use cutover_core::api::{Group, RouteState};
use cutover_core::counters::Counters;
use cutover_core::deployment::{Moved, Revision};
use cutover_core::verdict::{EdgeReading, Sample};

use crate::edge::{EdgeError, Look, moved};

/// A group as its edges have it.
#[derive(Clone, Debug)]
pub struct View {
    /// The group over all edges that have answered, see [`Group::merged`].
    pub group: Group,
    /// The edges that have answered. At least one.
    pub edges: BTreeMap<String, Look>,
    /// The others, and why.
    pub away: BTreeMap<String, EdgeError>,
}

impl View {
    /// A view of the answers. Fails with an edge's error if there is no answer; of several edges, the error names its edge.
    pub(super) fn of(looks: Vec<(String, Result<Look, EdgeError>)>) -> Result<Self, EdgeError> {
        let is_several = looks.len() > 1;
        let (mut edges, mut away, mut last) = (BTreeMap::new(), BTreeMap::new(), None);
        for (edge, look) in looks {
            match look {
                Ok(look) => {
                    edges.insert(edge, look);
                }
                Err(error) => {
                    last = Some(if is_several { error.clone().of(&edge) } else { error.clone() });
                    away.insert(edge, error);
                }
            }
        }
        let groups: Vec<&Group> = edges.values().map(|look| &look.group).collect();
        match (Group::merged(&groups), last) {
            (Some(group), _) => Ok(Self { group, edges, away }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(EdgeError::NoEdge),
        }
    }

    /// The route over all edges.
    pub fn route(&self) -> &RouteState {
        &self.group.route
    }

    /// The route, described as moved by somebody else.
    pub fn moved(&self) -> Moved {
        moved(&self.group)
    }

    /// The revision of the route on each edge.
    pub fn revisions(&self) -> BTreeMap<String, Revision> {
        self.edges.iter().map(|(edge, look)| (edge.clone(), look.revision.clone())).collect()
    }

    /// The counters of one slot or of two, by edge.
    pub fn readings(&self, new: Option<&str>, old: Option<&str>) -> Vec<EdgeReading> {
        let of = |look: &Look, slot: Option<&str>| look.group.slot(slot?).map(Sample::from);
        let reading = |(edge, look): (&String, &Look)| EdgeReading {
            edge: edge.clone(),
            new: of(look, new),
            old: of(look, old),
        };
        self.edges.iter().map(reading).collect()
    }

    /// What a slot has counted on each edge since the counters of `earlier`, added up.
    pub fn counted_since<'a>(&self, slot: &str, earlier: impl Fn(&str) -> Option<&'a Counters>) -> Counters {
        let since = self.edges.iter().filter_map(|(edge, look)| {
            let now = look.group.slot(slot)?.counters;
            Some(earlier(edge).map_or(now, |earlier| now.since(earlier)))
        });
        since.fold(Counters::default(), |sum, more| sum.zip(&more, u64::saturating_add))
    }

    /// The view, if all edges have answered. Fails with the error of one that has not, which names it.
    pub fn whole(self) -> Result<Self, EdgeError> {
        // One edge has answered, so this is another one.
        match self.away.first_key_value() {
            Some((edge, error)) => Err(error.clone().of(edge)),
            None => Ok(self),
        }
    }
}
