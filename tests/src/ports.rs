//! Free ports on loopback.
//!
//! They are below the kernel's ephemeral range. A server that is restarted must get its port again, and an outgoing
//! connection could take an ephemeral port meanwhile. The process reserves a port by binding the UDP port of the same
//! number, so that concurrent test programs get different ports.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpListener;

use crate::wait;

const LOWEST: u16 = 10_240;

static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A free loopback address. It stays reserved while this process lives.
pub fn free() -> Result<SocketAddr> {
    let highest = ephemeral_start().max(LOWEST + 1);
    let span = u32::from(highest - LOWEST);
    // Test programs run concurrently: each begins its search at another port.
    let start = std::process::id().wrapping_mul(7919) % span;
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    for step in 0..span {
        let Ok(offset) = u16::try_from((start + step) % span) else { continue };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, LOWEST + offset));
        let Ok(reservation) = UdpSocket::bind(address) else { continue };
        if is_free(address).is_ok() {
            reserved.push(reservation);
            return Ok(address);
        }
    }
    bail!("no free port between {LOWEST} and {highest}")
}

/// Binds without listening. A child that another thread forks now has all descriptors of this process until `execve`, and a
/// copy of a listening socket would keep the port in use.
fn is_free(address: SocketAddr) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}

/// Listens on the address. Retries for a while: a child that is about to call `execve` may still have the old listener.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let deadline = Instant::now() + wait::PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => return other.with_context(|| format!("failed to listen on {address}")),
        }
    }
}

fn ephemeral_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_returns_another_port() {
        let first = free().unwrap();
        let second = free().unwrap();
        assert_ne!(first, second);
        assert!(first.port() < ephemeral_start());
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let address = free().unwrap();
        assert!(is_free(address).is_ok());
        let _held = std::net::TcpListener::bind(address).unwrap();
        assert_eq!(is_free(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn listen_waits_until_the_old_listener_is_closed() {
        let address = free().unwrap();
        let held = std::net::TcpListener::bind(address).unwrap();
        let (listening, ()) = tokio::join!(listen(address), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(held);
        });
        assert_eq!(listening.unwrap().local_addr().unwrap(), address);
    }
}
