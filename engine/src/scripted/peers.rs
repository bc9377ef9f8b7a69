//! The servers of the world: they answer probes and smoke tests.

use std::time::Duration;

use cutover_core::smoke::Answer;
use http_body_util::BodyExt;

use super::world::Scripted;
use crate::peers::{Call, CheckError, Peers, Reply, What};

impl Peers for Scripted {
    async fn check(&self, peer: &str, call: Call, limit: Duration) -> Result<Reply, CheckError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let request = match call.what {
            What::Http { request, .. } => request,
            other => return self.passes(peer, &other),
        };
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let is_synthetic = head.headers.get("x-cutover-synthetic").is_some_and(|value| value == "1");
        if is_synthetic {
            self.scene().synthetic.push(peer.to_owned());
        }
        if is_synthetic && self.scene().hangs.is_some() {
            tokio::time::sleep(limit).await;
            return Err(CheckError::NoAnswer("no answer in time".to_owned()));
        }
        let mut scene = self.scene();
        let owner = scene.slots.iter().find(|(_, peers)| peers.iter().any(|one| one.address == peer));
        let slot = &*owner.map(|(name, _)| name.clone()).unwrap_or_default();
        if !scene.running.contains_key(slot) || scene.dead.iter().any(|dead| dead == peer) {
            return Err(CheckError::NotSent("no connection: connection refused".to_owned()));
        }
        let status = match head.uri.path() {
            "/health/ready" if scene.healthy(slot) => 200,
            "/health/ready" => {
                let is_fallback = scene.trial.as_ref().is_some_and(|trial| trial.fallback == slot);
                scene.sick_probes += u32::from(is_fallback);
                503
            }
            _ if is_synthetic && scene.running.get(slot) == scene.bad_version.as_ref() => 500,
            _ if scene.bad_smoke => 500,
            _ => {
                if scene.sick_after_smoke {
                    scene.sick.push(slot.to_owned());
                }
                200
            }
        };
        let version = scene.running.get(slot).cloned().unwrap_or_default();
        let said = format!("version {version} in {slot}, asked for {} {}", head.method, head.uri);
        let wanted = head.headers.get("x-wanted").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body = format!("{said} {wanted} {}", String::from_utf8_lossy(&body)).into_bytes();
        let headers = vec![("x-version".to_owned(), version), ("x-cutover-slot".to_owned(), slot.to_owned())];
        Ok(Reply::Http(Answer { status, headers, body }))
    }
}

impl Scripted {
    /// Other kinds of checks pass when the slot runs and is not sick.
    fn passes(&self, peer: &str, what: &What) -> Result<Reply, CheckError> {
        let scene = self.scene();
        let owner = scene.slots.iter().find(|(_, peers)| peers.iter().any(|one| one.address == peer));
        let slot = owner.map(|(name, _)| name.as_str()).unwrap_or_default();
        if !scene.running.contains_key(slot) || scene.dead.iter().any(|dead| dead == peer) {
            return Err(CheckError::NotSent("no connection: connection refused".to_owned()));
        }
        match what {
            What::Tcp => Ok(Reply::Connected),
            _ if !scene.healthy(slot) => Err(CheckError::Refused("NOT_SERVING".to_owned())),
            What::Command { environment, .. } => {
                let told =
                    ["CUTOVER_PEER", "CUTOVER_SLOT", "CUTOVER_VERSION"].map(|name| environment[name].clone());
                Ok(Reply::Succeeded(told.join(" ")))
            }
            _ => Ok(Reply::Serving(Answer::default())),
        }
    }
}
