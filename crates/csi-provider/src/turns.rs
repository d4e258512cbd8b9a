//! Limits concurrent mounts, so that they fit into memory, and those of one pod or namespace to a part of
//! them, so that a tenant with slow mounts does not block others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    sync::{AcquireError, Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    attributes::Pod,
    failure::{Failure, FailureKind},
    lock,
};

/// The maximum number of mounts in progress.
const AT_ONCE: usize = 16;
/// The maximum number of them for one namespace. Three namespaces leave one for others.
const OF_NAMESPACE: usize = 5;
/// The maximum number for one pod.
const OF_POD: usize = 4;
/// The maximum number of calls, including those that wait for a turn. Further calls fail at once. It is
/// lower than the number of streams of a connection, because a call without a stream waits in the driver,
/// where the deadline of a mount does not apply and the kubelet gives up first.
pub(crate) const CALLS: usize = 160;
/// The maximum number of calls for one namespace.
const CALLS_OF_NAMESPACE: usize = 48;
/// The maximum number of calls for one pod.
const CALLS_OF_POD: usize = 32;

/// A namespace, or the pod with this uid in it.
type Group = (String, Option<String>);

/// The turns of this node's mounts.
pub(crate) struct Turns {
    calls: Semaphore,
    all: Semaphore,
    /// Semaphores without a call are removed.
    groups: Mutex<BTreeMap<Group, Weak<Semaphore>>>,
    /// How long a call waits for its turn. The kubelet calls again.
    wait: Duration,
}

/// A call in progress.
pub(crate) struct Call<'a> {
    turns: &'a Turns,
    of_pod: Arc<Semaphore>,
    of_namespace: Arc<Semaphore>,
    _counted: SemaphorePermit<'a>,
}

/// The permission to process a mount, until it is dropped.
pub(crate) struct Turn<'a> {
    _permits: [SemaphorePermit<'a>; 3],
}

impl Turns {
    pub(crate) fn new(wait: Duration) -> Self {
        let (calls, all) = (Semaphore::new(CALLS), Semaphore::new(AT_ONCE));
        Self { calls, all, groups: Mutex::default(), wait }
    }

    /// Registers a call, unless too many are in progress.
    pub(crate) fn call(&self, pod: &Pod) -> Result<Call<'_>, Failure> {
        let of_pod = self.group(pod, Some(pod.uid.to_string()), OF_POD);
        let of_namespace = self.group(pod, None, OF_NAMESPACE);
        if Arc::strong_count(&of_pod) > CALLS_OF_POD || Arc::strong_count(&of_namespace) > CALLS_OF_NAMESPACE
        {
            return Err(busy());
        }
        let counted = self.calls.try_acquire().map_err(|_| busy())?;
        Ok(Call { turns: self, of_pod, of_namespace, _counted: counted })
    }

    /// The limit of a pod or namespace, which all calls for it share.
    fn group(&self, pod: &Pod, uid: Option<String>, limit: usize) -> Arc<Semaphore> {
        let mut groups = lock(&self.groups);
        groups.retain(|_, group| group.strong_count() > 0);
        let key = (pod.namespace.to_string(), uid);
        groups.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let group = Arc::new(Semaphore::new(limit));
            groups.insert(key, Arc::downgrade(&group));
            group
        })
    }
}

impl Call<'_> {
    /// Waits for its turn.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Failure> {
        let waiting = async {
            let of_pod = self.of_pod.acquire().await?;
            let of_namespace = self.of_namespace.acquire().await?;
            Ok([of_pod, of_namespace, self.turns.all.acquire().await?])
        };
        let waited = timeout(self.turns.wait, waiting).await;
        let permits = waited.map_err(|_| busy())?.map_err(|_: AcquireError| Failure::internal())?;
        Ok(Turn { _permits: permits })
    }
}

fn busy() -> Failure {
    let text = format!(
        "too many mounts are in progress on this node ({AT_ONCE} at once, {OF_NAMESPACE} of a namespace, {OF_POD} of a pod); the kubelet \
         retries. If this stays, find mounts that are slow or fail in the provider's log, and use fewer volumes for a pod"
    );
    Failure::new(FailureKind::Busy, text)
}

#[cfg(test)]
mod tests {
    use tokio::{sync::watch, time::Instant};

    use super::*;
    use crate::attributes::tests::pod;

    const MINUTE: Duration = Duration::from_mins(1);

    fn pod_of(namespace: &str, uid: usize) -> Pod {
        let (namespace, uid) = (namespace.parse().unwrap(), format!("u-{uid}").parse().unwrap());
        Pod { namespace, uid, ..pod() }
    }

    /// Starts mounts that run until the channel is closed. Returns how many of them have a turn.
    async fn start(
        turns: &Arc<Turns>,
        pods: impl IntoIterator<Item = Pod>,
        end: &watch::Receiver<()>,
    ) -> usize {
        let begun = Arc::new(Mutex::new(0));
        for pod in pods {
            let (turns, begun, mut end) = (Arc::clone(turns), Arc::clone(&begun), end.clone());
            tokio::spawn(async move {
                let call = turns.call(&pod)?;
                let _turn = call.turn().await?;
                *lock(&begun) += 1;
                let _ = end.changed().await;
                Ok::<_, Failure>(())
            });
        }
        // The test's clock advances when all tasks wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
        *lock(&begun)
    }

    #[tokio::test(start_paused = true)]
    async fn three_namespaces_leave_a_turn_for_others() {
        let (turns, (sender, end)) = (Arc::new(Turns::new(MINUTE)), watch::channel(()));
        assert_eq!(start(&turns, (0..20).map(|_| pod_of("a", 0)), &end).await, OF_POD);
        assert_eq!(start(&turns, (1..20).map(|uid| pod_of("a", uid)), &end).await, OF_NAMESPACE - OF_POD);
        for namespace in ["b", "c"] {
            assert_eq!(start(&turns, (0..CALLS).map(|uid| pod_of(namespace, uid)), &end).await, OF_NAMESPACE);
        }
        assert_eq!(start(&turns, [pod_of("d", 0)], &end).await, 1);
        drop(sender);
        turns.call(&pod_of("e", 0)).unwrap().turn().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _other = turns.call(&pod_of("e", 0)).unwrap();
        assert_eq!(lock(&turns.groups).len(), 2, "those that no call holds are dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_too_long_fails_with_the_reason() {
        let (turns, (_sender, end)) = (Arc::new(Turns::new(MINUTE)), watch::channel(()));
        start(&turns, (0..OF_POD).map(|_| pod_of("a", 0)), &end).await;
        let (call, began) = (turns.call(&pod_of("a", 0)).unwrap(), Instant::now());
        let failure = call.turn().await.err().unwrap();
        assert_eq!((failure.kind, began.elapsed().as_secs()), (FailureKind::Busy, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_limit_fail_at_once() {
        let (turns, (_sender, end)) = (Arc::new(Turns::new(MINUTE)), watch::channel(()));
        let is_refused = |pod: &Pod| turns.call(pod).is_err_and(|failure| failure.kind == FailureKind::Busy);
        start(&turns, (0..CALLS_OF_POD).map(|_| pod_of("a", 0)), &end).await;
        assert!(is_refused(&pod_of("a", 0)));
        // Pods of the namespace share a limit as well.
        start(&turns, (1..=CALLS_OF_NAMESPACE - CALLS_OF_POD).map(|uid| pod_of("a", uid)), &end).await;
        assert!(is_refused(&pod_of("a", 99)) && !is_refused(&pod_of("b", 0)));
        // Three namespaces leave calls for others. The common limit is below the number of streams of a
        // connection.
        for namespace in ["b", "c"] {
            start(&turns, (0..CALLS).map(|uid| pod_of(namespace, uid)), &end).await;
            assert!(is_refused(&pod_of(namespace, 0)) && !is_refused(&pod_of("d", 0)));
        }
        start(&turns, (0..CALLS).map(|uid| pod_of("d", uid)), &end).await;
        assert!(is_refused(&pod_of("e", 0)));
        assert!(CALLS + CALLS / 8 <= usize::try_from(crate::serve::CALLS_AT_ONCE).unwrap());
    }
}
