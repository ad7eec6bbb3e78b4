//! One connection: a task that reads, an outbox that anyone may write, and the sockets of its namespaces.

mod incoming;
mod way;

use std::{
    cell::RefCell,
    io::{self, Read},
    net::Shutdown,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::{
    incoming::{Reader, Then},
    way::Way,
};
use super::{Lane, frame, outbox::Outbox, packet};
use crate::{
    handshake::Handshake,
    lanes::{Outbox as LaneOutbox, SendError},
    reason::CloseReason,
    socket::{Socket, SocketId},
};

/// Namespaces that one connection may be in.
const MAX_NAMESPACES: usize = 32;

/// How long a connection that is being closed may take to write what is queued, before it is cut.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Bytes read in one system call, into a buffer that belongs to the thread.
const READ_BYTES: usize = 64 * 1024;

const PING: &[u8] = &[0x81, 1, b'2'];

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

pub(super) struct Connection {
    lane: Arc<Lane>,
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    /// Whether it is in a flusher's list.
    dirty: AtomicBool,
    /// Whether a task waits for the peer to read on.
    blocked: AtomicBool,
    /// The tick at which the ping that is not answered yet went out; 0 when all are.
    pub(super) pinged: AtomicU32,
    /// Where it stands in the wheel; kept by the wheel.
    pub(super) place: AtomicUsize,
    sockets: Mutex<Vec<Socket>>,
    /// What the first request brought along.
    handshake: Handshake,
}

/// A connection that is being served. Takes it off the wheel at the end, also when its task panics.
struct Serving {
    connection: Arc<Connection>,
    /// The lane waits for all of them when it closes.
    _token: TaskTrackerToken,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.connection.lane.wheel.remove(&self.connection);
        self.connection.ended(CloseReason::Internal);
    }
}

impl Connection {
    pub(super) fn new(lane: Arc<Lane>, stream: TcpStream, handshake: Handshake) -> Self {
        Self {
            lane,
            stream,
            outbox: Mutex::default(),
            dirty: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            pinged: AtomicU32::new(0),
            place: AtomicUsize::new(0),
            sockets: Mutex::default(),
            handshake,
        }
    }

    /// Begins to serve the connection: `first` is what is said first, `early` what came right behind the handshake.
    /// The future that is returned sees it to its end. Every idle connection holds one, so what it needs is counted in bytes.
    pub(super) fn begin(
        self: Arc<Self>,
        first: Bytes,
        mut early: Vec<u8>,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.answer(first);
        self.lane.wheel.add(&self);
        let serving = Serving { _token: self.lane.connections.token(), connection: self };
        // A lane that closes ends those that it finds on the wheel.
        if serving.connection.lane.connections.is_closed() {
            serving.connection.finish(None);
        }
        let mut reader = Reader::default();
        let mut then = if early.is_empty() { Then::Read } else { serving.connection.take(&mut reader, &mut early) };
        async move {
            let connection = &serving.connection;
            let reason = loop {
                then = match then {
                    Then::Read => match connection.readable().await {
                        Ok(()) => connection.read(&mut reader),
                        Err(_) => Then::End(CloseReason::TransportError),
                    },
                    // A peer that sends more than is read at once, or asks and asks, leaves the others their turn.
                    Then::ReadOn => {
                        tokio::task::yield_now().await;
                        Then::Read
                    }
                    Then::Connect(connect) => {
                        Box::pin(Arc::clone(connection).connect(connect.namespace, connect.auth)).await;
                        tokio::task::yield_now().await;
                        connection.take(&mut reader, &mut [])
                    }
                    Then::End(reason) => break reason,
                };
            };
            connection.ended(reason);
            if reason == CloseReason::ParseError {
                // Boxed, as is what `Connect` waits for: a task that only reads should not have room for it.
                let _ = Box::pin(tokio::time::timeout(CLOSE_GRACE, connection.discard())).await;
            }
        }
    }

    /// Waits until there is something to read. Only for the task that serves the connection: the stream remembers one waiter,
    /// and needs no room in the task for it.
    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        std::future::poll_fn(|cx| self.stream.poll_read_ready(cx))
    }

    /// Reads what nobody wants any more: a socket closed with unread bytes resets the connection, and the peer may
    /// then never see the close frame.
    async fn discard(&self) {
        while self.readable().await.is_ok() {
            let read = SCRATCH.with_borrow_mut(|scratch| self.stream.try_read(scratch));
            match read {
                Ok(0) => return,
                Ok(_) => tokio::task::coop::consume_budget().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    pub(super) fn ended(&self, reason: CloseReason) {
        self.outbox.lock().close();
        for socket in std::mem::take(&mut *self.sockets.lock()) {
            socket.closed(reason);
        }
    }

    /// Reads what is there, at most one buffer full, so that one busy connection leaves room for the others.
    fn read(self: &Arc<Self>, reader: &mut Reader) -> Then {
        SCRATCH.with_borrow_mut(|scratch| match self.receive(scratch) {
            Ok(0) => Then::End(CloseReason::TransportClose),
            Ok(read) => match self.take(reader, &mut scratch[..read]) {
                Then::Read if read == scratch.len() => Then::ReadOn,
                then => then,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Then::Read,
            Err(_) => Then::End(CloseReason::TransportError),
        })
    }

    /// One system call. A buffer that was not filled says that the kernel has no more, as an error would with a second call;
    /// what comes from then on, the end included, wakes the task anew.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = 0;
        let drained = self.stream.try_io(Interest::READABLE, || {
            received = (&*SockRef::from(&self.stream)).read(buffer)?;
            if (1..buffer.len()).contains(&received) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match drained {
            Err(error) if received == 0 => Err(error),
            _ => Ok(received),
        }
    }

    fn socket(&self, namespace: &str) -> Option<Socket> {
        self.sockets.lock().iter().find(|socket| socket.namespace().name() == namespace).cloned()
    }

    async fn connect(self: Arc<Self>, namespace: String, auth: String) {
        {
            let sockets = self.sockets.lock();
            // A second CONNECT for the same namespace changes nothing.
            if sockets.iter().any(|socket| socket.namespace().name() == namespace) || sockets.len() >= MAX_NAMESPACES {
                return;
            }
        }
        let Some(target) = self.lane.hub.open_namespace(&namespace) else {
            return self.answer(packet::refused(&namespace, "Invalid namespace", "not_found"));
        };
        let way = Arc::new(Way {
            connection: Arc::clone(&self),
            namespace: target.name_shared(),
            open: AtomicBool::new(false),
            recovers: target.handler().recovers(),
        });
        let id = SocketId::new(self.lane.hub.fresh_id());
        match target.connect(id, self.handshake.with_auth(&auth), Arc::clone(&way) as Arc<dyn LaneOutbox>).await {
            Ok(socket) => {
                self.sockets.lock().push(socket.clone());
                let pid = target.handler().recovery_id(&socket);
                {
                    let mut outbox = self.outbox.lock();
                    outbox.release(packet::connected(&namespace, socket.id(), pid.as_deref()));
                    way.open.store(true, Ordering::Release);
                }
                socket.opened();
                // The greeting has gone out with the answer, if there is one.
                self.flush();
                // Closed before there was an answer that could be taken back.
                if socket.is_closed() {
                    self.throw_out(&namespace, None);
                }
            }
            Err(refusal) => {
                self.outbox.lock().forget_held();
                self.answer(packet::refused(&namespace, &refusal.message, refusal.code));
            }
        }
    }

    /// Says something that is not for one socket. A peer that asks and asks and reads no answers is cut off.
    fn answer(self: &Arc<Self>, frame: Bytes) {
        let pushed = self.outbox.lock().push(&[frame], None, self.lane.options.outbox_bytes);
        match pushed {
            Err(SendError::Full) => self.stalled(),
            _ => self.flush(),
        }
    }

    /// The client left a namespace.
    fn left(self: &Arc<Self>, namespace: &str) {
        if let Some(socket) = self.forget(namespace) {
            socket.closed(CloseReason::ClientDisconnect);
        }
    }

    /// Takes the client out of a namespace, after a last word. Once, whoever comes first.
    fn throw_out(self: &Arc<Self>, namespace: &str, last: Option<&[Bytes]>) {
        let Some(socket) = self.forget(namespace) else { return };
        {
            let mut outbox = self.outbox.lock();
            last.into_iter().flatten().for_each(|frame| outbox.push_anyway(frame.clone()));
            outbox.push_anyway(packet::disconnect(namespace));
        }
        self.flush();
        socket.closed(CloseReason::ServerDisconnect);
    }

    fn forget(self: &Arc<Self>, namespace: &str) -> Option<Socket> {
        let (socket, alone) = {
            let mut sockets = self.sockets.lock();
            let at = sockets.iter().position(|socket| socket.namespace().name() == namespace)?;
            (sockets.swap_remove(at), sockets.is_empty())
        };
        if alone {
            self.lane.wheel.expect_connect(self);
        }
        Some(socket)
    }

    /// Whether the client is in any namespace.
    pub(super) fn is_connected(&self) -> bool {
        !self.sockets.lock().is_empty()
    }

    /// The heartbeat.
    pub(super) fn ping(self: &Arc<Self>, tick: u32) {
        let _ = self.pinged.compare_exchange(0, tick.max(1), Ordering::Relaxed, Ordering::Relaxed);
        self.outbox.lock().push_anyway(Bytes::from_static(PING));
        self.lane.flushers.add(self, 1);
    }

    /// Writes what is queued, as far as the peer takes it. A task sees to the rest.
    pub(super) fn flush(self: &Arc<Self>) {
        if self.blocked.load(Ordering::Acquire) {
            return;
        }
        match self.write() {
            Ok(true) => {}
            Ok(false) => {
                if !self.blocked.swap(true, Ordering::AcqRel) {
                    self.lane.tasks.spawn(Arc::clone(self).write_on());
                }
            }
            Err(_) => self.cut(),
        }
    }

    /// A number that no other open connection has, for spreading them evenly.
    pub(super) fn number(&self) -> usize {
        usize::try_from(self.stream.as_raw_fd()).unwrap_or_default()
    }

    /// For the flushers: whether it was not in a list before.
    pub(super) fn mark(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    pub(super) fn flush_marked(self: &Arc<Self>) {
        // Before writing: what is queued while we write marks it anew.
        self.dirty.store(false, Ordering::Release);
        self.flush();
    }

    /// Whether everything is written.
    fn write(&self) -> io::Result<bool> {
        let mut outbox = self.outbox.lock();
        while !outbox.is_empty() {
            match outbox.write(|bytes| self.stream.try_write(bytes)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if outbox.is_closed() {
            let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        }
        Ok(true)
    }

    /// Goes on writing as the peer reads, until all is out or the peer has read nothing for too long.
    async fn write_on(self: Arc<Self>) {
        loop {
            match tokio::time::timeout(self.lane.options.stall_timeout, self.stream.writable()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return self.cut(),
                Err(_) => {
                    tracing::debug!(bytes = self.outbox.lock().bytes(), "a peer has read nothing for too long");
                    return self.stalled();
                }
            }
            match self.write() {
                Ok(false) => {}
                Ok(true) => {
                    self.blocked.store(false, Ordering::Release);
                    // What came between the last write and the line above.
                    if self.outbox.lock().is_empty() {
                        return;
                    }
                    if self.blocked.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
                Err(_) => return self.cut(),
            }
        }
    }

    fn stalled(&self) {
        let sockets = self.sockets.lock().clone();
        sockets.iter().for_each(|socket| socket.close(CloseReason::SlowConsumer));
        self.cut();
    }

    /// Ends the connection after what is queued and a close frame, and in any case within the grace.
    pub(super) fn finish(self: &Arc<Self>, last: Option<&[Bytes]>) {
        {
            let mut outbox = self.outbox.lock();
            if outbox.is_closed() {
                return;
            }
            last.into_iter().flatten().for_each(|frame| outbox.push_anyway(frame.clone()));
            // As Node: no engine close packet, which some clients take for a farewell for good.
            outbox.push_anyway(frame::close(1000));
            outbox.close();
        }
        self.flush();
        let (connection, stop) = (Arc::downgrade(self), self.lane.stop.clone());
        self.lane.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(CLOSE_GRACE) => {}
                () = stop.cancelled() => {}
            }
            if let Some(connection) = connection.upgrade() {
                connection.cut();
            }
        });
    }

    /// The peer is told why, if it reads; nothing waits for it.
    fn say_goodbye(&self, code: u16) {
        let mut outbox = self.outbox.lock();
        outbox.push_anyway(frame::close(code));
        outbox.close();
        drop(outbox);
        let _ = self.write();
    }

    /// The heartbeat was not answered.
    pub(super) fn timed_out(&self) {
        for socket in std::mem::take(&mut *self.sockets.lock()) {
            socket.closed(CloseReason::PingTimeout);
        }
        self.cut();
    }

    /// Ends both directions: the reader sees it at once.
    pub(super) fn cut(&self) {
        self.outbox.lock().close();
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
    }
}
