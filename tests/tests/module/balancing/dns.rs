//! A DNS server whose records a test sets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

type Names = Arc<Mutex<BTreeMap<String, Ipv4Addr>>>;

/// A server on a loopback port. Stops on drop.
pub(crate) struct DnsServer {
    address: SocketAddr,
    names: Names,
    task: JoinHandle<()>,
}

impl DnsServer {
    /// Starts the server.
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let names = Names::default();
        let task = tokio::spawn(serve(socket, Arc::clone(&names)));
        Self { address, names, task }
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the address of a name.
    pub(crate) fn set(&self, name: &str, address: Ipv4Addr) {
        self.names.lock().unwrap().insert(name.to_owned(), address);
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, names: Names) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = answer(query.get(..length).unwrap_or_default(), &names) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// RFC 1035: a header of 12 bytes, the question, and one record of type A; or code 3, no such name.
fn answer(query: &[u8], names: &Names) -> Option<Vec<u8>> {
    let (id, mut rest) = (query.get(..2)?, query.get(12..)?);
    let mut labels = Vec::new();
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    let end = query.len() - rest.len() + 1 + 4;
    let found = names.lock().unwrap().get(&labels.join(".")).copied();
    let mut answer = id.to_vec();
    answer.extend([
        0x85,
        if found.is_some() { 0x80 } else { 0x83 },
        0,
        1,
        0,
        found.is_some().into(),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(query.get(12..end)?);
    if let Some(address) = found {
        // A pointer to the question's name, type A, class IN, a TTL of one second, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
