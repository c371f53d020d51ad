//! Blocking descriptors behind the async traits, served by one thread each.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
};

use futures_io::{AsyncRead, AsyncWrite};

/// What may wait between a thread and its user, in bytes.
const CAPACITY: usize = 64 << 10;

/// State shared with the thread. `changed` wakes the thread, the waker inside wakes the user.
#[derive(Default)]
struct Shared<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Reads a blocking source in a thread of its own, at most 64 KiB ahead.
///
/// The thread ends with its source. If this is dropped before, the thread stays in its last read; it does not keep
/// the process from exiting.
pub struct BlockingReader {
    shared: Arc<Shared<ReaderState>>,
}

#[derive(Default)]
struct ReaderState {
    ready: VecDeque<u8>,
    ended: bool,
    error: Option<io::Error>,
    dropped: bool,
    waker: Option<Waker>,
}

impl fmt::Debug for BlockingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingReader")
    }
}

impl BlockingReader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(source: impl Read + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = Arc::clone(&shared);
        thread::Builder::new().name("arcp-read".to_owned()).spawn(move || read_all(source, &threads))?;
        Ok(Self { shared })
    }
}

fn read_all(mut source: impl Read, shared: &Shared<ReaderState>) {
    let mut chunk = vec![0; 16 << 10];
    loop {
        let read = match source.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let mut state = shared.lock();
        match read {
            Ok(read) if read > 0 => state.ready.extend(&chunk[..read]),
            end => {
                state.error = end.err();
                state.ended = true;
            }
        }
        wake(&mut state.waker);
        while state.ready.len() >= CAPACITY && !state.dropped {
            state = shared.wait(state);
        }
        if state.ended || state.dropped {
            return;
        }
    }
}

impl AsyncRead for BlockingReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        if state.ready.is_empty() {
            if let Some(error) = state.error.take() {
                return Poll::Ready(Err(error));
            }
            if state.ended {
                return Poll::Ready(Ok(0));
            }
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let read = state.ready.read(buf)?;
        self.shared.changed.notify_one();
        Poll::Ready(Ok(read))
    }
}

impl Drop for BlockingReader {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.changed.notify_one();
    }
}

/// Writes to a blocking destination in a thread of its own, at most 64 KiB ahead.
///
/// A flush waits until everything is handed to the operating system, a close also until the destination is dropped.
/// If this is dropped, the thread still writes what it has.
pub struct BlockingWriter {
    shared: Arc<Shared<WriterState>>,
}

#[derive(Default)]
struct WriterState {
    waiting: Vec<u8>,
    writing: bool,
    closed: bool,
    /// The thread has let go of the destination.
    ended: bool,
    error: Option<io::Error>,
    waker: Option<Waker>,
}

impl fmt::Debug for BlockingWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingWriter")
    }
}

impl BlockingWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(destination: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = Arc::clone(&shared);
        thread::Builder::new()
            .name("arcp-write".to_owned())
            .spawn(move || write_all(destination, &threads))?;
        Ok(Self { shared })
    }
}

fn write_all(mut destination: impl Write, shared: &Shared<WriterState>) {
    let mut batch = Vec::new();
    let mut state = shared.lock();
    loop {
        while state.waiting.is_empty() && !state.closed {
            state = shared.wait(state);
        }
        if state.waiting.is_empty() {
            break;
        }
        std::mem::swap(&mut state.waiting, &mut batch);
        state.writing = true;
        // Room again, before the slow part.
        wake(&mut state.waker);
        drop(state);
        let written = destination.write_all(&batch).and_then(|()| destination.flush());
        batch.clear();
        state = shared.lock();
        state.writing = false;
        if let Err(error) = written {
            state.error = Some(error);
            break;
        }
        wake(&mut state.waker);
    }
    drop(state);
    drop(destination);
    state = shared.lock();
    state.ended = true;
    wake(&mut state.waker);
}

impl WriterState {
    /// Why nothing more can be written, if so.
    fn check(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.ended => Err(io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }

    fn pending<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for BlockingWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        state.check()?;
        let room = CAPACITY - state.waiting.len().min(CAPACITY);
        if room == 0 {
            return state.pending(cx);
        }
        let taken = buf.len().min(room);
        state.waiting.extend_from_slice(&buf[..taken]);
        self.shared.changed.notify_one();
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        if state.waiting.is_empty() && !state.writing && state.error.is_none() {
            return Poll::Ready(Ok(()));
        }
        state.check()?;
        state.pending(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.changed.notify_one();
        match state.error.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if state.ended => Poll::Ready(Ok(())),
            None => state.pending(cx),
        }
    }
}

impl Drop for BlockingWriter {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::mpsc};

    use futures_executor::block_on;

    use super::*;

    /// A source that hands out what it is sent, and a destination that passes on what it is given.
    struct Channel<C>(C);

    impl Read for Channel<mpsc::Receiver<Vec<u8>>> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Ok(bytes) = self.0.recv() else { return Ok(0) };
            buf[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    impl Write for Channel<mpsc::SyncSender<Vec<u8>>> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.send(buf.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read(reader: &mut BlockingReader, size: usize) -> Vec<u8> {
        let mut buf = vec![0; size];
        let read = block_on(poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, &mut buf))).unwrap();
        buf.truncate(read);
        buf
    }

    #[test]
    fn reads_to_the_end() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let mut reader = BlockingReader::new(Channel(receiver)).unwrap();
        sender.send(b"abc".to_vec()).unwrap();
        assert_eq!(read(&mut reader, 2), b"ab");
        assert_eq!(read(&mut reader, 2), b"c");
        drop(sender);
        assert_eq!(read(&mut reader, 2), b"");
        assert_eq!(read(&mut reader, 2), b"");
    }

    #[test]
    fn reads_ahead_only_so_far() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let mut reader = BlockingReader::new(Channel(receiver)).unwrap();
        // Each send returns only when the thread takes it.
        for _ in 0..CAPACITY / 8192 {
            sender.send(vec![1; 8192]).unwrap();
        }
        // The thread now waits for room, whenever it gets to it, and takes nothing more.
        while reader.shared.lock().ready.len() < CAPACITY {
            thread::yield_now();
        }
        assert!(sender.try_send(vec![1; 8192]).is_err());
        assert_eq!(read(&mut reader, 1), [1]);
        sender.send(vec![1; 8192]).unwrap();
    }

    #[test]
    fn a_full_writer_waits_and_a_flush_means_written() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let mut writer = BlockingWriter::new(Channel(sender)).unwrap();
        let big = vec![7; CAPACITY * 3];
        let mut cx = Context::from_waker(Waker::noop());
        let mut written = 0;
        // One batch with the thread and one waiting: the destination takes nothing yet.
        while written < 2 * CAPACITY {
            if let Poll::Ready(taken) = Pin::new(&mut writer).poll_write(&mut cx, &big[written..]) {
                written += taken.unwrap();
            }
        }
        assert!(Pin::new(&mut writer).poll_write(&mut cx, &big[written..]).is_pending());
        assert!(Pin::new(&mut writer).poll_flush(&mut cx).is_pending());
        let reading = thread::spawn(move || receiver.iter().map(|bytes| bytes.len()).sum::<usize>());
        block_on(poll_fn(|cx| Pin::new(&mut writer).poll_flush(cx))).unwrap();
        block_on(poll_fn(|cx| Pin::new(&mut writer).poll_close(cx))).unwrap();
        assert_eq!(reading.join().unwrap(), written);
    }

    #[test]
    fn a_dropped_writer_still_writes() {
        let (sender, receiver) = mpsc::sync_channel(1);
        let mut writer = BlockingWriter::new(Channel(sender)).unwrap();
        let taken = block_on(poll_fn(|cx| Pin::new(&mut writer).poll_write(cx, b"last"))).unwrap();
        drop(writer);
        assert_eq!(taken, 4);
        assert_eq!(receiver.iter().collect::<Vec<_>>().concat(), b"last");
    }

    #[test]
    fn a_broken_destination_is_reported() {
        let (sender, receiver) = mpsc::sync_channel(0);
        drop(receiver);
        let mut writer = BlockingWriter::new(Channel(sender)).unwrap();
        block_on(poll_fn(|cx| Pin::new(&mut writer).poll_write(cx, b"x"))).unwrap();
        let flushed = block_on(poll_fn(|cx| Pin::new(&mut writer).poll_flush(cx)));
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let again = block_on(poll_fn(|cx| Pin::new(&mut writer).poll_write(cx, b"x")));
        assert!(again.is_err());
    }
}
