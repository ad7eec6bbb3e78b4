//! One connection to one server.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, FromRedisValue, PushInfo, PushKind, RedisError, RedisResult,
    aio::{AsyncPushSender, MultiplexedConnection, SendError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{
    error::{Error, Result, timed_out},
    limits::{KEEPALIVE, QUEUE},
    topology::{Access, Address, Topology},
};

/// Takes what Redis sends unasked.
pub(crate) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// A connection that is there. Whoever uses it holds the link: it ends with the last.
pub(crate) struct Link {
    commands: MultiplexedConnection,
    address: Address,
    /// Set by whoever finds out first: the reader at the end of the stream, so that an idle connection that Redis closed
    /// fails nobody, or a caller that got no answer, since a peer that vanished never ends the stream.
    broken: Arc<AtomicBool>,
    /// Reads and writes. Ends with the link.
    _driver: JoinSet<()>,
}

impl Link {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn commands(&self) -> MultiplexedConnection {
        self.commands.clone()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// The next caller makes another connection.
    pub(crate) fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// One command and its answer, within `deadline`.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd, deadline: Duration) -> Result<T> {
        let mut commands = self.commands();
        match timeout(deadline, command.query_async(&mut commands)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::answered(&self.address, error)),
            Err(_) => Err(Error::answered(&self.address, timed_out())),
        }
    }
}

/// Connects to a server that holds data.
pub(crate) async fn dial(topology: &Topology, address: &Address, on_push: Option<OnPush>) -> Result<Link> {
    connect(address, topology.access(), topology.db(), on_push).await
}

/// Connects to any server.
pub(crate) async fn connect(address: &Address, access: &Access, db: i64, on_push: Option<OnPush>) -> Result<Link> {
    let broken = Arc::new(AtomicBool::new(false));
    let push = Push { broken: Arc::clone(&broken), on_push };
    let config =
        AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE).set_push_sender(push);
    let stream = open(address, access).await.map_err(|error| Error::unreachable(address, error))?;
    let made: RedisResult<_> = MultiplexedConnection::new_with_config(&access.settings(db), stream, config).await;
    let (commands, driver) = made.map_err(|error| Error::dialing(address, error))?;
    let mut owner = JoinSet::new();
    owner.spawn(Patient { driver: Box::pin(driver), waited: false });
    Ok(Link { commands, address: address.clone(), broken, _driver: owner })
}

/// Lets all others that are ready run before the driver does. A runtime runs the task that was woken last first, so each command
/// would be written by itself; this way those of all sockets that have something to say go out in one write.
struct Patient<F> {
    driver: Pin<Box<F>>,
    waited: bool,
}

impl<F: Future> Future for Patient<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited;
        if self.waited {
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.driver.as_mut().poll(context)
    }
}

struct Push {
    broken: Arc<AtomicBool>,
    on_push: Option<OnPush>,
}

impl AsyncPushSender for Push {
    fn send(&self, info: PushInfo) -> std::result::Result<(), SendError> {
        if info.kind == PushKind::Disconnection {
            self.broken.store(true, Ordering::Release);
        }
        if let Some(on_push) = &self.on_push {
            on_push(info);
        }
        Ok(())
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn open(address: &Address, access: &Access) -> std::result::Result<Box<dyn Stream>, RedisError> {
    let (host, port) = match address {
        Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp { host, port } => (host, *port),
    };
    let stream = TcpStream::connect((&**host, port)).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let Some(config) = &access.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_string())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host can't be verified with TLS"))?;
    Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
}
