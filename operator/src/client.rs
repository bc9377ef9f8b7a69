//! The client of the API server, which gives up on one that hangs.

use std::time::Duration;

use anyhow::Context as _;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

/// How long the API server may take for the head of an answer: longer than a busy one takes, and no longer than a Lease lasts. The
/// events of a watch have no limit: they come after the head, for minutes.
const LIMIT: Duration = Duration::from_secs(10);

/// The client of the cluster that the kubeconfig or the Pod's service account names.
pub async fn client() -> anyhow::Result<Client> {
    let config = Config::infer().await.context(
        "no Kubernetes cluster is configured: set KUBECONFIG, or run in a Pod with a service account's token",
    )?;
    of(config)
}

/// The same of a configuration.
///
/// Without a limit, a connection that was cut without a word would hold a deployment for as long as the kernel tries: a quarter
/// of an hour.
pub fn of(config: Config) -> anyhow::Result<Client> {
    let builder =
        ClientBuilder::try_from(config).context("the configuration of the cluster cannot be used")?;
    Ok(builder.with_layer(&TimeoutLayer::new(LIMIT)).build())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::Api;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", silent.local_addr().unwrap());
        let client = of(Config::new(address.parse().unwrap())).unwrap();
        let begin = tokio::time::Instant::now();
        let asked = Api::<Service>::namespaced(client, "web").get("shop").await;
        let error = asked.unwrap_err();
        assert!(!matches!(error, kube::Error::Api(_)), "whether a write has arrived is not known: {error}");
        assert!(error.to_string().contains("timed out"), "{error}");
        assert!(begin.elapsed() < 2 * LIMIT, "{:?}", begin.elapsed());
    }
}
