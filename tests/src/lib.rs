//! What the tests and the simulation stand on: a real nginx on ports of its own, backends that know the truth, a load
//! that checks every answer, the real daemon.
//!
//! | fixture | is |
//! |---|---|
//! | [`Nginx`] | one nginx under a temporary prefix; its teardown reads the error log |
//! | [`Backend`] | an HTTP server inside the test that counts what really reached it |
//! | [`Admin`] | a client of the module's admin API |
//! | [`Load`] | connections that check each answer, with [`Expected`] as the judge of slots |
//! | [`SteppingClock`] | a wall clock of nginx's own that a test sets |
//! | [`Edge`] | an nginx with one group over two backends, and a [`Switcher`] of it |
//! | [`Daemon`] | `cutover serve` and the command line beside it |
//! | [`Stage`] | nginx, the daemon, and slots that are backends of the test's own |
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
pub mod edge;
pub mod expected;
pub mod flavour;
pub mod footprint;
pub mod http1;
pub mod load;
pub mod nginx;
pub mod ports;
pub mod process;
pub mod seed;
pub mod site;
pub mod stage;
pub mod stepping_clock;
pub mod switcher;
pub mod temp;
pub mod wait;
pub mod watch;

pub use admin::Admin;
pub use backend::{Action, Backend};
pub use client::Client;
pub use daemon::Daemon;
pub use edge::Edge;
pub use expected::Expected;
pub use flavour::Flavour;
pub use load::{Load, Plan};
pub use nginx::Nginx;
pub use site::Site;
pub use stage::Stage;
pub use stepping_clock::SteppingClock;
pub use switcher::Switcher;
