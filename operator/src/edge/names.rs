//! The names that an edge is about.

/// The annotation of a slot's Deployment with the version that it runs.
pub const VERSION: &str = "cutover.dev/version";

/// The name under which the operator writes.
pub const MANAGER: &str = "cutover-operator";

/// The label of the objects that the operator makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", MANAGER);

/// How often a change is tried again after another change of the same object, which did not move the route.
pub(super) const TRIES: u32 = 8;

/// The names that an edge is about.
#[derive(Clone, Debug)]
pub struct Names {
    /// The namespace.
    pub namespace: String,
    /// The name of the `BlueGreen`, which is the group.
    pub group: String,
    /// The Service that users reach.
    pub service: String,
    /// The port of the slots' Services, by name or number.
    pub port: Option<String>,
    /// The slots and their Services, in the order of the names.
    pub slots: Vec<(String, String)>,
}

impl Names {
    /// The Service of a slot.
    pub fn service_of(&self, slot: &str) -> Option<&str> {
        self.slots.iter().find(|(name, _)| name == slot).map(|(_, service)| service.as_str())
    }

    /// The slot of a Service.
    pub(super) fn slot_of(&self, service: &str) -> Option<&str> {
        self.slots.iter().find(|(_, its)| its == service).map(|(slot, _)| slot.as_str())
    }
}
