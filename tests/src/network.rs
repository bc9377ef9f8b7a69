//! A network of hosts for one test: Linux network namespaces that are connected by a bridge.
//!
//! ```text
//!  namespace of the test        namespaces of the hosts
//!  test, daemon, backends       nginx of host 1, nginx of host 2, ..
//!  br0 10.77.0.254  ----------  eth0 10.77.0.1, eth0 10.77.0.2, ..
//! ```
//!
//! The test runs on threads of its own that are in the first namespace, so tests that run at the same time can use the same
//! addresses, and nothing of the machine's own network changes. Drop removes the namespaces; those of a test that was killed
//! are removed by the next one.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{self, Pid};

/// Where `ip netns` keeps the namespaces that it has named.
const FOLDER: &str = "/run/netns";
const PREFIX: &str = "cutover-";
/// The hardware address of the bridge.
const BRIDGE: &str = "02:00:00:00:00:fe";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The namespace of the test, with the bridge.
#[derive(Debug)]
pub struct Network {
    namespace: Namespace,
}

impl Network {
    /// The address of the test, its backends and its daemon.
    pub const TEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

    /// Runs a test in a network of its own. Panics when the test panics, or when there can be no network.
    pub fn run<T: Send>(test: impl AsyncFnOnce(&Self) -> T + Send) -> T {
        #[expect(clippy::expect_used, reason = "a test fails by panicking")]
        let run = || {
            let network = Self::make().expect("failed to make a network; it needs root and iproute2");
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("failed to start a runtime").block_on(test(&network))
        };
        // The threads of the runtime are started by this thread, so they are in its namespace.
        let ended = thread::scope(|scope| scope.spawn(run).join());
        ended.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// Makes the namespace and moves this thread into it.
    fn make() -> Result<Self> {
        remove_leftovers();
        let namespace = Namespace::make()?;
        namespace.enter()?;
        ip(&["link", "set", "lo", "up"])?;
        // Without an address of its own, the bridge takes the lowest one of its hosts. It would then change when a host is added,
        // and the others would send to the old one for half a minute.
        ip(&["link", "add", "br0", "address", BRIDGE, "type", "bridge"])?;
        ip(&["address", "add", &format!("{}/24", Self::TEST), "dev", "br0"])?;
        ip(&["link", "set", "br0", "up"])?;
        Ok(Self { namespace })
    }

    /// Adds the host with the address `10.77.0.NUMBER`; from 1 to 253.
    pub fn host(&self, number: u8) -> Result<Host> {
        let namespace = Namespace::make()?;
        let host = Host {
            address: Ipv4Addr::new(10, 77, 0, number),
            link: format!("host{number}"),
            test: self.namespace.name.clone(),
            namespace,
        };
        let inside = host.namespace.name.as_str();
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", inside];
        ip(&[&["-n", &host.test, "link", "add", &host.link], &pair[..]].concat())?;
        ip(&["-n", &host.test, "link", "set", &host.link, "master", "br0", "up"])?;
        ip(&["-n", inside, "link", "set", "lo", "up"])?;
        ip(&["-n", inside, "address", "add", &format!("{}/24", host.address), "dev", "eth0"])?;
        ip(&["-n", inside, "link", "set", "eth0", "up"])?;
        Ok(host)
    }
}

/// One host.
#[derive(Debug)]
pub struct Host {
    address: Ipv4Addr,
    /// The end of its link in the namespace of the test.
    link: String,
    /// The namespace of the test.
    test: String,
    namespace: Namespace,
}

impl Host {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The words before a command that runs it on this host.
    pub fn through(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.namespace.path().display())]
    }

    /// Cuts the host off: packets in both directions are lost.
    pub fn cut_off(&self) -> Result<()> {
        ip(&["-n", &self.test, "link", "set", &self.link, "down"])
    }

    /// Connects the host again.
    pub fn reconnect(&self) -> Result<()> {
        ip(&["-n", &self.test, "link", "set", &self.link, "up"])
    }

    /// Loses each packet from this host to another one, or delivers them again. Packets to other hosts are not touched.
    pub fn lose_packets_to(&self, other: Ipv4Addr, lost: bool) -> Result<()> {
        let other = other.to_string();
        let inside = ["-n", self.namespace.name.as_str(), "neighbour"];
        let change: &[&str] = match lost {
            // Nobody has this address.
            true => &["replace", &other, "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "eth0"],
            false => &["delete", &other, "dev", "eth0"],
        };
        ip(&[&inside, change].concat())
    }

    /// Makes a listener or another socket on this host, in a thread that is there only for this.
    pub fn on<T: Send>(&self, make: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let made = thread::scope(|scope| {
            let there = || {
                self.namespace.enter()?;
                make()
            };
            scope.spawn(there).join()
        });
        made.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }
}

/// A named network namespace, removed on drop.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn make() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Moves this thread, and those that it will start, into the namespace.
    fn enter(&self) -> Result<()> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("failed to enter {}", path.display()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

/// Removes the namespaces of test programs that have ended without a drop.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let pid = process.and_then(|(pid, _)| Pid::from_raw(pid.parse().ok()?));
        if pid.is_some_and(|pid| !process::alive(pid)) {
            // Another test program may remove it at the same time.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("failed to run ip: install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "failed to run \"ip {}\": {}", words.join(" "), said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn hosts_reach_each_other_and_can_be_cut_off() {
        Network::run(async |network| {
            let host = network.host(1).unwrap();
            let address = SocketAddr::from((host.address(), 80));
            let listener = host.on(|| Ok(TcpListener::bind(address)?)).unwrap();
            let (_, from) = {
                let _stream = TcpStream::connect(address).unwrap();
                listener.accept().unwrap()
            };
            assert_eq!(from.ip(), Network::TEST);
            let attempt = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
            host.cut_off().unwrap();
            assert_eq!(attempt().unwrap_err().kind(), ErrorKind::TimedOut);
            host.reconnect().unwrap();
            crate::wait::until("the host to be back", || attempt().is_ok()).await.unwrap();
            host.lose_packets_to(Network::TEST, true).unwrap();
            assert_eq!(attempt().unwrap_err().kind(), ErrorKind::TimedOut);
            host.lose_packets_to(Network::TEST, false).unwrap();
            crate::wait::until("packets to arrive again", || attempt().is_ok()).await.unwrap();
        });
    }

    #[test]
    fn the_test_keeps_its_hardware_address_when_hosts_are_added() {
        Network::run(async |network| {
            let shown = || {
                let words = ["-n", &network.namespace.name, "link", "show", "br0"];
                let output = Command::new("ip").args(words).output().unwrap();
                String::from_utf8_lossy(&output.stdout).into_owned()
            };
            let mut hosts = Vec::new();
            for number in 1..=8 {
                hosts.push(network.host(number).unwrap());
                assert!(shown().contains(BRIDGE), "{}", shown());
            }
        });
    }

    #[test]
    fn nothing_is_left_behind_by_a_test_that_fails() {
        let namespace = std::sync::Mutex::new(String::new());
        let failed = panic::catch_unwind(|| {
            Network::run(async |network| {
                let host = network.host(1).unwrap();
                *namespace.lock().unwrap() = host.namespace.name.clone();
                panic!("a test that fails");
            });
        });
        assert!(failed.is_err());
        let name = namespace.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        assert!(!name.is_empty() && !Path::new(FOLDER).join(name).exists());
    }
}
