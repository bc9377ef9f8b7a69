//! Reads the agents over HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_edges::http::{Address, ask};
use cutover_engine::edge::EdgeError;
use cutover_engine::peers::request;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::Mutex;

use super::pods::ControllerPod;
use super::readings::{NoReport, Reading, Readings, SECRET};
use crate::agent::AgentReport;
use crate::edge::errors::unread;

/// Its key.
const KEY: &str = "token";

/// How long an agent may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// The same for one that did not answer the last time: what is known of the others is not kept back for it again and again.
const LATE: Duration = Duration::from_millis(300);

/// Asks the agents about one resource.
pub(super) struct Asking {
    client: Client,
    /// Where the Secret is.
    secrets: String,
    /// What the agents are asked for.
    path: String,
    token: Mutex<Option<String>>,
    /// The unique ids of the Pods that did not answer the last time.
    late: Mutex<BTreeSet<String>>,
}

impl Asking {
    pub(super) fn new(client: Client, secrets: &str, namespace: &str, name: &str) -> Self {
        let path = format!("/v1/groups/{namespace}/{name}");
        Self { client, secrets: secrets.to_owned(), path, token: Mutex::default(), late: Mutex::default() }
    }

    /// Asks all of them at once.
    pub(super) async fn all(&self, pods: &[ControllerPod]) -> Result<Readings, EdgeError> {
        let token = self.token().await?;
        let asked = join_all(pods.iter().map(|pod| self.one(pod, &token))).await;
        let readings: Vec<Reading> = pods.iter().cloned().zip(asked).map(Reading::from).collect();
        if readings.iter().all(|reading| matches!(&reading.report, Err(NoReport::Unauthorized))) {
            // There may be a new token.
            self.token.lock().take();
        }
        Ok(Readings::new(readings))
    }

    async fn one(&self, pod: &ControllerPod, token: &str) -> Result<AgentReport, NoReport> {
        let address = pod.agent.to_string();
        let failed = |why: String| NoReport::Silent(format!("its agent does not answer at {address}: {why}"));
        let authorization = format!("Bearer {token}");
        let headers = [("host", address.as_str()), ("authorization", authorization.as_str())];
        let call = request("GET", &self.path, &headers, None).map_err(|error| failed(error.to_string()))?;
        let limit = if self.late.lock().contains(&pod.uid) { LATE } else { LIMIT };
        let answer = ask(&Address::Tcp(address.clone()), call, limit).await;
        match &answer {
            Ok(_) => self.late.lock().remove(&pod.uid),
            Err(_) => self.late.lock().insert(pod.uid.clone()),
        };
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| failed(error.to_string())),
            401 => Err(NoReport::Unauthorized),
            status => {
                let body = String::from_utf8_lossy(&answer.body);
                Err(failed(format!("status {status}: {}", body.trim())))
            }
        }
    }

    async fn token(&self) -> Result<String, EdgeError> {
        if let Some(token) = self.token.lock().clone() {
            return Ok(token);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.secrets);
        let what = format!("Secret \"{SECRET}\" in namespace \"{}\"", self.secrets);
        let secret = secrets.get(SECRET).await.map_err(|error| unread(&what, error))?;
        let token = secret.data.as_ref().and_then(|data| data.get(KEY)).map(|value| value.0.as_slice());
        let token = token.and_then(|token| cutover_core::token::parse(token).ok());
        let token = token.and_then(|token| String::from_utf8(token.to_vec()).ok());
        let Some(token) = token else {
            return Err(EdgeError::Unusable {
                what,
                why: format!(
                    "its key \"{KEY}\" is not the token of the agents: the same as in their token file"
                ),
            });
        };
        *self.token.lock() = Some(token.clone());
        Ok(token)
    }
}
