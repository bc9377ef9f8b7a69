//! The custom resource `BlueGreen`, in the group `cutover.dev`.
//!
//! ```text
//! spec      what the user wants: the Services, the slots, the edge, the version, and how it is deployed
//! status    what the operator has done: where the traffic is, the phase, and the journal of the deployment
//! ```

mod duration;
mod hooks;
mod migrations;
mod policy;
mod route;
mod spec;
mod status;
mod structural;

pub(crate) use duration::ten_seconds;
pub use hooks::{DiagnoseSpec, HooksSpec, SwitchedSpec, ToldStatus};
pub use migrations::{JobSpecOf, MigrationsSpec};
pub use route::{AgentStatus, PendingRoute, RouteStatus, SecondStatus, TrialStatus};
pub use spec::{BlueGreen, BlueGreenSpec, EdgeSpec, Promotion, SlotSpec, TemplateSpec};
pub use status::{BlueGreenStatus, JournalEntry, PastDeployment, UnrevertedStatus};
