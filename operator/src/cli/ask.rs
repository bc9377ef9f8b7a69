//! `promote`, `pause`, `resume`, `abort`, `rollback`, `retry`, `revert` and `forget`: set the annotation that the operator acts on.

use clap::Args;
use cutover_operator::client::client;
use cutover_operator::controller::Verb;
use cutover_operator::edge::MANAGER;
use cutover_operator::edge::told;
use cutover_operator::resource::BlueGreen;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The arguments.
#[derive(Args, Debug)]
pub(super) struct Ask {
    /// The BlueGreen.
    name: String,
    /// Its namespace; that of the kubeconfig's context if absent.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Who asks, for the events.
    #[arg(long, default_value_t = whoami(), value_name = "WHO")]
    by: String,
}

impl Ask {
    /// Sets the annotation.
    pub(super) async fn ask(self, verb: Verb) -> anyhow::Result<()> {
        let client = client().await?;
        let api: Api<BlueGreen> = match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        };
        let patch = json!({ "metadata": { "annotations": { verb.annotation(): self.by } } });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let asked = api.patch(&self.name, &params, &Patch::Merge(patch)).await;
        asked.map_err(|error| anyhow::anyhow!("BlueGreen \"{}\": {}", self.name, told(&error)))?;
        println!(
            "asked to {verb} {}; to see what comes of it: kubectl describe bluegreen {}",
            self.name, self.name
        );
        Ok(())
    }
}

fn whoami() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "cutover-operator".to_owned())
}
