//! The harness of the tests, the simulation and the benchmarks: a real nginx on free ports, backends that count what they
//! receive, a load that checks every answer, the real daemon.
//!
//! | fixture | is |
//! |---|---|
//! | [`Nginx`] | one nginx under a temporary prefix; its teardown checks the error log |
//! | [`Backend`] | an HTTP server inside the test process that counts what it receives |
//! | [`GrpcServer`], [`TlsFront`] | a gRPC health service, and TLS in front of any server |
//! | [`Admin`] | a client of the module's admin API |
//! | [`Load`] | connections that check each answer; [`SlotOracle`] says which slot may answer |
//! | [`SteppingClock`] | a wall clock for one nginx that a test sets |
//! | [`TestEdge`] | nginx with one group over two backends, and a [`Switcher`] for the group |
//! | [`etcd::Cluster`] | members of etcd that a test kills and stops; [`proxy::Proxy`] cuts a daemon off |
//! | [`Daemon`] | `cutover serve` and its command line |
//! | [`TestHost`] | nginx and the daemon; the slots are backends of the test |
//! | [`Prometheus`] | a real Prometheus that scrapes each second |
//! | [`SshMachine`] | another machine: a real sshd in a network that a test can cut |
//! | [`FileHost`] | nginx without the module, and the daemon with an edge of kind "file" |
//! | [`Network`] | network namespaces for one test, connected by a bridge |
//! | [`Hosts`] | several hosts in a network, each with nginx and the same group |
//! | [`Relay`] | a TCP relay that delays, and cuts answers off |
//! | [`TwoDaemons`] | nginx, etcd, and two daemons |
//! | [`Page`] | a page of the documentation, whose examples a test runs |
//! | [`Site`] | nginx, the daemon, and a real shop with its database |
//!
//! Drop ends every process of a fixture by its id, also when the test panics. A wait polls a condition and fails with a
//! sentence that says what did not happen ([`wait`]).

#![forbid(unsafe_code)]

pub mod admin;
pub mod backend;
pub mod certificate;
pub mod client;
pub mod daemon;
pub mod etcd;
pub mod file_host;
pub mod flavour;
pub mod footprint;
pub mod grpc_server;
pub mod hosts;
pub mod http1;
pub mod load;
pub mod network;
pub mod nginx;
pub mod page;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod relay;
pub mod route_watcher;
pub mod seed;
pub mod site;
pub mod slot_oracle;
pub mod ssh_machine;
pub mod state_file;
pub mod stepping_clock;
pub mod switcher;
pub mod temp;
pub mod test_edge;
pub mod test_host;
pub mod tls_front;
pub mod two_daemons;
pub mod wait;

pub use admin::Admin;
pub use backend::{Action, Backend};
pub use client::Client;
pub use daemon::Daemon;
pub use file_host::FileHost;
pub use flavour::Flavour;
pub use grpc_server::GrpcServer;
pub use hosts::Hosts;
pub use load::{Load, Plan};
pub use network::Network;
pub use nginx::Nginx;
pub use page::Page;
pub use prometheus::Prometheus;
pub use relay::Relay;
pub use site::Site;
pub use slot_oracle::SlotOracle;
pub use ssh_machine::SshMachine;
pub use stepping_clock::SteppingClock;
pub use switcher::Switcher;
pub use test_edge::TestEdge;
pub use test_host::TestHost;
pub use tls_front::TlsFront;
pub use two_daemons::TwoDaemons;
