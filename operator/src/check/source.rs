//! Where objects come from: files whose objects are not applied yet, and the cluster. A file comes first.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::finding::{At, Finding};
use crate::edge::told;

/// The objects of files, and the cluster behind them.
pub(super) struct Source {
    client: Client,
    files: Vec<Value>,
}

/// The objects of a file: YAML or JSON, several documents, lists. Those without a namespace get this one.
pub fn documents(name: &str, text: &str, namespace: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = Value::deserialize(document).map_err(|error| format!("{name}: {error}"))?;
        match object.get("items") {
            _ if object.is_null() => {}
            Some(Value::Array(items)) => objects.extend(items.iter().cloned()),
            _ => objects.push(object),
        }
    }
    for object in &mut objects {
        if object.get("kind").and_then(Value::as_str).is_none() {
            return Err(format!("{name}: a document has no kind, so it is no object of Kubernetes"));
        }
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.ok_or_else(|| format!("{name}: a document has no metadata with a name"))?;
        metadata.entry("namespace").or_insert_with(|| Value::String(namespace.to_owned()));
    }
    Ok(objects)
}

impl Source {
    /// The objects of files before those of the cluster.
    pub(super) fn new(client: Client, files: Vec<Value>) -> Self {
        Self { client, files }
    }

    /// The API.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The objects of a kind in a namespace.
    pub(super) async fn list<K>(&self, namespace: &str) -> Result<Vec<K>, Box<Finding>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let listed = api.list(&ListParams::default()).await;
        let listed = listed.map_err(|error| Box::new(unread(At::object(&kind, namespace, "*"), &error)))?;
        let mut objects = Vec::new();
        for object in self.files.iter().filter(|object| is(object, &kind, namespace)) {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let read = serde_json::from_value(object.clone());
            let wrong = |error: serde_json::Error| {
                Box::new(Finding::problem(
                    At::object(&kind, namespace, name),
                    format!("it cannot be read: {error}"),
                ))
            };
            objects.push(read.map_err(wrong)?);
        }
        let in_files: Vec<String> = objects.iter().map(K::name_any).collect();
        objects.extend(listed.into_iter().filter(|object| !in_files.contains(&object.name_any())));
        Ok(objects)
    }

    /// One object as it is written. `None`: there is none.
    pub(super) async fn get(
        &self,
        api: &Api<kube::core::DynamicObject>,
        at: &At,
    ) -> Result<Option<Value>, Box<Finding>> {
        let is_it = |object: &&Value| {
            is(object, &at.kind, &at.namespace)
                && object.pointer("/metadata/name").and_then(Value::as_str) == Some(&at.name)
        };
        if let Some(object) = self.files.iter().find(is_it) {
            return Ok(Some(object.clone()));
        }
        let got = api.get_opt(&at.name).await.map_err(|error| Box::new(unread(at.clone(), &error)))?;
        Ok(got.and_then(|object| serde_json::to_value(object).ok()))
    }
}

fn is(object: &Value, kind: &str, namespace: &str) -> bool {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    text("/kind") == kind && text("/metadata/namespace") == namespace
}

/// What depends on this object could not be checked.
pub(super) fn unread(at: At, error: &kube::Error) -> Finding {
    Finding::warning(at, format!("it cannot be read, so what depends on it is not checked: {}", told(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_of_yaml_and_json() {
        let text = "kind: A\nmetadata: { name: a }\n---\n# nothing\n---\n{\"kind\": \"List\", \"items\": [{\"kind\": \"B\", \
                    \"metadata\": {\"name\": \"b\", \"namespace\": \"other\"}}]}\n";
        let objects = documents("f", text, "web").unwrap();
        let seen: Vec<_> = [("A", "web"), ("B", "other")].into();
        for (object, (kind, namespace)) in objects.iter().zip(seen) {
            assert!(is(object, kind, namespace), "{object}");
        }
        assert_eq!(objects.len(), 2);
    }

    #[test]
    fn what_is_no_object() {
        for (text, why) in [
            ("a: b", "f: a document has no kind"),
            ("kind: A", "f: a document has no metadata"),
            ("a: b: c", "f: mapping values are not allowed"),
        ] {
            let said = documents("f", text, "web").unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }
}
