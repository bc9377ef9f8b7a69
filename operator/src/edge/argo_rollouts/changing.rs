//! The traffic moves forward and back.

use std::time::Duration;

use cutover_core::deployment::Revision;
use cutover_engine::edge::{EdgeError, Look, Shift, ShiftError};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::errors::{is_conflict, unchanged, unread};
use super::super::route::{ANNOTATION, Route, Stamp};
use super::RolloutEdge;
use super::reading::Reading;
use super::rollout::{annotate, with_annotations};

/// How long the controller may take to give a ReplicaSet the active Service.
const PROMOTION: Duration = Duration::from_secs(30);

/// How often a change is tried again after another change of the Rollout, which did not move the route.
const TRIES: u32 = 20;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(100);

impl RolloutEdge {
    /// Moves all traffic to a slot, if the route has the expected revision.
    pub(super) async fn change(&self, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        for _ in 0..TRIES {
            let reading = self.rollout.read().await.map_err(ShiftError::NotSent)?;
            if reading.revision() != *expected {
                let look = self.look_of(&reading).await.map_err(ShiftError::NotSent)?;
                return Err(ShiftError::Moved(Box::new(look)));
            }
            let stamp = match reading.active == shift.to && !shift.fence && reading.stamp.generation > 0 {
                true => reading.stamp.clone(),
                false => match self.stamp(&reading, shift).await? {
                    Some(stamp) => stamp,
                    None => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            let reading = self.carried_out(&shift.to, &stamp).await?;
            return self.look_of(&reading).await.map_err(ShiftError::Unknown);
        }
        Err(ShiftError::Refused(format!(
            "{} changes too often: {TRIES} tries met another change",
            self.rollout.what()
        )))
    }

    /// Writes what is to be. `None`: the Rollout has changed since it was read.
    async fn stamp(&self, reading: &Reading, shift: &Shift) -> Result<Option<Stamp>, ShiftError> {
        let hash = reading.hash_of(&shift.to).ok_or_else(|| {
            ShiftError::Refused(format!("slot \"{}\" has no ReplicaSet of {}", shift.to, self.rollout.what()))
        })?;
        let now = Route { active: reading.active.clone(), second: None, stamp: reading.stamp.clone() };
        let next = now.after(shift).map_err(ShiftError::Refused)?;
        let stamp = Stamp { follows: Some(reading.revision().as_str().to_owned()), ..next.stamp };
        let mut operations: Vec<Value> = with_annotations(&reading.object).into_iter().collect();
        operations.push(annotate(ANNOTATION, &stamp.write()));
        if reading.current_hash() != hash {
            if !shift.fence {
                return Err(ShiftError::Refused(format!(
                    "{} previews ReplicaSet {}, and slot \"{}\" is {hash}: somebody has changed its template",
                    self.rollout.what(),
                    reading.current_hash(),
                    shift.to
                )));
            }
            // The way back: the controller finds the old ReplicaSet by its template.
            let template = self.rollout.template_of(hash).await.map_err(ShiftError::NotSent)?;
            operations.push(json!({ "op": "replace", "path": "/spec/template", "value": template }));
        }
        let version = reading.object.resource_version().unwrap_or_default();
        match self.rollout.patch(&version, operations).await {
            Ok(_) => Ok(Some(stamp)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(unchanged(&self.rollout.what(), error)),
        }
    }

    /// Waits until the slot has the active Service. Promotes it where the controller waits for that.
    async fn carried_out(&self, slot: &str, stamp: &Stamp) -> Result<Reading, ShiftError> {
        let begin = Instant::now();
        loop {
            let reading = self.rollout.read().await.map_err(ShiftError::Unknown)?;
            if reading.stamp != *stamp || reading.serves(slot) {
                return Ok(reading);
            }
            let is_current = reading.is_seen() && reading.hash_of(slot) == Some(reading.current_hash());
            if is_current && reading.is_paused() {
                match self.rollout.promote(&reading.object).await {
                    Ok(()) => {}
                    Err(error) if is_conflict(&error) => {}
                    Err(error) => return Err(ShiftError::Unknown(unread(&self.rollout.what(), error))),
                }
            }
            if begin.elapsed() >= PROMOTION.saturating_sub(stamp.age()).max(PAUSE) {
                return Err(ShiftError::Unknown(EdgeError::Unusable {
                    what: self.rollout.what(),
                    why: format!(
                        "slot \"{slot}\" has not got its active Service within {}: does the controller of Argo Rollouts run?",
                        humantime::format_duration(PROMOTION)
                    ),
                }));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
