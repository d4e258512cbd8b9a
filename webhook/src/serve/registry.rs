//! Which connections are open, and which of them has to go.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    body::SourceBytes,
    limits::Limits,
    metrics::{Closed, Metrics, Shed},
};

/// The open connections of one port. The lock is taken when a connection comes or goes and once in a while to look
/// for those whose time is over; never for a request.
pub(super) struct Registry {
    open: Mutex<Open>,
    limits: Limits,
    metrics: Arc<Metrics>,
    count: Gauge,
    clock: Clock,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
    sources: HashMap<IpAddr, Arc<Account>>,
}

/// What one address has.
#[derive(Default)]
struct Account {
    /// Written with the registry's lock held.
    connections: AtomicUsize,
    bytes: SourceBytes,
}

impl Account {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Open {
    fn add(&mut self, source: IpAddr, clock: Clock) -> (u64, Arc<Connection>) {
        let account = self.sources.entry(source).or_default();
        account.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(source, Arc::clone(account), clock));
        let id = self.next;
        self.next += 1;
        self.connections.insert(id, Arc::clone(&connection));
        (id, connection)
    }

    /// None if it is gone already.
    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&id)?;
        if connection.account.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.sources.remove(&connection.source);
        }
        Some(connection)
    }

    fn of(&self, source: IpAddr) -> usize {
        self.sources.get(&source).map_or(0, |account| account.connections())
    }

    /// What each source would have if `newcomer` and all others had the same.
    fn share(&self, newcomer: IpAddr) -> usize {
        let sources = self.sources.len() + usize::from(!self.sources.contains_key(&newcomer));
        self.connections.len().div_ceil(sources)
    }

    /// Of the candidates one that has never sent a request, else one of the source with the most connections; of
    /// those the one that has been idle longest. The API servers are few, and what they open they use.
    fn first_to_go(&self, is_candidate: impl Fn(&Connection) -> bool) -> Option<u64> {
        let candidates = self.connections.iter().filter(|(_, connection)| is_candidate(connection));
        let first = candidates.min_by_key(|&(&id, connection)| {
            let idle_since = connection.active.load(Ordering::Relaxed);
            // Of two that became idle at once, the older connection.
            (connection.has_served(), Reverse(connection.account.connections()), idle_since, id)
        });
        first.map(|(&id, _)| id)
    }
}

impl Registry {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>, count: Gauge) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            limits: *limits,
            metrics,
            count,
            clock: Clock { epoch: Instant::now() },
        })
    }

    /// Counts a new connection in. Where that is one too many, an idle one makes room: of the same source if that has
    /// as many as one may or more than its share, else of all. If all are busy, one of a source that has more than
    /// its share. So a client that opens connections neither keeps others out nor ends theirs.
    pub(super) fn admit(self: &Arc<Self>, source: IpAddr) -> Result<Ticket, Shed> {
        let mut guard = self.open();
        let open = &mut *guard;
        let own_idle = |other: &Connection| other.source == source && other.is_idle();
        if open.of(source) >= self.limits.connections_per_source {
            let id = open.first_to_go(own_idle).ok_or(Shed::ConnectionsPerSource)?;
            self.evict(open, id);
        } else if open.connections.len() >= self.limits.connections {
            let share = open.share(source);
            let first = if open.of(source) > share {
                open.first_to_go(own_idle)
            } else {
                open.first_to_go(Connection::is_idle)
                    .or_else(|| open.first_to_go(|other| other.account.connections() > share))
            };
            self.evict(open, first.ok_or(Shed::Connections)?);
        }
        let (id, connection) = open.add(source, self.clock);
        drop(guard);
        self.count.inc();
        Ok(Ticket { registry: Arc::clone(self), id, connection })
    }

    /// Closes an idle connection, if there is one.
    pub(super) fn make_room(&self) {
        let mut open = self.open();
        if let Some(id) = open.first_to_go(Connection::is_idle) {
            self.evict(&mut open, id);
        }
    }

    /// How many connections have a request under way.
    pub(super) fn busy(&self) -> usize {
        self.open().connections.values().filter(|connection| !connection.is_idle()).count()
    }

    /// How often [`Self::sweep`] has to run for limits to be kept within a quarter of the shortest.
    pub(super) fn sweep_period(&self) -> Duration {
        let Limits { first_request_timeout, header_timeout, keep_alive, .. } = self.limits;
        let shortest = first_request_timeout.min(header_timeout).min(keep_alive);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Closes the connections whose time is over.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        for connection in self.open().connections.values() {
            if let Some(reason) = connection.overdue(now, &self.limits) {
                self.close(connection, reason);
            }
        }
    }

    /// It gives up its place at once, though it may take a moment to end: a request under way is answered.
    fn evict(&self, open: &mut Open, id: u64) {
        if let Some(evicted) = open.remove(id) {
            self.close(&evicted, Closed::Evicted);
        }
    }

    fn close(&self, connection: &Connection, reason: Closed) {
        if !connection.evicted.is_cancelled() {
            self.metrics.closed(reason);
            connection.evicted.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while it is held; if something did, the map would still be one.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the registry; given back when it is dropped.
pub(super) struct Ticket {
    registry: Arc<Registry>,
    id: u64,
    connection: Arc<Connection>,
}

impl Ticket {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.registry.open().remove(self.id);
        self.registry.count.dec();
    }
}

/// Times as numbers that fit an atomic: nanoseconds since the port was made, which lasts for 584 years.
#[derive(Clone, Copy)]
struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Counts from 1: 0 stands for "not".
    fn now(self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// What is known about one connection. Written by its task, read by the registry.
pub(super) struct Connection {
    source: IpAddr,
    account: Arc<Account>,
    clock: Clock,
    evicted: CancellationToken,
    requests: AtomicU32,
    served: AtomicBool,
    /// When it was opened or the last request ended.
    active: AtomicU64,
    /// When the first byte of a request's head came, 0 between requests.
    head: AtomicU64,
}

impl Connection {
    fn new(source: IpAddr, account: Arc<Account>, clock: Clock) -> Self {
        Self {
            source,
            account,
            clock,
            evicted: CancellationToken::new(),
            requests: AtomicU32::new(0),
            served: AtomicBool::new(false),
            active: AtomicU64::new(clock.now()),
            head: AtomicU64::new(0),
        }
    }

    /// A request's head is complete. It is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Bytes came: of a request's head, if none is under way.
    pub(super) fn received(&self) {
        if self.is_idle() && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.clock.now(), Ordering::Relaxed);
        }
    }

    /// Where it comes from.
    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    /// What the bodies of its source have drawn.
    pub(super) fn bytes(&self) -> &SourceBytes {
        &self.account.bytes
    }

    /// Whether a request has ever come.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Told to end.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    fn overdue(&self, now: u64, limits: &Limits) -> Option<Closed> {
        if !self.is_idle() {
            return None;
        }
        let over = |since: u64, limit: Duration| u128::from(now.saturating_sub(since)) >= limit.as_nanos();
        let (active, head) = (self.active.load(Ordering::Relaxed), self.head.load(Ordering::Relaxed));
        if head != 0 && over(head, limits.header_timeout) {
            Some(Closed::SlowHeader)
        } else if !self.has_served() && over(active, limits.first_request_timeout) {
            Some(Closed::NoRequest)
        } else if over(active, limits.keep_alive) {
            Some(Closed::Idle)
        } else {
            None
        }
    }
}

/// A request under way.
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        let connection = &*self.0;
        connection.active.store(connection.clock.now(), Ordering::Relaxed);
        connection.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
