//! The words of the engine as they are said in a cluster.

use cutover_core::deployment::Phase;

use crate::setup::Setup;

/// The name of a phase, as in `RollingBack`.
pub fn phase(phase: &Phase) -> String {
    camel(phase.name())
}

/// `rolling_back` as `RollingBack`.
pub fn camel(name: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    name.split('_').map(capital).collect()
}

/// A message with the commands of this program in place of those for hosts: they take the same verbs.
pub fn of_cluster(message: &str, setup: &Setup) -> String {
    let group = cutover_core::shell::quoted(&setup.name);
    let mut text = message.to_owned();
    for verb in ["abort", "pause", "promote", "resume", "rollback"] {
        let on_host = format!("cutover {verb} {group}");
        text = text.replace(&on_host, &format!("cutover-operator {verb} {group} -n {}", setup.namespace));
    }
    text
}
