//! A small HTTP server for programs on this machine: a thread per connection, a request each, and
//! never more connections at a time than it is allowed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::exchange::{Arriving, ReceivedRequest, ServerBounds, ServerReply, Unread};
use crate::{Error, Result};

/// How long the listener waits when the system gives it no connection.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the listener is woken at the end, if the system has no socket left for that.
const WAKE_TRIES: usize = 50;
/// How long the end waits for answers that are being computed.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may go on sending what it was refused.
const LINGER: Duration = Duration::from_secs(1);

type Handler = dyn Fn(&ReceivedRequest, &OpenConnection) + Send + Sync;

/// What the threads of a server have in common.
struct ServerShared {
    handler: Box<Handler>,
    bounds: ServerBounds,
    state: Mutex<ServerState>,
    /// The server ends, or a connection has.
    changed: Condvar,
}

#[derive(Default)]
struct ServerState {
    has_ended: bool,
    /// The next connection's number.
    next: u64,
    open: BTreeMap<u64, Arc<TcpStream>>,
}

impl ServerShared {
    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a connection; false at the end.
    fn has_room(&self) -> bool {
        let most = self.bounds.connections;
        let is_full = |own: &mut ServerState| !own.has_ended && own.open.len() >= most;
        let state = self.changed.wait_while(self.state(), is_full);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        !state.has_ended
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener, name: &str) {
        while self.has_room() {
            let Ok((stream, _)) = listener.accept() else {
                // Out of files, for example: connections end, and make room.
                thread::sleep(PAUSE);
                continue;
            };
            let Some(connection) = OpenConnection::new(self, stream) else { return };
            let thread = thread::Builder::new().name(name.to_owned());
            // Without a thread the connection is dropped, and so closed.
            let _ = thread.spawn(move || connection.serve());
        }
    }
}

/// A connection while it is open, and its place among those that may be.
pub(super) struct OpenConnection {
    number: u64,
    stream: Arc<TcpStream>,
    shared: Arc<ServerShared>,
}

impl OpenConnection {
    /// None if the server has ended.
    fn new(shared: &Arc<ServerShared>, stream: TcpStream) -> Option<Self> {
        let stream = Arc::new(stream);
        let mut state = shared.state();
        if state.has_ended {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.open.insert(number, Arc::clone(&stream));
        Some(Self { number, stream, shared: Arc::clone(shared) })
    }

    fn serve(&self) {
        let bounds = &self.shared.bounds;
        let _ = self.stream.set_write_timeout(Some(bounds.patience));
        match ReceivedRequest::read(&self.stream, bounds) {
            Ok(request) => (self.shared.handler)(&request, self),
            Err(Unread::Gone) => {}
            Err(Unread::Refused(reply)) => {
                if self.send(&reply).is_ok() {
                    self.linger();
                }
            }
        }
    }

    /// Sends an answer.
    pub(super) fn send(&self, reply: &ServerReply) -> io::Result<()> {
        self.write(&reply.to_bytes())
    }

    /// Sends bytes as they are.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = &*self.stream;
        stream.write_all(bytes)
    }

    /// Takes for a moment what the client still sends: closing with bytes unread would take the
    /// answer back.
    fn linger(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let arriving = Arriving { stream: &self.stream, deadline: Instant::now() + LINGER };
        let mut bytes = Vec::new();
        while let Ok(true) = arriving.more(&mut bytes) {
            bytes.clear();
        }
    }

    /// Waits; false if the server has ended meanwhile.
    #[cfg(test)]
    pub(super) fn wait(&self, time: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, time, |own| !own.has_ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.has_ended
    }

    /// Waits until the client or the server has gone.
    #[cfg(test)]
    pub(super) fn hold(&self) {
        use std::io::Read as _;
        let _ = self.stream.set_read_timeout(None);
        let (mut stream, mut bytes) = (&*self.stream, [0; 512]);
        while let Ok(1..) = stream.read(&mut bytes) {}
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.shared.state().open.remove(&self.number);
        self.shared.changed.notify_all();
    }
}

/// A server on 127.0.0.1, at a port that was free; it ends when it is dropped.
pub(super) struct LoopbackServer {
    address: SocketAddr,
    shared: Arc<ServerShared>,
    listener: Option<JoinHandle<()>>,
}

impl LoopbackServer {
    /// Listens, on threads called `name`. Each request is given to `handler`, which answers it on
    /// the thread of its connection.
    pub(super) fn start(
        name: &'static str,
        bounds: ServerBounds,
        handler: impl Fn(&ReceivedRequest, &OpenConnection) + Send + Sync + 'static,
    ) -> Result<Self> {
        let failed = |reason| Error::io("listen on", Path::new("127.0.0.1"))(reason);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(ServerShared { handler: Box::new(handler), bounds, state, changed });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || own.listen(&listener, name)).map_err(failed)?;
        Ok(Self { address, shared, listener: Some(thread) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes sure that the listener sees the end; false if the system does not allow it.
    fn wake(&self, listener: &JoinHandle<()>) -> bool {
        for _ in 0..WAKE_TRIES {
            // It waits for a connection, so it gets one.
            let is_connected = TcpStream::connect_timeout(&self.address, LINGER).is_ok();
            if is_connected || listener.is_finished() {
                return true;
            }
            thread::sleep(PAUSE);
        }
        false
    }
}

impl Drop for LoopbackServer {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.has_ended = true;
        let open: Vec<Arc<TcpStream>> = state.open.values().cloned().collect();
        drop(state);
        self.shared.changed.notify_all();
        for stream in open {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(listener) = self.listener.take()
            && self.wake(&listener)
        {
            let _ = listener.join();
        }
        let state = self.shared.state();
        drop(self.shared.changed.wait_timeout_while(state, GRACE, |own| !own.open.is_empty()));
    }
}

impl fmt::Debug for LoopbackServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopbackServer").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
