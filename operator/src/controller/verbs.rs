//! What people ask of a resource by an annotation, as in `kubectl annotate bluegreen shop cutover.dev/rollback=alice`.
//!
//! The value says who asks. The operator does it once, removes the annotation, and says in an event what came of it.

use std::fmt;

use cutover_core::deployment::Event;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Context, Driven, Unreconciled};
use crate::resource::BlueGreen;

/// The prefix of the annotations.
const ANNOTATIONS: &str = "cutover.dev/";

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Moves the traffic of a manual promotion or a manual step on.
    Promote,
    /// No more traffic moves until it is resumed.
    Pause,
    /// A paused deployment goes on.
    Resume,
    /// Ends the deployment and goes back.
    Abort,
    /// Goes back to the version before.
    Rollback,
    /// Tries the version again that has failed.
    Retry,
    /// Reverts what a deployment that did not complete has left in the database.
    Revert,
    /// Gives up a deployment whose record cannot be read.
    Forget,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 8] = [
        Self::Promote,
        Self::Pause,
        Self::Resume,
        Self::Abort,
        Self::Rollback,
        Self::Retry,
        Self::Revert,
        Self::Forget,
    ];

    /// The name, in the annotation and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Revert => "revert",
            Self::Forget => "forget",
        }
    }

    /// The key of the annotation.
    pub fn annotation(self) -> String {
        format!("{ANNOTATIONS}{self}")
    }

    fn event(self, by: &str) -> Option<Event> {
        Some(match self {
            Self::Promote => Event::Promote(by.to_owned()),
            Self::Pause => Event::Pause(by.to_owned()),
            Self::Resume => Event::Resume(by.to_owned()),
            Self::Abort => Event::Abort(format!("aborted by {by}")),
            Self::Rollback => Event::Rollback(format!("requested by {by}")),
            Self::Retry | Self::Revert | Self::Forget => return None,
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Context {
    /// Does what the annotations ask for, and removes them.
    pub(super) async fn handle_verbs(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
    ) -> Result<(), Unreconciled> {
        for verb in Verb::ALL {
            let Some(by) = resource.annotations().get(&verb.annotation()) else { continue };
            let done = self.handle(verb, by, driven).await?;
            let annotation = verb.annotation();
            self.patch(resource, json!({ "metadata": { "annotations": { annotation: Value::Null } } }))
                .await?;
            let (reason, message) = match &done {
                Ok(()) => ("Asked", format!("{by} asked to {verb}")),
                Err(why) => ("Refused", format!("{by} asked to {verb}, which is refused: {why}")),
            };
            tracing::info!(resource = resource.name_any(), "{message}");
            driven.ledger.publish(reason, &message, done.is_err()).await;
        }
        Ok(())
    }

    async fn handle(
        &self,
        verb: Verb,
        by: &str,
        driven: &Driven,
    ) -> Result<Result<(), String>, Unreconciled> {
        match verb {
            Verb::Forget => return self.forget(driven).await,
            Verb::Revert => return self.ask_to_revert(driven).await,
            _ => {}
        }
        let Some(event) = verb.event(by) else {
            let last = driven.ledger.status().await.history.first().map(|last| last.id.clone());
            let Some(last) = last else { return Ok(Err("there was no deployment yet".to_owned())) };
            driven.ledger.write(|status| status.retry = Some(last)).await?;
            return Ok(Ok(()));
        };
        Ok(match driven.running() {
            Some(running) => running.ask(event).await,
            None => Err("no deployment is under way".to_owned()),
        })
    }

    /// Gives up a deployment that nobody drives. The traffic stays where it is.
    async fn forget(&self, driven: &Driven) -> Result<Result<(), String>, Unreconciled> {
        if driven.running().is_some() || driven.ledger.status().await.deployment.is_none() {
            let why = "there is no deployment whose record cannot be read; to end one that is under way: cutover-operator abort";
            return Ok(Err(why.to_owned()));
        }
        driven.ledger.write(|status| status.deployment = None).await?;
        Ok(Ok(()))
    }
}
