//! What the tests and the simulation stand on: a real nginx on ports of its own, backends that know the truth, a load
//! that checks every answer, the real daemon.
//!
//! | fixture | is |
//! |---|---|
//! | [`Nginx`] | one nginx under a temporary prefix; its teardown reads the error log |
//! | [`Backend`] | an HTTP server inside the test that counts what really reached it |
//! | [`Admin`] | a client of the module's admin API |
//! | [`Load`] | connections that check each answer, with [`SlotOracle`] as the judge of slots |
//! | [`SteppingClock`] | a wall clock of nginx's own that a test sets |
//! | [`TestEdge`] | an nginx with one group over two backends, and a [`Switcher`] of it |
//! | [`Daemon`] | `cutover serve` and the command line beside it |
//! | [`TestHost`] | nginx, the daemon, and slots that are backends of the test's own |
//! | [`Site`] | all of it: nginx, the daemon, and a real shop with its database |
//!
//! Every process is ended by its id when its fixture goes, also when the test panics. Waits poll a condition and end
//! with a sentence that says what did not happen ([`wait`]).

#![forbid(unsafe_code)]

pub mod admin;
pub mod backend;
pub mod certificate;
pub mod client;
pub mod daemon;
pub mod flavour;
pub mod footprint;
pub mod http1;
pub mod load;
pub mod nginx;
pub mod ports;
pub mod process;
pub mod route_watcher;
pub mod seed;
pub mod site;
pub mod slot_oracle;
pub mod state_file;
pub mod stepping_clock;
pub mod switcher;
pub mod temp;
pub mod test_edge;
pub mod test_host;
pub mod wait;

pub use admin::Admin;
pub use backend::{Action, Backend};
pub use client::Client;
pub use daemon::Daemon;
pub use flavour::Flavour;
pub use load::{Load, Plan};
pub use nginx::Nginx;
pub use site::Site;
pub use slot_oracle::SlotOracle;
pub use stepping_clock::SteppingClock;
pub use switcher::Switcher;
pub use test_edge::TestEdge;
pub use test_host::TestHost;
