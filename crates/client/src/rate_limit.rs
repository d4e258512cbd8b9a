//! What the server's headers say about its rate limits.

/// What requests are counted together, per identity: all replicas of a workload share each bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Single reads, 1000 a minute by default. Each secret of a batch counts here too.
    Read,
    /// Batch reads, 100 a minute.
    BatchRead,
    /// Generation of dynamic credentials, 100 a minute.
    Dynamic,
    /// Renewals and revocations, 100 a minute.
    Lease,
    /// Creation and deletion of subscriptions and acknowledgements, 20 a minute.
    Subscription,
    /// Polls of a subscription, 240 a minute.
    Poll,
}

impl Category {
    pub(crate) const COUNT: usize = 6;
}

/// What is left of a category's bucket, as an answer's headers said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a minute.
    pub limit: Option<u64>,
    /// Requests that are left.
    pub remaining: Option<u64>,
    /// When the bucket is full again, in seconds since 1970.
    pub reset: Option<u64>,
}
