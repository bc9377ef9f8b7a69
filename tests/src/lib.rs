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
//! | [`Database`] | SQLite, [`Postgres`] or [`Mariadb`]: a file, or a real server of Debian's package |
//! | [`TestHost`] | nginx and the daemon; the slots are backends of the test |
//! | [`Prometheus`] | a real Prometheus that scrapes each second |
//! | [`SshMachine`] | another machine: a real sshd in a network that a test can cut |
//! | [`FileHost`] | nginx without the module, and the daemon with an edge of kind "file" |
//! | [`Network`] | network namespaces for one test, connected by a bridge |
//! | [`Hosts`] | several hosts in a network, each with nginx and the same group |
//! | [`Terminal`] | a program in a pseudo-terminal, and what is on its screen |
//! | [`SmallDisk`] | a small tmpfs that a test can fill |
//! | [`Relay`] | a TCP relay that delays, and cuts answers off |
//! | [`TwoDaemons`] | nginx, etcd, and two daemons |
//! | [`Page`] | a page of the documentation, whose examples a test runs |
//! | [`DaemonHosts`] | etcd and two daemons, each on a host of its own; [`JournalWatch`] sees each record when it is written |
//! | [`kubernetes::Cluster`] | a real Kubernetes whose pods are addresses where a test listens |
//! | [`Site`] | nginx, the daemon, and a real shop with its database |
//!
//! Drop ends every process of a fixture by its id, also when the test panics. A wait polls a condition and fails with a
//! sentence that says what did not happen ([`wait`]).

#![forbid(unsafe_code)]

pub mod admin;
pub mod admin_proxy;
pub mod backend;
pub mod certificate;
pub mod client;
pub mod daemon;
pub mod daemon_hosts;
pub mod database;
pub mod etcd;
pub mod file_host;
pub mod flavour;
pub mod footprint;
pub mod grpc_server;
pub mod hosts;
pub mod http1;
pub mod journal_watch;
pub mod kubernetes;
pub mod load;
pub mod mariadb;
pub mod network;
pub mod nginx;
pub mod page;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod relay;
pub mod route_watcher;
pub mod seed;
pub mod site;
pub mod slot_oracle;
pub mod small_disk;
pub mod ssh_machine;
pub mod state_file;
pub mod stepping_clock;
pub mod switcher;
pub mod temp;
pub mod terminal;
pub mod test_edge;
pub mod test_host;
pub mod tls_front;
pub mod two_daemons;
pub mod wait;

pub use admin::Admin;
pub use backend::{Action, Backend};
pub use client::Client;
pub use daemon::Daemon;
pub use daemon_hosts::DaemonHosts;
pub use database::{Database, DatabaseKind};
pub use file_host::FileHost;
pub use flavour::Flavour;
pub use grpc_server::GrpcServer;
pub use hosts::Hosts;
pub use journal_watch::JournalWatch;
pub use load::{Load, Plan};
pub use mariadb::Mariadb;
pub use network::Network;
pub use nginx::Nginx;
pub use page::Page;
pub use postgres::Postgres;
pub use prometheus::Prometheus;
pub use relay::Relay;
pub use site::Site;
pub use slot_oracle::SlotOracle;
pub use small_disk::SmallDisk;
pub use ssh_machine::SshMachine;
pub use stepping_clock::SteppingClock;
pub use switcher::Switcher;
pub use terminal::Terminal;
pub use test_edge::TestEdge;
pub use test_host::TestHost;
pub use tls_front::TlsFront;
pub use two_daemons::TwoDaemons;
