//! What a deployment of a group would do, from its section of the configuration.

pub use cutover_engine::foreseen::DeploymentPlan;

#[cfg(test)]
mod tests {
    use cutover_core::api::{Group as Seen, RouteState, Slot};
    use cutover_engine::policy::Policy;

    use super::*;
    use crate::config::Config;

    fn seen(slots: &[&str]) -> Seen {
        let slot = |name: &&str| Slot { name: (*name).to_owned(), ..Slot::default() };
        Seen {
            name: "shop".to_owned(),
            route: RouteState {
                active: "green".to_owned(),
                generation: 0,
                split: None,
                trial: None,
                standby: None,
            },
            slots: slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    #[test]
    fn the_example_step_by_step() {
        let config = Config::parse(include_str!("../../../host/cutover.toml")).unwrap();
        let plan = DeploymentPlan::of(config.group("shop").unwrap(), &seen(&["blue", "green"])).unwrap();
        assert_eq!((plan.from.as_str(), plan.to.as_str()), ("green", "blue"));
        let steps: Vec<&str> = plan.steps.iter().map(|step| step.step).collect();
        let expected = "migrate provision probe smoke switch soak drain warm decommission way back";
        assert_eq!(steps.join(" "), expected);
        let said = plan.to_string();
        for part in [
            "a deployment of group shop to slot \"blue\" would:\n   1. migrate       /usr/local/bin/shop-migrate up (within 5m)\n",
            "start the new version in \"blue\": /usr/local/bin/shop-start (within 2m)",
            "/health/ready of its servers, each 1s until 2 good in a row, at most 1m; healthy must be: all",
            "the catalogue answers: /products within 5s",
            "back at once if proven to be over 1 % errors",
            "nginx takes it back if the daemon is silent for 30s",
            "then /usr/local/bin/shop-migrate down (within 5m)",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn steps_of_users_are_switches() {
        let text = "[edge.nginx]\nadmin = \"unix:/n\"\n[group.shop]\nsteps = [\"1% 2m\", \"10% manual\", \"100%\"]\n";
        let config = Config::parse(text).unwrap();
        let plan = DeploymentPlan::of(config.group("shop").unwrap(), &seen(&["green", "b"])).unwrap();
        let switches: Vec<&str> =
            plan.steps.iter().filter(|step| step.step == "switch").map(|step| step.does.as_str()).collect();
        assert_eq!(switches.len(), 3, "{switches:?}");
        assert!(switches[0].ends_with("of the traffic to \"b\", for 2m"), "{switches:?}");
        assert!(switches[1].ends_with("until: cutover promote shop"), "{switches:?}");
    }

    #[test]
    fn one_slot_is_no_plan() {
        assert_eq!(DeploymentPlan::of(&Policy::default(), &seen(&["green"])), None);
    }
}
