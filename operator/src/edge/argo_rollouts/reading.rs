//! What a Rollout and its active Service say about the route.

use std::collections::BTreeMap;

use cutover_core::deployment::Revision;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;

use super::super::route::{ANNOTATION, Stamp};

/// The annotation with the hash of the ReplicaSet of each slot.
pub(super) const SLOTS: &str = "cutover.dev/slots";

/// A Rollout, and what its active Service selects.
#[derive(Debug)]
pub(super) struct Reading {
    /// The Rollout.
    pub(super) object: DynamicObject,
    /// The hash of the ReplicaSet that the active Service selects.
    pub(super) active_hash: String,
    /// The slot that has the traffic, or is getting it by the last change.
    pub(super) active: String,
    /// The last change.
    pub(super) stamp: Stamp,
    slots: BTreeMap<String, String>,
}

impl Reading {
    /// `first`: the slot of what has the traffic, if no annotation says so.
    pub(super) fn new(object: DynamicObject, active_hash: String, first: &str) -> Self {
        let stamp = Stamp::read(object.annotations().get(ANNOTATION));
        let known = object.annotations().get(SLOTS).and_then(|text| serde_json::from_str(text).ok());
        let mut slots: BTreeMap<String, String> = known.unwrap_or_default();
        let serving = slots.iter().find(|(_, hash)| **hash == active_hash).map(|(slot, _)| slot.clone());
        let mut active = serving.unwrap_or_else(|| {
            // Somebody else has deployed it.
            slots = [(first.to_owned(), active_hash.clone())].into();
            first.to_owned()
        });
        let current = text(&object, "/status/currentPodHash");
        let is_aborted = object.data.pointer("/status/abort").and_then(Value::as_bool) == Some(true);
        // The last change is not carried out yet.
        if stamp.generation > 0
            && stamp.route != active
            && !is_aborted
            && slots.get(&stamp.route).is_some_and(|hash| hash == current)
        {
            stamp.route.clone_into(&mut active);
        }
        Self { object, active_hash, active, stamp, slots }
    }

    /// The hash of a slot's ReplicaSet. `None`: it has none yet.
    pub(super) fn hash_of(&self, slot: &str) -> Option<&str> {
        self.slots.get(slot).map(String::as_str)
    }

    /// The slots, once one of them has this ReplicaSet.
    pub(super) fn slots_with(&self, slot: &str, hash: &str) -> BTreeMap<String, String> {
        let mut slots = self.slots.clone();
        slots.insert(slot.to_owned(), hash.to_owned());
        slots
    }

    /// The hash of the template that the Rollout has now, as its controller has seen it.
    pub(super) fn current_hash(&self) -> &str {
        text(&self.object, "/status/currentPodHash")
    }

    /// Whether the controller has seen the newest spec.
    pub(super) fn is_seen(&self) -> bool {
        let seen = text(&self.object, "/status/observedGeneration");
        self.object.metadata.generation.is_some_and(|generation| seen == generation.to_string())
    }

    /// Whether a slot has the traffic, and not only is getting it.
    pub(super) fn serves(&self, slot: &str) -> bool {
        self.hash_of(slot) == Some(&self.active_hash)
    }

    /// Whether it waits for a promotion.
    pub(super) fn is_paused(&self) -> bool {
        let paused = self.object.data.pointer("/status/pauseConditions").and_then(Value::as_array);
        paused.is_some_and(|conditions| !conditions.is_empty())
    }

    /// Whether nobody has moved the route since the last change by Cutover.
    pub(super) fn is_as_stamped(&self) -> bool {
        self.stamp.generation == 0 || self.stamp.route == self.active
    }

    /// What a change must expect.
    pub(super) fn revision(&self) -> Revision {
        let generation = self.stamp.generation;
        Revision::new(match (generation, self.is_as_stamped()) {
            (0, _) => format!("generation 0, on {}", self.active_hash),
            (_, true) => format!("generation {generation}"),
            (_, false) => format!("generation {generation}, then moved to {}", self.active_hash),
        })
    }
}

/// The text at a pointer of an object; empty if there is none.
pub(super) fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(route: &str, active: &str, status: Value) -> Reading {
        let stamp = json!({ "generation": 3, "route": route, "at": 0 }).to_string();
        let object = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": { "name": "shop", "annotations": {
                ANNOTATION: stamp, SLOTS: json!({ "blue": "b1", "green": "g2" }).to_string(),
            } },
            "status": status,
        }));
        Reading::new(object.unwrap(), active.to_owned(), "blue")
    }

    #[test]
    fn the_slot_is_that_of_the_hash() {
        let ours = reading("green", "g2", json!({ "currentPodHash": "g2" }));
        assert_eq!((ours.active.as_str(), ours.serves("green")), ("green", true));
        assert_eq!(ours.revision().as_str(), "generation 3");
    }

    #[test]
    fn a_change_under_way_is_the_one_of_the_stamp() {
        let promoted = reading("green", "b1", json!({ "currentPodHash": "g2" }));
        assert_eq!((promoted.active.as_str(), promoted.serves("green")), ("green", false));
        assert_eq!(promoted.revision().as_str(), "generation 3");
    }

    #[test]
    fn what_somebody_else_does_is_another_revision() {
        for (active, status) in [
            ("b1", json!({ "currentPodHash": "g2", "abort": true })),
            ("b1", json!({ "currentPodHash": "b1" })),
            ("x9", json!({ "currentPodHash": "x9" })),
        ] {
            let theirs = reading("green", active, status);
            assert_eq!(theirs.active, "blue", "{active}");
            assert_eq!(theirs.revision().as_str(), format!("generation 3, then moved to {active}"));
        }
    }
}
