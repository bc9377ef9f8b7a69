//! A definition that is missing or another one, and a namespace that is missing.

use cutover_tests::kubernetes::Cluster;
use cutover_tests::kubernetes::operator::apply_slots;
use serde_json::json;

use super::slots::shop;
use super::{check, heals};

const NAME: &str = "bluegreens.cutover.dev";

#[test]
fn the_definition_is_installed_by_what_it_proposes() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        let file = shop(&json!({}));
        heals(&namespace, &file, ("CustomResourceDefinition", NAME, ""), "it is not installed").await;
        cluster.kubectl().until_established(&["crd/bluegreens.cutover.dev"]).await.unwrap();

        let settle = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/settle";
        let older = json!([{ "op": "remove", "path": settle }]).to_string();
        cluster.kubectl().run(&["patch", "crd", NAME, "--type=json", "--patch", &older]).await.unwrap();
        let field = "spec.v1alpha1.openAPIV3Schema.properties.spec.properties.settle";
        heals(&namespace, &file, ("CustomResourceDefinition", NAME, field), "not the one of this program")
            .await;

        let mut elsewhere = file;
        elsewhere["metadata"]["namespace"] = json!("elsewhere");
        let found = check(&namespace, &elsewhere, &[]).await;
        assert_eq!((found.code, found.findings().len()), (1, 1), "{found:?}");
        heals(&namespace, &elsewhere, ("Namespace", "elsewhere", ""), "it does not exist").await;
    });
}
