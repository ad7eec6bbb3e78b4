//! Where connections come from, and how many there can be: ports and descriptors run out before clients do.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context, ensure};
use tokio::net::{TcpSocket, TcpStream};

/// Descriptors of a generator besides its connections.
const SPARE: u64 = 64;

/// Source addresses on the loopback interface: 127.0.0.1, and the next whenever one has no port left (28,000 by default).
#[derive(Debug)]
pub(crate) struct Sources {
    last: AtomicU8,
}

impl Sources {
    pub(crate) fn new() -> Self {
        Self { last: AtomicU8::new(1) }
    }

    /// How many addresses are in use.
    pub(crate) fn used(&self) -> u8 {
        self.last.load(Ordering::Relaxed)
    }

    /// Connects, from the next address if this one has no port left.
    ///
    /// # Errors
    /// As `connect`; `AddrNotAvailable` when no ports are left, which happens to a server that is not on this machine after
    /// about 28,000 connections.
    pub(crate) async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        loop {
            let last = self.used();
            let error = match from(last, to).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let no_port = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse);
            if !no_port || !to.ip().is_loopback() || !to.is_ipv4() || last == 254 {
                return Err(error);
            }
            // Whoever was first has moved on already.
            let _ = self.last.compare_exchange(last, last + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

async fn from(last: u8, to: SocketAddr) -> io::Result<TcpStream> {
    if last == 1 {
        return TcpStream::connect(to).await;
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(to).await
}

/// Whether this process may open that many connections.
///
/// # Errors
/// Says what the limit is, and what to do.
pub(crate) fn enough_descriptors(connections: usize) -> anyhow::Result<()> {
    let limits = fs::read_to_string("/proc/self/limits").context("could not read /proc/self/limits")?;
    fits(connections, &limits)
}

fn fits(connections: usize, limits: &str) -> anyhow::Result<()> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft =
        line.and_then(|line| line.split_ascii_whitespace().next()).context("/proc/self/limits has no open files")?;
    // "unlimited" is no number.
    let Ok(soft) = soft.parse::<u64>() else { return Ok(()) };
    ensure!(
        connections as u64 + SPARE <= soft,
        "{connections} connections don't fit: this process may have {soft} descriptors open (raise `ulimit -n`, or share the clients among processes)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_next_address_is_one_that_a_server_sees() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sources = Sources { last: AtomicU8::new(7) };
        let stream = sources.dial(listener.local_addr().unwrap()).await.unwrap();
        let (_accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 7));
        drop(stream);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_no_lack_of_ports() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let sources = Sources::new();
        assert_eq!(sources.dial(nobody).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(sources.used(), 1);
    }

    #[test]
    fn more_clients_than_descriptors_are_refused_before_any_comes() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 20000                files\n";
        fits(900, limits).unwrap();
        let said = fits(1000, limits).unwrap_err().to_string();
        assert!(said.contains("1000 connections") && said.contains("1024 descriptors"), "{said}");
        fits(1000, "Max open files   unlimited  unlimited files\n").unwrap();
    }
}
