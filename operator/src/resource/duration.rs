//! Times as a text.

/// A text as in `1h30m`.
pub(super) const DURATION: &str = r"^([0-9]+(ms|s|m|h|d))+$";

pub(super) fn five_minutes() -> String {
    "5m".to_owned()
}

/// Longer than kube-proxy, ingress-nginx and gateways take on a busy cluster.
pub(crate) fn ten_seconds() -> String {
    "10s".to_owned()
}
