//! The edges of a group: which are missing when a deployment begins, and what each says.

use std::time::Duration;

use cutover_core::api::Group as Seen;
use cutover_core::fraction::Percent;
use cutover_engine::policy::{OnMissing, Policy};
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::{Control, Refusal};

/// One edge of a group that has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Its name.
    pub edge: String,
    /// The active slot. `None` if the edge cannot be read.
    pub active: Option<String>,
    /// The slot with a share of the traffic, and the share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<(String, Percent)>,
    /// The route's generation.
    pub generation: Option<u32>,
    /// Why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For how many seconds it has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_s: Option<u64>,
}

impl EdgeStatus {
    pub(super) fn of(edge: &str, seen: &Result<&Seen, String>, away: Option<Duration>) -> Self {
        let route = seen.as_ref().ok().map(|seen| &seen.route);
        let share = route.and_then(|route| {
            let mut shares = route.split.iter().flatten();
            shares.find(|(slot, percent)| **slot != route.active && percent.parts() > 0)
        });
        Self {
            edge: edge.to_owned(),
            active: route.map(|route| route.active.clone()),
            share: share.map(|(slot, percent)| (slot.clone(), *percent)),
            generation: route.map(|route| route.generation),
            error: seen.as_ref().err().cloned(),
            away_s: away.map(|away| away.as_secs()),
        }
    }
}

impl<W: World> Control<W> {
    /// The edges that do not answer and that a deployment leaves out. Fails if the policy says that all must be there, or if none
    /// answers.
    pub(super) async fn missing_edges(&self, group: &str, policy: &Policy) -> Result<Vec<String>, Refusal> {
        let fleet = self.fleet(group);
        if !fleet.is_several() {
            return Ok(Vec::new());
        }
        let view = fleet.look(group).await?;
        match (view.away.first_key_value(), policy.fleet.on_missing) {
            (None, _) => Ok(Vec::new()),
            (Some((edge, why)), OnMissing::Refuse) => {
                Err(Refusal::EdgeMissing { group: group.to_owned(), why: why.clone().of(edge) })
            }
            (Some(_), OnMissing::Exclude) => Ok(view.away.into_keys().collect()),
        }
    }
}

/// What the first message of a deployment says about edges that are left out.
pub(super) fn text_of_excluded(excluded: &[String]) -> Option<String> {
    let names = excluded.join("\", \"");
    match excluded.len() {
        0 => None,
        1 => Some(format!("without edge \"{names}\", which does not answer and follows when it is back")),
        _ => Some(format!("without edges \"{names}\", which do not answer and follow when they are back")),
    }
}
