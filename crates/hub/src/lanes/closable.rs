//! A byte stream that can be closed from outside, whoever owns it.
//!
//! Libraries that take a connection over seldom give a way to end it. Two steps do, without their help:
//! - [`CloseHandle::end_input`]: the owner reads end-of-file, as if the peer had hung up. It writes what it has
//!   queued, says goodbye and stops.
//! - [`CloseHandle::kill`]: reads and writes fail at once, also one that waits for a peer that does not read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

const OPEN: u8 = 0;
const INPUT_ENDED: u8 = 1;
const DEAD: u8 = 2;

#[derive(Debug)]
struct Control {
    /// Only grows: `OPEN`, `INPUT_ENDED`, `DEAD`.
    state: AtomicU8,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Bytes that the stream has taken.
    written: AtomicU64,
    /// Tells the handles that the stream is gone.
    _gone: DropGuard,
}

/// A stream together with the switch that its [`CloseHandle`]s turn.
#[derive(Debug)]
pub struct Closable<S> {
    /// What was read from the stream before; read again first.
    early: Bytes,
    stream: S,
    control: Arc<Control>,
    gone: CancellationToken,
}

/// Closes the [`Closable`] it came from; does nothing once that is gone.
#[derive(Clone, Debug)]
pub struct CloseHandle {
    control: Weak<Control>,
    gone: CancellationToken,
}

impl<S> Closable<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self::with_early(stream, Bytes::new())
    }

    /// Wraps a stream from which `early` has been read, but not used.
    pub fn with_early(stream: S, early: Bytes) -> Self {
        let gone = CancellationToken::new();
        let control = Control {
            state: AtomicU8::new(OPEN),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            written: AtomicU64::new(0),
            _gone: gone.clone().drop_guard(),
        };
        Self { early, stream, control: Arc::new(control), gone }
    }

    /// The stream by itself, less what was read early and not yet again; handles do nothing any more.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// A way to close it.
    pub fn handle(&self) -> CloseHandle {
        CloseHandle { control: Arc::downgrade(&self.control), gone: self.gone.clone() }
    }
}

impl CloseHandle {
    /// The owner of the stream reads end-of-file from now on.
    pub fn end_input(&self) {
        self.advance(INPUT_ENDED);
    }

    /// Reads end, writes fail.
    pub fn kill(&self) {
        self.advance(DEAD);
    }

    /// Whether the stream still exists.
    pub fn is_alive(&self) -> bool {
        self.control.strong_count() > 0
    }

    /// Waits until the stream no longer exists.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Bytes that were written to the stream so far.
    pub fn written(&self) -> u64 {
        self.control.upgrade().map_or(0, |control| control.written.load(Ordering::Relaxed))
    }

    fn advance(&self, state: u8) {
        if let Some(control) = self.control.upgrade() {
            control.state.fetch_max(state, Ordering::AcqRel);
            control.reader.wake();
            control.writer.wake();
        }
    }
}

impl Control {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }

    /// Before each write, and again when it has to wait: the waker must be known before the state is read.
    fn check_write(&self, cx: &Context<'_>) -> io::Result<()> {
        self.writer.register(cx.waker());
        if self.state() == DEAD { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Closable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.control.reader.register(cx.waker());
        if self.control.state() != OPEN {
            return Poll::Ready(Ok(()));
        }
        if !self.early.is_empty() {
            let length = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Closable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.control.check_write(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.control.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.control.check_write(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.control.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.control.check_write(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.control.check_write(cx).is_err() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn ended_input_reads_as_end_of_file_and_still_writes() {
        let (ours, mut peer) = duplex(64);
        let mut stream = Closable::new(ours);
        let handle = stream.handle();
        let waiting = async {
            let mut buf = [0; 8];
            let read = stream.read(&mut buf).await.unwrap();
            stream.write_all(b"bye").await.unwrap();
            read
        };
        let (read, ()) =
            timeout(DEADLINE, async { tokio::join!(waiting, async { handle.end_input() }) }).await.unwrap();
        assert_eq!(read, 0);
        let mut buf = [0; 3];
        peer.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"bye");
    }

    #[tokio::test]
    async fn whoever_waits_hears_that_the_stream_is_gone() {
        let (ours, _peer) = duplex(8);
        let stream = Closable::new(ours);
        let handle = stream.handle();
        let mut gone = Box::pin(handle.gone());
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(stream);
        timeout(DEADLINE, gone).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_read_early_is_read_again_first() {
        let (ours, mut peer) = duplex(64);
        let mut stream = Closable::with_early(ours, Bytes::from_static(b"early "));
        peer.write_all(b"late").await.unwrap();
        let mut buf = [0; 10];
        timeout(DEADLINE, stream.read_exact(&mut buf)).await.unwrap().unwrap();
        assert_eq!(&buf, b"early late");
    }

    #[tokio::test]
    async fn a_writer_that_waits_for_its_peer_fails_when_killed() {
        let (ours, _peer) = duplex(4);
        let mut stream = Closable::new(ours);
        let handle = stream.handle();
        let writing = stream.write_all(b"more than the peer will ever read");
        let (written, ()) = timeout(DEADLINE, async { tokio::join!(writing, async { handle.kill() }) }).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_handle_outlives_its_stream_harmlessly() {
        let (ours, _peer) = duplex(4);
        let stream = Closable::new(ours);
        let handle = stream.handle();
        assert!(handle.is_alive());
        drop(stream);
        assert!(!handle.is_alive());
        handle.kill();
    }
}
