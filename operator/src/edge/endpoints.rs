//! The Pods behind a Service that are ready, from its EndpointSlices.

use std::collections::BTreeSet;

use cutover_core::api::Peer;
use cutover_engine::edge::EdgeError;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};

use super::Names;
use super::errors::unread;

/// The addresses of a Service, as in `10.244.0.7:8080`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeSet<String>);

impl Endpoints {
    /// Reads them from the slices of one Service.
    pub fn of<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>, port: Option<&str>) -> Self {
        Self(slices.into_iter().flat_map(|slice| addresses(slice, port)).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As peers of a slot.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let peer =
            |address: &String| Peer { address: address.clone(), server: None, backup: false, down: false };
        self.0.iter().map(peer).collect()
    }
}

/// Reads the endpoints of a Service as they are now.
pub async fn backends(client: &Client, names: &Names, service: &str) -> Result<Endpoints, EdgeError> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &names.namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let listed = slices.list(&of_service).await;
    let listed =
        listed.map_err(|error| unread(&format!("EndpointSlices of Service \"{service}\""), error))?;
    Ok(Endpoints::of(&listed.items, names.port.as_deref()))
}

fn addresses(slice: &EndpointSlice, wanted: Option<&str>) -> Vec<String> {
    let ports = slice.ports.iter().flatten();
    let mut fits = ports.filter(|port| match wanted {
        None => true,
        Some(wanted) => {
            port.name.as_deref() == Some(wanted)
                || port.port.is_some_and(|number| number.to_string() == wanted)
        }
    });
    let Some(port) = fits.find_map(|port| port.port) else { return Vec::new() };
    let ready = slice.endpoints.iter().filter(|endpoint| {
        // An endpoint without this field is to be taken as ready.
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    let address = |address: &String| match slice.address_type.as_str() {
        "IPv6" => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    };
    ready.filter_map(|endpoint| endpoint.addresses.first()).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(json: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_what_is_ready_and_on_the_port() {
        let slices = [slice(serde_json::json!({
            "addressType": "IPv4",
            "metadata": {},
            "ports": [{ "name": "metrics", "port": 9090 }, { "name": "http", "port": 8080 }],
            "endpoints": [
                { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
                { "addresses": ["10.0.0.2"], "conditions": { "ready": false } },
                { "addresses": ["10.0.0.3"], "conditions": {} },
            ],
        }))];
        let found = |port| Endpoints::of(&slices, port).0.into_iter().collect::<Vec<_>>();
        assert_eq!(found(Some("http")), ["10.0.0.1:8080", "10.0.0.3:8080"]);
        assert_eq!(found(Some("9090")), ["10.0.0.1:9090", "10.0.0.3:9090"]);
        assert_eq!(found(Some("grpc")), Vec::<String>::new());
        assert_eq!(found(None).len(), 2);
    }

    #[test]
    fn an_address_of_version_6_is_in_brackets() {
        let slices = [slice(serde_json::json!({
            "addressType": "IPv6",
            "metadata": {},
            "ports": [{ "port": 80 }],
            "endpoints": [{ "addresses": ["fd00::1"] }],
        }))];
        assert_eq!(Endpoints::of(&slices, None).peers()[0].address, "[fd00::1]:80");
    }
}
