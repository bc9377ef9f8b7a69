//! Adds the namespace of a resource to the metrics of its deployment: the engine knows only the group, which is the name.

use std::future::Future;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};

tokio::task_local! {
    static NAMESPACE: String;
}

/// Does some work whose metrics of a group get this namespace. What it spawns does not.
pub fn within<F: Future>(namespace: String, work: F) -> impl Future<Output = F::Output> {
    NAMESPACE.scope(namespace, work)
}

/// A recorder that adds the label `namespace` to what has the label `group`.
#[derive(Debug)]
pub(super) struct ByNamespace<R>(pub(super) R);

fn labelled(key: &Key) -> Key {
    let is_of_group = key.labels().any(|label| label.key() == "group");
    let add = |namespace: &String| key.with_extra_labels(vec![Label::new("namespace", namespace.clone())]);
    match is_of_group {
        true => NAMESPACE.try_with(add).unwrap_or_else(|_| key.clone()),
        false => key.clone(),
    }
}

impl<R: Recorder> Recorder for ByNamespace<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(&labelled(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(&labelled(key), metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.register_histogram(&labelled(key), metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_a_group_gets_the_namespace() {
        let labels = |key: &Key| {
            let pairs = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
            pairs.collect::<Vec<_>>().join(",")
        };
        let of_group = Key::from_parts("cutover_phase", vec![Label::new("group", "shop")]);
        let other = Key::from_name("cutover_journal_failing");
        let inside = within("web".to_owned(), async { (labelled(&of_group), labelled(&other)) }).await;
        assert_eq!(labels(&inside.0), "group=shop,namespace=web");
        assert_eq!(labels(&inside.1), "");
        assert_eq!(labels(&labelled(&of_group)), "group=shop");
    }
}
