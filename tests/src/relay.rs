//! A TCP relay on loopback that carries bytes until it is told where to break.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::trace::Direction;

/// A relay to one address, with a thread for each direction of each connection. Dropping it breaks every connection and
/// takes no new ones.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    /// Bytes carried so far, by direction, over all connections.
    carried: [AtomicU64; 2],
    /// Where to break next: once so many bytes were carried in this direction.
    planned: Mutex<Vec<(Direction, u64)>>,
    cuts: AtomicU64,
    closing: AtomicBool,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl Relay {
    /// A relay on a free port.
    ///
    /// # Errors
    /// The system has no port.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            carried: [AtomicU64::new(0), AtomicU64::new(0)],
            planned: Mutex::new(Vec::new()),
            cuts: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if serving.closing.load(Ordering::Acquire) {
                    return;
                }
                // A client whose runtime is gone finds its connection closed.
                let _ = serving.connect(client);
            }
        });
        Ok(Self { address, shared })
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks the connection that carries byte `offset` of this direction, counted over all connections from 0: the bytes
    /// before it are delivered, it and everything behind it are lost, in both directions.
    pub fn cut_at(&self, direction: Direction, offset: u64) {
        lock(&self.shared.planned).push((direction, offset));
    }

    /// Breaks every connection at once.
    pub fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::AcqRel);
        self.shared.break_all();
    }

    /// Bytes carried in a direction.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> u64 {
        self.shared.carried[direction as usize].load(Ordering::Acquire)
    }

    /// Connections broken so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Acquire)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.break_all();
        // The listener finds out when it has taken one more.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let runtime = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        runtime.set_nodelay(true)?;
        lock(&self.open).push((client.try_clone()?, runtime.try_clone()?));
        let ends = [(client.try_clone()?, runtime.try_clone()?), (runtime, client)];
        for (direction, (from, to)) in [Direction::Up, Direction::Down].into_iter().zip(ends) {
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.carry(direction, &from, &to));
        }
        Ok(())
    }

    fn carry(&self, direction: Direction, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = [0; 4_096];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) | Err(_) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => count,
            };
            let before = self.carried[direction as usize].fetch_add(count as u64, Ordering::AcqRel);
            let allowed = self.planned_within(direction, before, count);
            let piece = &buffer[..allowed.unwrap_or(count)];
            let written = to.write_all(piece);
            if allowed.is_some() {
                self.cuts.fetch_add(1, Ordering::AcqRel);
            }
            if allowed.is_some() || written.is_err() {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    }

    /// How many of these bytes come before the planned cut, if it is among them.
    fn planned_within(&self, direction: Direction, before: u64, count: usize) -> Option<usize> {
        let mut planned = lock(&self.planned);
        let end = before + count as u64;
        let index = planned.iter().position(|(of, offset)| *of == direction && *offset < end)?;
        let (_, offset) = planned.remove(index);
        Some(usize::try_from(offset.saturating_sub(before)).unwrap())
    }

    fn break_all(&self) {
        for (client, runtime) in std::mem::take(&mut *lock(&self.open)) {
            let _ = (client.shutdown(Shutdown::Both), runtime.shutdown(Shutdown::Both));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
