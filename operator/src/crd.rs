//! The definition of the custom resource, as YAML.

use kube::CustomResourceExt;

use crate::resource::BlueGreen;

/// The `CustomResourceDefinition` of `BlueGreen`.
pub fn yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&BlueGreen::crd())
}
