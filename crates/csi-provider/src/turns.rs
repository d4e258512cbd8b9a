//! Which mounts are worked on. Few at once, so that they fit into memory, and of one pod or namespace not all of these, so that a tenant
//! whose mounts are slow does not stop those of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{
    attributes::Pod,
    failure::{Failure, FailureKind},
    lock,
};

/// How many mounts are worked on at once.
const AT_ONCE: usize = 16;
/// How many of them may be of one namespace.
const OF_NAMESPACE: usize = 12;
/// How many may be of one pod.
const OF_POD: usize = 4;
/// How many calls for one pod may be under way, those that wait counted. More fail at once: the driver waits for an answer to a limited
/// number of calls.
const CALLS_OF_POD: usize = 32;
/// How many calls for one namespace may be under way.
const CALLS_OF_NAMESPACE: usize = 128;

/// A namespace, or the pod with this uid in it.
type Group = (String, Option<String>);

/// The turns of this node's mounts.
pub(crate) struct Turns {
    all: Semaphore,
    /// Those that no call holds are dropped.
    groups: Mutex<BTreeMap<Group, Weak<Semaphore>>>,
    /// How long a call waits for its turn. The kubelet calls again.
    wait: Duration,
}

impl Turns {
    pub(crate) fn new(wait: Duration) -> Self {
        Self { all: Semaphore::new(AT_ONCE), groups: Mutex::default(), wait }
    }

    /// Does the work of a mount when it is its turn.
    pub(crate) async fn take<T>(
        &self,
        pod: &Pod,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.wait;
        let of_pod = self.group(pod, Some(pod.uid.to_string()), OF_POD);
        let of_namespace = self.group(pod, None, OF_NAMESPACE);
        if Arc::strong_count(&of_pod) > CALLS_OF_POD || Arc::strong_count(&of_namespace) > CALLS_OF_NAMESPACE
        {
            return Err(busy());
        }
        let waiting =
            async { (of_pod.acquire().await, of_namespace.acquire().await, self.all.acquire().await) };
        let _turn = timeout_at(deadline, waiting).await.map_err(|_| busy())?;
        work.await
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

fn busy() -> Failure {
    let text = format!(
        "too many mounts are under way on this node ({AT_ONCE} at once, {OF_NAMESPACE} of a namespace, {OF_POD} of a pod), and the kubelet \
         tries again; if this stays, find mounts that are slow or fail in the provider's log, and use fewer volumes for a pod"
    );
    Failure::new(FailureKind::Busy, text)
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};
    use tokio::sync::watch;

    use super::*;
    use crate::attributes::tests::pod;

    const MINUTE: Duration = Duration::from_mins(1);

    fn pod_of(namespace: &str, uid: usize) -> Pod {
        let (namespace, uid) = (namespace.parse().unwrap(), format!("u-{uid}").parse().unwrap());
        Pod { namespace, uid, ..pod() }
    }

    /// Starts mounts that go on until the channel is closed, and returns how many of them are worked on.
    async fn start(
        turns: &Arc<Turns>,
        pods: impl IntoIterator<Item = Pod>,
        end: &watch::Receiver<()>,
    ) -> usize {
        let begun = Arc::new(Mutex::new(0));
        for pod in pods {
            let (turns, begun, mut end) = (Arc::clone(turns), Arc::clone(&begun), end.clone());
            tokio::spawn(async move {
                let work = async {
                    *lock(&begun) += 1;
                    let _ = end.changed().await;
                    Ok(())
                };
                turns.take(&pod, work).await
            });
        }
        // Time is the test's: it passes when all tasks wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
        *lock(&begun)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_and_a_namespace_have_a_part_of_the_turns() {
        let (turns, (sender, end)) = (Arc::new(Turns::new(MINUTE)), watch::channel(()));
        assert_eq!(start(&turns, (0..20).map(|_| pod_of("a", 0)), &end).await, OF_POD);
        assert_eq!(start(&turns, (1..20).map(|uid| pod_of("a", uid)), &end).await, OF_NAMESPACE - OF_POD);
        assert_eq!(start(&turns, (0..20).map(|uid| pod_of("b", uid)), &end).await, AT_ONCE - OF_NAMESPACE);
        drop(sender);
        assert_eq!(turns.take(&pod_of("c", 0), async { Ok(7) }).await.unwrap(), 7);
        let more = turns.group(&pod_of("d", 0), None, 1);
        assert_eq!(lock(&turns.groups).len(), 1, "those that no call holds are dropped");
        drop(more);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_too_long_says_so() {
        let (turns, (_sender, end)) = (Arc::new(Turns::new(MINUTE)), watch::channel(()));
        start(&turns, (0..OF_POD).map(|_| pod_of("a", 0)), &end).await;
        let began = Instant::now();
        let failure = turns.take(&pod_of("a", 0), async { Ok(()) }).await.unwrap_err();
        assert_eq!((failure.kind, began.elapsed().as_secs()), (FailureKind::Busy, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_limit_fail_at_once() {
        let (turns, (_sender, end)) = (Arc::new(Turns::new(MINUTE)), watch::channel(()));
        start(&turns, (0..CALLS_OF_POD).map(|_| pod_of("a", 0)), &end).await;
        let refused = turns.take(&pod_of("a", 0), async { Ok(()) }).now_or_never();
        assert_eq!(refused.unwrap().unwrap_err().kind, FailureKind::Busy);
        // Pods of the namespace share a limit as well.
        start(&turns, (1..=CALLS_OF_NAMESPACE - CALLS_OF_POD).map(|uid| pod_of("a", uid)), &end).await;
        let refused = turns.take(&pod_of("a", 99), async { Ok(()) }).now_or_never();
        assert_eq!(refused.unwrap().unwrap_err().kind, FailureKind::Busy);
        let others: Vec<_> = (0..4).map(|_| pod_of("b", 0)).collect();
        let others = others.iter().map(|pod| turns.take(pod, async { Ok(()) }));
        assert!(join_all(others).await.iter().all(Result::is_ok), "another namespace");
    }
}
