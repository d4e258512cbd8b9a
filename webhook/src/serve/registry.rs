//! The open connections, with a limit for all and one per address.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::{
    body::SourceBytes,
    limits::Limits,
    metrics::{CloseReason, Metrics, ShedReason},
};

/// The open connections of one port. The lock is taken when a connection opens or closes, never for
/// a request.
pub(super) struct Registry {
    open: Mutex<HashMap<IpAddr, Account>>,
    limits: Limits,
    metrics: Arc<Metrics>,
    count: Gauge,
    /// A logical clock that orders the times at which connections became idle.
    moments: Arc<AtomicU64>,
}

/// The connections of one address.
#[derive(Default)]
struct Account {
    connections: Vec<Arc<Connection>>,
    bytes: SourceBytes,
}

impl Registry {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>, count: Gauge) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), limits: *limits, metrics, count, moments: Arc::default() })
    }

    /// Registers a new connection. If its address has reached the limit per address, an idle
    /// connection of that address is closed. If the total is reached, an idle connection of that
    /// address or of one with more connections is closed, or else a busy one of an address with at
    /// least two more connections. So a client that opens connections can neither block others nor
    /// close theirs.
    pub(super) fn admit(self: &Arc<Self>, source: IpAddr) -> Result<Ticket, ShedReason> {
        let mut guard = self.open();
        let open = &mut *guard;
        let own = open.get(&source).map_or(0, |account| account.connections.len());
        let all: usize = open.values().map(|account| account.connections.len()).sum();
        let is_own = |address: IpAddr| address == source;
        if own >= self.limits.connections_per_source {
            self.evict(open, |address, _, is_idle| is_own(address) && is_idle)
                .ok_or(ShedReason::ConnectionsPerSource)?;
        } else if all >= self.limits.connections {
            self.evict(open, |address, theirs, is_idle| is_idle && (is_own(address) || theirs > own))
                .or_else(|| self.evict(open, |_, theirs, _| theirs > own + 1))
                .ok_or(ShedReason::Connections)?;
        }
        let account = open.entry(source).or_default();
        let connection = Arc::new(Connection::new(source, account.bytes.clone(), Arc::clone(&self.moments)));
        account.connections.push(Arc::clone(&connection));
        drop(guard);
        self.count.inc();
        Ok(Ticket { registry: Arc::clone(self), connection })
    }

    /// Closes an idle connection, if there is one.
    pub(super) fn make_room(&self) {
        self.evict(&mut self.open(), |_, _, is_idle| is_idle);
    }

    /// How many connections have a request in flight.
    pub(super) fn busy(&self) -> usize {
        let is_busy = |connection: &&Arc<Connection>| !connection.is_idle();
        self.open().values().flat_map(|account| &account.connections).filter(is_busy).count()
    }

    /// Closes one of the candidates, which are selected by address, number of its connections, and
    /// whether the connection is idle. The order is: first one that has never sent a request, then
    /// one of the address with the most, then the one that has been idle longest. Its place is free
    /// at once; a request in flight is still answered.
    fn evict(
        &self,
        open: &mut HashMap<IpAddr, Account>,
        is_candidate: impl Fn(IpAddr, usize, bool) -> bool,
    ) -> Option<()> {
        let all = open.iter().flat_map(|(address, account)| {
            let theirs = account.connections.len();
            account.connections.iter().map(move |connection| (*address, theirs, connection))
        });
        let candidates =
            all.filter(|(address, theirs, connection)| is_candidate(*address, *theirs, connection.is_idle()));
        let first = candidates.min_by_key(|(_, theirs, connection)| {
            (connection.has_served(), Reverse(*theirs), connection.idle_since())
        });
        let connection = Arc::clone(first?.2);
        remove(open, &connection);
        self.metrics.closed(CloseReason::Evicted);
        connection.evicted.cancel();
        Some(())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, Account>> {
        // No code panics while the lock is held; if it did, the map would still be valid.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No-op if it was already removed.
fn remove(open: &mut HashMap<IpAddr, Account>, connection: &Arc<Connection>) {
    if let Some(account) = open.get_mut(&connection.source) {
        account.connections.retain(|other| !Arc::ptr_eq(other, connection));
        if account.connections.is_empty() {
            open.remove(&connection.source);
        }
    }
}

/// A place in the registry, released on drop.
pub(super) struct Ticket {
    registry: Arc<Registry>,
    connection: Arc<Connection>,
}

impl Ticket {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        remove(&mut self.registry.open(), &self.connection);
        self.registry.count.dec();
    }
}

/// The state of one connection. Written by its task, read by the registry.
pub(super) struct Connection {
    source: IpAddr,
    bytes: SourceBytes,
    evicted: CancellationToken,
    served: AtomicBool,
    moments: Arc<AtomicU64>,
    /// The time at which it was opened or its last request ended; [`BUSY`] while a request is in
    /// flight.
    idle_since: AtomicU64,
}

/// Marks a request in flight instead of a time.
const BUSY: u64 = u64::MAX;

impl Connection {
    fn new(source: IpAddr, bytes: SourceBytes, moments: Arc<AtomicU64>) -> Self {
        let idle_since = AtomicU64::new(moments.fetch_add(1, Ordering::Relaxed));
        let (evicted, served) = (CancellationToken::new(), AtomicBool::new(false));
        Self { source, bytes, evicted, served, moments, idle_since }
    }

    /// Marks a request, whose head is complete, as in flight until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.served.store(true, Ordering::Relaxed);
        self.idle_since.store(BUSY, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    /// The memory budget account of its source.
    pub(super) fn bytes(&self) -> &SourceBytes {
        &self.bytes
    }

    /// Whether it has ever sent a request.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Cancelled when the connection has to close.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    fn is_idle(&self) -> bool {
        self.idle_since() != BUSY
    }

    fn idle_since(&self) -> u64 {
        self.idle_since.load(Ordering::Relaxed)
    }
}

/// A request in flight.
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.0.moments.fetch_add(1, Ordering::Relaxed);
        self.0.idle_since.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
