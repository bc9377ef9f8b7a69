//! The words of the engine as they are said in a cluster.

use cutover_core::deployment::{Phase, Plan};
use cutover_core::shell::quoted;

use crate::resource::EdgeSpec;
use crate::setup::Setup;

/// What names a key of a host's file, or the daemon, and what it is here.
const OTHERS: [(&str, &str); 7] = [
    ("so that waits for the daemon", "so that waits for the operator"),
    ("another daemon goes on with it", "another operator goes on with it"),
    ("if the daemon is silent for", "if the operator is silent for"),
    ("it does not let the daemon in", "it does not let the operator in"),
    ("set probe.require = \"one\"", "set spec.policy.probe.require: one"),
    (
        "set tls.sni, as in tls = { sni = \"shop.example\" }",
        "set spec.policy.probe.tls.sni, as in tls: { sni: shop.example }",
    ),
    ("start more servers, or set", "start more Pods, or set"),
];

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

/// The command that asks for something, as in `cutover-operator retry shop -n web`.
pub fn verb(verb: &str, name: &str, namespace: &str) -> String {
    format!("cutover-operator {verb} {} -n {namespace}", quoted(name))
}

/// A message with commands that can be typed here in place of those for hosts.
pub fn of_cluster(message: &str, plan: &Plan, setup: &Setup) -> String {
    let (group, namespace) = (quoted(&setup.name), &setup.namespace);
    let mut text = message.to_owned();
    let mut say = |on_host: String, here: String| text = text.replace(&on_host, &here);
    for asked in ["abort", "pause", "promote", "resume", "rollback"] {
        say(format!("cutover {asked} {group}"), verb(asked, &setup.name, namespace));
    }
    say(format!("cutover run {group} revert"), verb("revert", &setup.name, namespace));
    say(format!("cutover status {group}"), format!("kubectl describe bluegreen {group} -n {namespace}"));
    let deploy = format!(
        "kubectl patch bluegreen {group} -n {namespace} --type merge -p '{{\"spec\":{{\"version\":\"VERSION\"}}}}'"
    );
    say(format!("cutover deploy {group} --version VERSION"), deploy.clone());
    say(format!("a smaller capacity in [group.{}]", setup.name), "a smaller spec.policy.capacity".to_owned());
    for (on_host, here) in OTHERS {
        say(on_host.to_owned(), here.to_owned());
    }
    for (command, slot) in [("teardown", &plan.to), ("decommission", &plan.from)] {
        let deployment = setup.slots.get(slot).map(|slot| slot.deployment.as_str()).unwrap_or_default();
        if !deployment.is_empty() {
            let scale = format!("kubectl scale deployment {deployment} -n {namespace} --replicas=0");
            say(format!("cutover run {group} {command}"), scale);
        }
    }
    // Agents would take a change by hand back, but the version of the other slot can be deployed again.
    let carrier = carrier(setup).map(|carrier| format!("kubectl edit {carrier} -n {namespace}"));
    for slot in setup.slots.keys() {
        let switch = format!("cutover switch {group} --to {}", quoted(slot));
        let here = carrier.as_ref().unwrap_or(&deploy);
        say(format!("{switch} --force"), here.clone());
        say(switch, here.clone());
    }
    if matches!(setup.edge, EdgeSpec::IngressNginx(_)) {
        // What lags in a cluster is an nginx whose agent has not followed yet.
        say("old workers of nginx".to_owned(), "nginx that lag".to_owned());
        say("old worker of nginx".to_owned(), "nginx that lags".to_owned());
        // A controller knows the Pods of the Services that an Ingress names.
        say(
            "it has no server except backup and down ones".to_owned(),
            "ingress-nginx knows no Pod of it: an Ingress of its class has to name the Service of each slot"
                .to_owned(),
        );
    }
    text
}

/// The object by which somebody gives a slot the traffic by hand. `None`: agents would take it back.
fn carrier(setup: &Setup) -> Option<String> {
    match &setup.edge {
        EdgeSpec::Service {} | EdgeSpec::IngressCanary(_) => Some(format!("service {}", setup.service)),
        EdgeSpec::Gateway(gateway) => Some(format!("httproute {}", gateway.route)),
        EdgeSpec::ArgoRollouts(rollouts) => Some(format!("rollout {}", rollouts.rollout)),
        EdgeSpec::IngressNginx(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use cutover_engine::policy::Policy;
    use serde_json::json;

    use super::*;

    fn setup() -> Setup {
        serde_json::from_value(json!({
            "namespace": "web", "name": "shop", "service": "apex", "version": "2", "edge": { "service": {} },
            "slots": {
                "blue": { "deployment": "shop-blue", "service": "b" },
                "green": { "deployment": "shop-green", "service": "g" },
            },
        }))
        .unwrap()
    }

    #[test]
    fn advice_can_be_typed_in_a_cluster() {
        let setup = setup();
        let plan = Policy::default().plan("shop", "blue", "green");
        for (on_host, here) in [
            ("cutover rollback shop", "cutover-operator rollback shop -n web"),
            ("cutover status shop", "kubectl describe bluegreen shop -n web"),
            (
                "cutover deploy shop --version VERSION",
                r#"kubectl patch bluegreen shop -n web --type merge -p '{"spec":{"version":"VERSION"}}'"#,
            ),
            ("cutover run shop revert", "cutover-operator revert shop -n web"),
            ("cutover run shop teardown", "kubectl scale deployment shop-green -n web --replicas=0"),
            ("cutover run shop decommission", "kubectl scale deployment shop-blue -n web --replicas=0"),
            ("cutover switch shop --to blue", "kubectl edit service apex -n web"),
            ("cutover switch shop --to blue --force", "kubectl edit service apex -n web"),
        ] {
            let said = of_cluster(&format!("it failed; next, type: {on_host}"), &plan, &setup);
            assert_eq!(said, format!("it failed; next, type: {here}"));
        }
    }

    #[test]
    fn keys_are_those_of_the_spec() {
        let setup = setup();
        let plan = Policy::default().plan("shop", "blue", "green");
        let lacks = Policy::default();
        let abilities = crate::edge::abilities(&setup.edge);
        let without = abilities.goes_without(&lacks).join("; ");
        assert!(!of_cluster(&without, &plan, &setup).contains("daemon"), "{without}");
        for (on_host, here) in [
            (
                "start more servers, or set a smaller capacity in [group.shop]",
                "start more Pods, or set a smaller spec.policy.capacity",
            ),
            ("another daemon goes on with it; the route", "another operator goes on with it; the route"),
            (
                "nginx takes it back if the daemon is silent for 30s",
                "nginx takes it back if the operator is silent for 30s",
            ),
            (
                "this edge cannot take a bad version back by itself, so that waits for the daemon",
                "this edge cannot take a bad version back by itself, so that waits for the operator",
            ),
            ("or set probe.require = \"one\"", "or set spec.policy.probe.require: one"),
            (
                "set tls.sni, as in tls = { sni = \"shop.example\" }",
                "set spec.policy.probe.tls.sni, as in tls: { sni: shop.example }",
            ),
            (
                "status 401: it does not let the daemon in; set token_file, or headers",
                "status 401: it does not let the operator in; set token_file, or headers",
            ),
        ] {
            assert_eq!(of_cluster(on_host, &plan, &setup), here);
        }
    }

    #[test]
    fn where_agents_carry_the_route_nobody_is_told_to_edit_it() {
        let mut setup = setup();
        setup.edge = serde_json::from_value(json!({ "ingressNginx": {} })).unwrap();
        let plan = Policy::default().plan("shop", "blue", "green");
        let deploy =
            r#"kubectl patch bluegreen shop -n web --type merge -p '{"spec":{"version":"VERSION"}}'"#;
        for (on_host, here) in [
            ("type: cutover switch shop --to blue --force", format!("type: {deploy}")),
            ("type: cutover switch shop --to blue", format!("type: {deploy}")),
            ("from 1 old worker of nginx", "from 1 nginx that lags".to_owned()),
            ("from 2 old workers of nginx", "from 2 nginx that lag".to_owned()),
            (
                "was not healthy within 5m: it has no server except backup and down ones",
                "was not healthy within 5m: ingress-nginx knows no Pod of it: an Ingress of its class has to name the Service of \
                 each slot"
                    .to_owned(),
            ),
        ] {
            assert_eq!(of_cluster(on_host, &plan, &setup), here);
        }
    }
}
