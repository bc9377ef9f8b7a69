//! The backends that the controller has given to its nginx.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cutover_core::api::{Group, Peer, Slot};
use cutover_edges::http::{Address, ask_for};
use cutover_engine::peers::request;
use serde::Deserialize;

/// The path, in nginx's own configuration of ingress-nginx.
const PATH: &str = "/configuration/backends";

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The largest list of backends, in bytes.
const MOST: usize = 64 * 1024 * 1024;

/// The controller's own port in its nginx.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    address: SocketAddr,
}

/// The backends by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Backends(BTreeMap<String, Backend>);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Backend {
    name: String,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    alternative_backends: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    address: String,
    port: String,
}

impl Controller {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Reads the backends. The error is one line.
    pub(super) async fn backends(&self) -> Result<Backends, String> {
        let shown = format!("http://{}{PATH}", self.address);
        let failed = |why: String| format!("the controller does not tell its backends at {shown}: {why}");
        let host = self.address.to_string();
        let call =
            request("GET", PATH, &[("host", &host)], None).map_err(|error| failed(error.to_string()))?;
        let answer = ask_for(&Address::Tcp(host), call, LIMIT, MOST).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if answer.status != 200 {
            return Err(failed(format!("status {}", answer.status)));
        }
        Backends::read(&answer.body).map_err(|error| failed(error.to_string()))
    }
}

impl Backends {
    fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let all: Vec<Backend> = serde_json::from_slice(body)?;
        Ok(Self(all.into_iter().map(|backend| (backend.name.clone(), backend)).collect()))
    }

    /// Gives the slots of a group the endpoints of their backends. The module does not know these.
    pub(super) fn fill(&self, group: &mut Group) {
        for slot in &mut group.slots {
            slot.peers = self.peers(slot);
        }
    }

    /// A slot whose backend gives a part of its traffic away, past the route: by a canary Ingress.
    pub(super) fn canary(&self, prefix: &str) -> Option<String> {
        let gives_away = |backend: &&Backend| {
            backend.name.starts_with(prefix)
                && backend.alternative_backends.as_ref().is_some_and(|others| !others.is_empty())
        };
        self.0.values().find(gives_away).map(|backend| backend.name.clone())
    }

    fn peers(&self, slot: &Slot) -> Vec<Peer> {
        let endpoints = self.0.get(&slot.upstream).and_then(|backend| backend.endpoints.as_ref());
        let address = |endpoint: &Endpoint| match endpoint.address.contains(':') {
            true => format!("[{}]:{}", endpoint.address, endpoint.port),
            false => format!("{}:{}", endpoint.address, endpoint.port),
        };
        let peer = |endpoint| Peer { address: address(endpoint), server: None, backup: false, down: false };
        endpoints.into_iter().flatten().map(peer).collect()
    }
}

/// Whether the module knows the servers of a group itself: it does not in a group of backend names.
pub(super) fn is_of_backends(group: &Group) -> bool {
    group.slots.iter().all(|slot| slot.peers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_backends() {
        let body = br#"[
            {"name":"web-shop-blue-http","service":{},"port":"http","endpoints":[
                {"address":"10.0.0.1","port":"8080"},{"address":"fd00::1","port":"8080"}]},
            {"name":"web-shop-green-http","endpoints":null},
            {"name":"web-shop-http","alternativeBackends":["web-canary-http"]}
        ]"#;
        let backends = Backends::read(body).unwrap();
        let slot = |upstream: &str| Slot { upstream: upstream.to_owned(), ..Slot::default() };
        let addresses = |upstream| {
            backends.peers(&slot(upstream)).into_iter().map(|peer| peer.address).collect::<Vec<_>>()
        };
        assert_eq!(addresses("web-shop-blue-http"), ["10.0.0.1:8080", "[fd00::1]:8080"]);
        assert!(addresses("web-shop-green-http").is_empty() && addresses("web-other-http").is_empty());
        assert_eq!(backends.canary("web-shop-").as_deref(), Some("web-shop-http"));
        assert_eq!(backends.canary("web-blog-"), None);
    }
}
