//! Why the operator cannot promote a Rollout.

use serde_json::{Value, json};
use thiserror::Error;

/// Why the operator cannot promote a Rollout. The text completes "it ..".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unsuitable {
    /// Another strategy.
    #[error("has no spec.strategy.blueGreen: the operator drives blue-green Rollouts only")]
    Strategy,
    /// Another Service.
    #[error(
        "has the activeService \"{named}\", and spec.service of the BlueGreen is \"{wanted}\": they must be the same"
    )]
    Active {
        /// That of the Rollout.
        named: String,
        /// That of the BlueGreen.
        wanted: String,
    },
    /// Nothing leads to a new version before its promotion.
    #[error("has no previewService: add one, with a Service of its own")]
    Preview,
    /// Argo does not wait.
    #[error("promotes a new version by itself: set autoPromotionEnabled to false")]
    Promotes,
    /// The template is elsewhere.
    #[error("has a workloadRef: the operator needs the template in the Rollout itself")]
    Reference,
}

impl Unsuitable {
    /// The field of the Rollout.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Strategy => "spec.strategy",
            Self::Active { .. } => "spec.strategy.blueGreen.activeService",
            Self::Preview => "spec.strategy.blueGreen.previewService",
            Self::Promotes => "spec.strategy.blueGreen.autoPromotionEnabled",
            Self::Reference => "spec.workloadRef",
        }
    }

    /// The keys of `spec.strategy` that would be right. `None`: more must change.
    pub fn right(&self, service: &str) -> Option<Value> {
        let preview = format!("{service}-preview");
        match self {
            Self::Strategy => Some(json!({ "canary": null, "blueGreen": {
                "activeService": service, "previewService": preview, "autoPromotionEnabled": false,
            } })),
            Self::Active { wanted, .. } => Some(json!({ "blueGreen": { "activeService": wanted } })),
            Self::Preview => Some(json!({ "blueGreen": { "previewService": preview } })),
            Self::Promotes => Some(json!({ "blueGreen": { "autoPromotionEnabled": false } })),
            Self::Reference => None,
        }
    }
}

/// All that keeps the operator from promoting a Rollout whose users reach this Service.
pub fn unsuitable(rollout: &Value, service: &str) -> Vec<Unsuitable> {
    let of = |key: &str| rollout.pointer(&format!("/spec/strategy/blueGreen/{key}"));
    let mut all = Vec::new();
    if rollout.pointer("/spec/strategy/blueGreen").is_none() {
        all.push(Unsuitable::Strategy);
    } else {
        let named = of("activeService").and_then(Value::as_str).unwrap_or_default();
        if named != service {
            all.push(Unsuitable::Active { named: named.to_owned(), wanted: service.to_owned() });
        }
        if of("previewService").is_none() {
            all.push(Unsuitable::Preview);
        }
        if of("autoPromotionEnabled") != Some(&Value::Bool(false)) {
            all.push(Unsuitable::Promotes);
        }
    }
    if rollout.pointer("/spec/workloadRef").is_some() {
        all.push(Unsuitable::Reference);
    }
    all
}
