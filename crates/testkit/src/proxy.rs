//! A TCP proxy whose connections can be delayed, stalled and cut: the network between clients and nodes.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Passes connections on to one of its targets, in turn. Ends, with all connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    weather: Arc<Weather>,
    /// Owns the listener and, through it, the connections.
    _tasks: JoinSet<()>,
}

/// What the network does to all connections at the moment.
#[derive(Debug, Default)]
struct Weather {
    targets: Mutex<Vec<String>>,
    next: AtomicUsize,
    latency_us: AtomicU64,
    stalled_until: Mutex<Option<Instant>>,
    /// The switches of the connections that are open.
    connections: Mutex<Vec<watch::Sender<bool>>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1. `targets` are addresses like `127.0.0.1:3000`.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(targets: Vec<String>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let weather = Arc::new(Weather { targets: Mutex::new(targets), ..Weather::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&weather)));
        Ok(Self { address, weather, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Delays what goes through, in each direction. Order is kept.
    pub fn set_latency(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.weather.latency_us.store(us, Ordering::Relaxed);
    }

    /// Nothing goes through for that long, as when packets are lost and sent again.
    pub fn stall(&self, time: Duration) {
        *lock(&self.weather.stalled_until) = Some(Instant::now() + time);
    }

    /// Cuts about `share` (0 to 1) of the open connections, chosen by `choose`, which returns a number from 0 to 1 for each.
    /// How many it were.
    pub fn cut(&self, share: f64, mut choose: impl FnMut() -> f64) -> usize {
        let mut connections = lock(&self.weather.connections);
        connections.retain(|connection| connection.receiver_count() > 0);
        let chosen: Vec<_> = connections.iter().filter(|_| choose() < share).collect();
        for connection in &chosen {
            connection.send_replace(true);
        }
        chosen.len()
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        lock(&self.weather.connections).iter().filter(|connection| connection.receiver_count() > 0).count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no panic under this lock")
}

async fn accept(listener: TcpListener, weather: Arc<Weather>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                running.spawn(pass(client, Arc::clone(&weather)));
            }
            Some(_) = running.join_next() => {}
        }
    }
}

async fn pass(client: TcpStream, weather: Arc<Weather>) {
    let (cut, mut is_cut) = watch::channel(false);
    lock(&weather.connections).push(cut);
    let Some(server) = connect(&weather).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = one_way(from_client, to_server, &weather) => {}
        () = one_way(from_server, to_client, &weather) => {}
        _ = is_cut.wait_for(|cut| *cut) => {}
    }
}

/// The next target that answers.
async fn connect(weather: &Weather) -> Option<TcpStream> {
    let targets = lock(&weather.targets).clone();
    for _ in 0..targets.len() {
        let target = targets.get(weather.next.fetch_add(1, Ordering::Relaxed) % targets.len())?;
        if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(target)).await {
            return Some(stream);
        }
    }
    None
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, weather: &Weather) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let stalled_until = *lock(&weather.stalled_until);
        if let Some(until) = stalled_until {
            sleep_until(until).await;
        }
        let latency = Duration::from_micros(weather.latency_us.load(Ordering::Relaxed));
        if !latency.is_zero() {
            sleep(latency).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    const SOON: Duration = Duration::from_secs(10);

    async fn echo() -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, tasks)
    }

    async fn answered(stream: &mut TcpStream) -> io::Result<()> {
        let mut answer = [0; 4];
        stream.write_all(b"ping").await?;
        tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await??;
        assert_eq!(&answer, b"ping");
        Ok(())
    }

    #[tokio::test]
    async fn it_passes_on_delays_and_cuts() {
        let (target, _echo) = echo().await;
        let proxy = Proxy::start(vec!["127.0.0.1:1".into(), target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        answered(&mut stream).await.unwrap();

        proxy.set_latency(Duration::from_millis(60));
        let began = Instant::now();
        answered(&mut stream).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(120), "both directions are delayed");

        proxy.set_latency(Duration::ZERO);
        proxy.stall(Duration::from_millis(100));
        let began = Instant::now();
        answered(&mut stream).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "nothing passes while it is stalled");

        assert_eq!(proxy.cut(0.5, || 0.7), 0);
        assert_eq!(proxy.cut(0.5, || 0.2), 1);
        assert!(answered(&mut stream).await.is_err());
        eventually(SOON, "the connection being forgotten", || async { proxy.connections() == 0 }).await;
    }
}
