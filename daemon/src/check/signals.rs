//! Asks each signal once, for the version that is live.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::verdict::Value;
use cutover_engine::edge::Edge;
use cutover_engine::fleet::{Fleet, Member};
use cutover_engine::policy::Signal;
use cutover_engine::signals::Signals;
use cutover_engine::versions::Versions;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::Finding;
use crate::config::Config;

/// Asks all signals of all groups at once. `versions`: those in the slots of each group, as far as the daemon knows.
pub async fn check_signals<E: Edge>(
    config: &Config,
    edges: &[Member<E>],
    signals: &impl Signals,
    versions: &BTreeMap<String, Versions>,
) -> Vec<Finding> {
    let with_signals = config.group.iter().filter(|(_, group)| !group.signal.is_empty());
    let asking = with_signals.map(async |(name, group)| {
        let name = name.as_str();
        // Another check says that no edge answers.
        let Ok(view) = Fleet::new(edges, &group.edges).look(name).await else { return Vec::new() };
        let active = &view.group.route.active;
        let known = versions.get(name).cloned().unwrap_or_default();
        let asking = group.signal.iter().map(|signal| check_signal(signals, name, signal, active, &known));
        join_all(asking).await.into_iter().flatten().collect()
    });
    join_all(asking).await.into_iter().flatten().collect()
}

async fn check_signal(
    signals: &impl Signals,
    group: &str,
    signal: &Signal,
    active: &str,
    versions: &Versions,
) -> Option<Finding> {
    let at = format!("group.{group}.signal \"{}\"", signal.name);
    let query = match signal.query(group, &versions.values(active)) {
        Ok(query) => query,
        Err(why) => return Some(Finding::Hint(format!("{at}: it was not asked, because {why}"))),
    };
    let limit = signal.timeout;
    let answer = timeout(limit.get(), signals.value(signal, &query, Duration::ZERO)).await;
    match answer.unwrap_or_else(|_| Err(format!("{}: no answer within {limit}", signal.url))) {
        Err(why) => Some(Finding::Problem(format!("{at}: {why}; without a value, a soak is inconclusive"))),
        Ok(None) => Some(Finding::Warning(format!(
            "{at}: it has no value now for slot \"{active}\", which has the traffic: the query has no result: {query}"
        ))),
        Ok(Some(value)) if value.is_nan() => Some(Finding::Warning(format!(
            "{at}: it has no value now for slot \"{active}\", which has the traffic: the result is NaN: {query}"
        ))),
        Ok(Some(value)) if value > signal.limit && signal.compare.is_none() => {
            Some(Finding::Warning(format!(
                "{at}: it is {} for slot \"{active}\", which has the traffic, and that is above its limit {}",
                Value(value),
                Value(signal.limit)
            )))
        }
        Ok(Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use cutover_engine::scripted::{Said, Scripted};
    use cutover_engine::world::World;

    use super::*;

    const TEXT: &str = "[edge.nginx]\nadmin = \"unix:/nginx\"\n[group.shop.soak]\nduration = \"2m\"\n\
                        [[group.shop.signal]]\nname = \"errors\"\npromql = 'errors{slot=\"{slot}\"}'\n\
                        url = \"http://127.0.0.1:9090\"\nlimit = 0.5\n";

    async fn found(text: &str, said: Said) -> String {
        let world = Scripted::new();
        world.scene().signals.insert("blue".to_owned(), said);
        let found =
            check_signals(&Config::parse(text).unwrap(), world.edges(), &world, &BTreeMap::new()).await;
        found.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_says_now() {
        for (said, finding) in [
            (Said::Value(0.5), ""),
            (
                Said::Value(0.75),
                "warning: group.shop.signal \"errors\": it is 0.75 for slot \"blue\", which has the traffic, and that is \
                 above its limit 0.5\n",
            ),
            (
                Said::Nothing,
                "warning: group.shop.signal \"errors\": it has no value now for slot \"blue\", which has the traffic: the \
                 query has no result: errors{slot=\"blue\"}\n",
            ),
            (
                Said::Value(f64::NAN),
                "warning: group.shop.signal \"errors\": it has no value now for slot \"blue\", which has the traffic: the \
                 result is NaN: errors{slot=\"blue\"}\n",
            ),
            (
                Said::Fails("http://127.0.0.1:9090: no connection: refused".to_owned()),
                "problem: group.shop.signal \"errors\": http://127.0.0.1:9090: no connection: refused; without a value, a \
                 soak is inconclusive\n",
            ),
            (
                Said::Hangs,
                "problem: group.shop.signal \"errors\": http://127.0.0.1:9090: no answer within 5s; without a value, a soak \
                 is inconclusive\n",
            ),
        ] {
            assert_eq!(found(TEXT, said).await, finding);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_not_known_is_a_hint() {
        let text = TEXT.replace("{slot}", "{version}");
        let said = "hint: group.shop.signal \"errors\": it was not asked, because the version of slot \"blue\" is not known\n";
        assert_eq!(found(&text, Said::Value(1.0)).await, said);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_old_version_does_as_well_is_no_finding() {
        let text = TEXT.replace("limit = 0.5", "limit = 0.5\ncompare = \"old\"");
        assert_eq!(found(&text, Said::Value(1.0)).await, "");
    }
}
