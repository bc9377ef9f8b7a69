//! Free ports on loopback.
//!
//! They are taken from below the kernel's ephemeral range: a server that is restarted must find its port again, and an
//! outgoing connection of the load could otherwise hold it by then. A port stays reserved for the process that got it: it
//! holds the UDP port of the same number, which nobody else needs, so that test programs beside each other keep apart.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

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
        if TcpListener::bind(address).is_ok() {
            reserved.push(reservation);
            return Ok(address);
        }
    }
    bail!("no free port between {LOWEST} and {highest}")
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
}
