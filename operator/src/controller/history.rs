//! Past deployments that the status has no room for: a ConfigMap `NAME-history`, which goes with the resource.
//!
//! ```text
//! a deployment ends -> status.history -> more than 10 -> the ConfigMap has the rest -> status.history is cut
//! ```
//!
//! Its keys are the names of the deployments, so they are in the order of time. A ConfigMap holds 1 MiB; the oldest deployments go
//! long before that.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};

use super::{Context, Driven, Unreconciled};
use crate::edge::{MANAGED_BY, MANAGER, told};
use crate::resource::{BlueGreen, PastDeployment};

/// How many past deployments the status keeps.
const IN_STATUS: usize = 10;

/// Most bytes of all deployments.
const MOST: usize = 256 * 1024;

impl Context {
    /// Moves what the status has no room for to the ConfigMap. Until that has worked, the status keeps some more.
    pub(super) async fn shorten_history(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
    ) -> Result<(), Unreconciled> {
        let status = driven.ledger.status().await;
        let Some(rest) = status.history.get(IN_STATUS..).filter(|rest| !rest.is_empty()) else {
            return Ok(());
        };
        if let Err(why) = keep(self.client.clone(), resource, rest).await {
            tracing::warn!(
                resource = resource.name_any(),
                why,
                "past deployments cannot be kept; trying again"
            );
            return Ok(());
        }
        Ok(driven.ledger.write(|status| status.history.truncate(IN_STATUS)).await?)
    }
}

/// Adds deployments to the ConfigMap. The error is one line.
async fn keep(client: Client, resource: &BlueGreen, past: &[PastDeployment]) -> Result<(), String> {
    let namespace = resource.namespace().unwrap_or_default();
    let name = format!("{}-history", resource.name_any());
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let error = |error: kube::Error| format!("ConfigMap \"{name}\": {}", told(&error));
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let Some(mut map) = maps.get_opt(&name).await.map_err(error)? else {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
                owner_references: resource.owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(with(BTreeMap::new(), past)),
            ..ConfigMap::default()
        };
        return maps.create(&params, &map).await.map(drop).map_err(error);
    };
    if map.labels().get(MANAGED_BY.0).is_none_or(|by| by != MANAGED_BY.1) {
        return Err(format!("ConfigMap \"{name}\" is somebody else's: rename it"));
    }
    map.data = Some(with(map.data.unwrap_or_default(), past));
    // Refused if somebody has changed it since it was read.
    maps.replace(&name, &params, &map).await.map(drop).map_err(error)
}

/// The entries with those of more deployments, without the oldest ones that have no room.
fn with(mut entries: BTreeMap<String, String>, past: &[PastDeployment]) -> BTreeMap<String, String> {
    let shown = past.iter().filter_map(|one| Some((one.id.clone(), serde_json::to_string(one).ok()?)));
    entries.extend(shown);
    let size = |entries: &BTreeMap<String, String>| -> usize {
        entries.iter().map(|(key, text)| key.len() + text.len()).sum()
    };
    while size(&entries) > MOST {
        entries.pop_first();
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(second: usize) -> PastDeployment {
        PastDeployment {
            id: format!("shop-20261130-{second:06}"),
            version: "2".to_owned(),
            slot: "green".to_owned(),
            outcome: "completed".to_owned(),
            message: "m".repeat(1000),
            requested_by: "kubectl".to_owned(),
            started: String::new(),
            ended: String::new(),
            wanted: String::new(),
        }
    }

    #[test]
    fn the_newest_stay_and_all_fit() {
        let all: Vec<PastDeployment> = (0..400).map(past).collect();
        let (first, second) = all.split_at(300);
        let kept = with(with(BTreeMap::new(), first), second);
        assert!((200..300).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last_key_value().map(|(id, _)| id.as_str()), Some("shop-20261130-000399"));
        assert_eq!(kept.len(), with(kept.clone(), &all[399..]).len(), "each once");
        let read: PastDeployment = serde_json::from_str(&kept["shop-20261130-000399"]).unwrap();
        assert_eq!(read, all[399]);
    }
}
