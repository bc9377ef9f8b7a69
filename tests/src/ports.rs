//! Free ports on loopback.
//!
//! They are taken from below the kernel's ephemeral range: a server that is restarted must find its port again, and an
//! outgoing connection of the load could otherwise hold it by then. A port stays reserved for the process that got it: it
//! holds the UDP port of the same number, which nobody else needs, so that test programs beside each other keep apart.

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

/// An address on loopback that nobody listens on, and that nobody is given again while this process lives.
pub fn free() -> Result<SocketAddr> {
    let highest = ephemeral_start().max(LOWEST + 1);
    let span = u32::from(highest - LOWEST);
    // Test programs run beside each other: start somewhere else in each.
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

/// Without listening: a program that another thread starts at this moment holds all descriptors of this process until it is
/// itself, and a socket that listens would keep the port from whoever gets it.
fn is_free(address: SocketAddr) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}

/// Listens there. A program that was being started when the last listener was closed may hold it a moment longer.
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
    fn no_port_is_given_twice() {
        let first = free().unwrap();
        let second = free().unwrap();
        assert_ne!(first, second);
        assert!(first.port() < ephemeral_start());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let address = free().unwrap();
        assert!(is_free(address).is_ok());
        let _held = std::net::TcpListener::bind(address).unwrap();
        assert_eq!(is_free(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn who_listens_waits_for_the_last_listener_to_be_gone() {
        let address = free().unwrap();
        let held = std::net::TcpListener::bind(address).unwrap();
        let (listening, ()) = tokio::join!(listen(address), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(held);
        });
        assert_eq!(listening.unwrap().local_addr().unwrap(), address);
    }
}
