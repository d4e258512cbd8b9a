//! Executes steps. Each write fails if the object has changed since the decision, and its response is cached
//! before the next decision. Nothing is retried here, because the next decision uses the current state. A
//! step that is based on an outdated object is skipped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use scaivault_cluster::{reason, unix_seconds};
use scaivault_restarter::{
    FIELD_MANAGER, Failure, Kind, Ledger, ObservedVersions, Phase, Refusal, RolloutChange, RotationRollout,
    RotationRolloutSpec, RotationRolloutStatus, Step, Wait, WorkloadKey, object_name, patch,
};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, timeout},
};

use super::{
    events::WorkloadEvent,
    kinds::plural,
    memory::{Memory, Record},
    metrics::{Metrics, Write, lock},
};

/// The timeout of a write.
const ANSWER: Duration = Duration::from_secs(15);
/// The backoff after a refused write, from and to.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(10));
/// With fewer entries than this, entries of removed workloads are kept.
const ENTRIES_KEPT: usize = 1024;
/// The maximum length of a stored refusal in characters.
const MESSAGE_CHARS: usize = 256;

/// Executes the steps of one leader.
pub(super) struct Writer {
    client: Client,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<WorkloadEvent>,
    /// Workloads whose `RotationRollout` was refused: how often in a row, and when it may be written next.
    held: Mutex<BTreeMap<WorkloadKey, (u32, Instant)>>,
    /// How often in a row the patch of a workload was refused.
    refusals: Mutex<BTreeMap<WorkloadKey, u32>>,
}

/// Why a write was refused.
struct RefusedWrite {
    write: Write,
    message: String,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepResult {
    /// Nothing was sent.
    Skipped,
    /// The API server executed it, or refused it for a reason that concerns this object.
    Answered,
}

/// A write without an answer, or while the API server was overloaded. Other writes of the same batch show
/// whether this concerns only the object.
#[derive(Debug)]
pub(super) struct UnansweredWrite {
    pub(super) workload: WorkloadKey,
    is_restart: bool,
    pub(super) message: String,
}

impl Writer {
    pub(super) fn new(
        client: Client,
        memory: Arc<Memory>,
        metrics: Arc<Metrics>,
        events: mpsc::Sender<WorkloadEvent>,
    ) -> Self {
        Self { client, memory, metrics, events, held: Mutex::default(), refusals: Mutex::default() }
    }

    /// Whether a step must be postponed.
    pub(super) fn is_held(&self, step: &Step, now: Instant) -> bool {
        let is_record = matches!(step, Step::Record { .. });
        is_record && lock(&self.held).get(step.workload()).is_some_and(|(_, until)| now < *until)
    }

    /// Executes a step.
    pub(super) async fn execute(&self, step: Step) -> Result<StepResult, UnansweredWrite> {
        match step {
            Step::Restart { workload, marker, ledger, seen } => {
                self.restart(&workload, &marker, *ledger, &seen).await
            }
            Step::Record { workload, seen, .. } if self.memory.lock().current(&workload, &seen).is_none() => {
                Ok(StepResult::Skipped)
            }
            Step::Record { workload, ledger, seen } => {
                match self.record(&workload, *ledger, &seen).await {
                    Ok(()) => drop(lock(&self.held).remove(&workload)),
                    Err(RefusedWrite { write: Write::Unavailable, message }) => {
                        return Err(UnansweredWrite { workload, is_restart: false, message });
                    }
                    Err(RefusedWrite { write: Write::Refused, message }) => self.hold(&workload, &message),
                    Err(RefusedWrite { write: Write::Conflict | Write::Done, .. }) => {}
                }
                Ok(StepResult::Answered)
            }
        }
    }

    /// Postpones a write like a refused one, because the API server answers others.
    pub(super) fn postpone(&self, UnansweredWrite { workload, is_restart, message }: &UnansweredWrite) {
        if *is_restart { self.refuse(workload, message) } else { self.hold(workload, message) }
    }

    /// Postpones the write of a `RotationRollout`.
    fn hold(&self, workload: &WorkloadKey, message: &str) {
        let pause = {
            let mut held = lock(&self.held);
            self.forget_gone(&mut held);
            let (count, until) = held.entry(workload.clone()).or_insert((0, Instant::now()));
            let pause = pause(*count);
            (*count, *until) = (*count + 1, Instant::now() + pause);
            pause
        };
        let pause_seconds = pause.as_secs();
        tracing::warn!(%workload, error = message, pause_seconds, "RotationRollout not written");
    }

    /// Marks the template, and then records the restart.
    async fn restart(
        &self,
        key: &WorkloadKey,
        marker: &str,
        ledger: Ledger,
        seen: &ObservedVersions,
    ) -> Result<StepResult, UnansweredWrite> {
        let patch = {
            let mut state = self.memory.lock();
            let Some(workload) = state.current(key, seen) else { return Ok(StepResult::Skipped) };
            patch(key, workload, marker)
        };
        let api =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &key.namespace, &resource(key.kind));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = answered(api.patch(&key.name, &params, &Patch::Apply(&patch))).await;
        let result = applied.as_ref().map_or_else(|refused| refused.write, |_| Write::Done);
        self.metrics.restarted(key.kind.name(), result);
        match applied {
            Ok(object) => {
                tracing::info!(workload = %key, versions = marker, "restarting");
                if let Ok(object) = serde_json::to_value(object) {
                    self.memory.change(|state| {
                        state.put_workload(key.kind, &object);
                        state.catalog.put_refusal(key, None);
                    });
                }
                self.send_event(key, false, "Restarting", format!("pods are replaced for {marker}"));
            }
            Err(RefusedWrite { write: Write::Unavailable, message }) => {
                return Err(UnansweredWrite { workload: key.clone(), is_restart: true, message });
            }
            Err(RefusedWrite { write, message }) => {
                if write == Write::Refused {
                    self.refuse(key, &message);
                }
                return Ok(StepResult::Answered);
            }
        }
        lock(&self.refusals).remove(key);
        let written = self.record(key, ledger, seen).await;
        // If this write failed, the version is still in the marker.
        if let Err(RefusedWrite { message, .. }) = written {
            tracing::debug!(workload = %key, error = message, "restart not recorded yet");
        }
        Ok(StepResult::Answered)
    }

    /// Records a refused patch in the status. Other workloads are restarted meanwhile.
    fn refuse(&self, key: &WorkloadKey, message: &str) {
        let pause = {
            let mut refusals = lock(&self.refusals);
            self.forget_gone(&mut refusals);
            let count = refusals.entry(key.clone()).or_default();
            *count += 1;
            pause(*count - 1)
        };
        let pause_seconds = pause.as_secs();
        tracing::warn!(workload = %key, error = message, pause_seconds, "restart not accepted");
        let until = unix_seconds(SystemTime::now() + pause);
        let message: String = message.chars().take(MESSAGE_CHARS).collect();
        let refusal = Refusal { until, message: message.clone().into() };
        self.memory.change(|state| state.catalog.put_refusal(key, Some(refusal)));
        self.send_event(
            key,
            true,
            "PatchRefused",
            format!("the API server did not accept the restart: {message}"),
        );
    }

    fn forget_gone<T>(&self, entries: &mut BTreeMap<WorkloadKey, T>) {
        if entries.len() >= ENTRIES_KEPT {
            let state = self.memory.lock();
            entries.retain(|key, _| state.catalog.uid(key).is_some());
        }
    }

    /// Writes the ledger of a workload into its `RotationRollout`.
    async fn record(
        &self,
        key: &WorkloadKey,
        ledger: Ledger,
        seen: &ObservedVersions,
    ) -> Result<(), RefusedWrite> {
        let written = self.replace(key, ledger, seen).await;
        self.metrics.recorded(written.as_ref().map_or_else(|refused| refused.write, |()| Write::Done));
        written
    }

    async fn replace(
        &self,
        key: &WorkloadKey,
        ledger: Ledger,
        seen: &ObservedVersions,
    ) -> Result<(), RefusedWrite> {
        let api = Api::<RotationRollout>::namespaced(self.client.clone(), &key.namespace);
        let (known, before) = {
            let mut state = self.memory.lock();
            let workload = state.catalog.world().workloads.get(key);
            let before = workload.and_then(|workload| workload.ledger.as_ref()?.rollout);
            (state.record(key).cloned(), before)
        };
        let known = match known.filter(|_| !seen.record.is_empty()) {
            Some(known) => Record { resource_version: seen.record.clone(), ..known },
            None => match self.create(&api, key).await? {
                Some(created) => created,
                None => return Ok(()),
            },
        };
        let mut object = empty(key);
        object.metadata.resource_version = Some(known.resource_version.to_string());
        object.status = Some(self.status(&ledger, &known));
        let (name, params) = (object_name(key), PostParams::default());
        let written = answered(api.replace_status(&name, &params, &object)).await?;
        for change in RolloutChange::between(before, ledger.rollout) {
            self.report_change(key, &ledger, change);
        }
        self.report_wait(key, &ledger, &known);
        self.memory.change(|state| state.put_own_record(key, &written, ledger));
        Ok(())
    }

    fn status(&self, ledger: &Ledger, known: &Record) -> RotationRolloutStatus {
        let now = unix_seconds(SystemTime::now());
        let mut state = self.memory.lock();
        RotationRolloutStatus::new(ledger, &state.catalog.world().sources, now, &known.conditions)
    }

    /// Creates the `RotationRollout`, owned by its workload. Returns `None` if the workload does not exist
    /// any more.
    async fn create(
        &self,
        api: &Api<RotationRollout>,
        key: &WorkloadKey,
    ) -> Result<Option<Record>, RefusedWrite> {
        let Some(uid) = self.memory.lock().catalog.uid(key).map(str::to_owned) else { return Ok(None) };
        let mut object = empty(key);
        object.metadata.owner_references = Some(vec![OwnerReference {
            api_version: key.kind.api_version().to_owned(),
            kind: key.kind.name().to_owned(),
            name: key.name.to_string(),
            uid,
            ..OwnerReference::default()
        }]);
        let created = answered(api.create(&PostParams::default(), &object)).await?;
        let resource_version = created.metadata.resource_version.unwrap_or_default().into();
        Ok(Some(Record { resource_version, ..Record::default() }))
    }

    /// Counts and reports a change of the outcome of a restart.
    fn report_change(&self, key: &WorkloadKey, ledger: &Ledger, change: RolloutChange) {
        self.metrics.rollout_changed(change.word());
        match change {
            RolloutChange::Succeeded => {
                let note = "all pods were replaced and are available".to_owned();
                self.send_event(key, false, "Restarted", note);
            }
            RolloutChange::Recovered => {
                tracing::info!(workload = %key, "workload has recovered from its failed restart");
                let note = "all pods have been available for a while after the failed restart".to_owned();
                self.send_event(key, false, "Recovered", note);
            }
            RolloutChange::Failed(failure) => self.report_failure(key, ledger, failure),
            RolloutChange::Replaced => {}
        }
    }

    fn report_failure(&self, key: &WorkloadKey, ledger: &Ledger, failure: Failure) {
        let reason = failure.reason();
        if ledger.has_failed() {
            tracing::warn!(
                workload = %key, reason,
                "restart failed, stopping the other restarts of its namespace for the same versions"
            );
        } else {
            tracing::warn!(workload = %key, reason, "restart failed, continuing the other restarts");
        }
        let message = Phase::Failed(failure).message(ledger, &self.memory.lock().catalog.world().sources);
        self.send_event(key, true, reason, message);
    }

    /// Reports the reason of a waiting restart if it has changed since the last record.
    fn report_wait(&self, key: &WorkloadKey, ledger: &Ledger, known: &Record) {
        let (phase, reason) = (ledger.phase.word(), ledger.phase.reason());
        if (phase, reason) == (&*known.shown.0, &*known.shown.1) {
            return;
        }
        tracing::debug!(workload = %key, phase, reason, "phase changed");
        if let Phase::Waiting(
            Wait::Release
            | Wait::Invalid(_)
            | Wait::Paused
            | Wait::OnDelete
            | Wait::Breaker { .. }
            | Wait::Stopped { .. },
        ) = &ledger.phase
        {
            self.send_event(key, true, reason, self.message(ledger));
        }
    }

    fn message(&self, ledger: &Ledger) -> String {
        ledger.phase.message(ledger, &self.memory.lock().catalog.world().sources)
    }

    fn send_event(&self, workload: &WorkloadKey, is_warning: bool, reason: &'static str, note: String) {
        let Some(uid) = self.memory.lock().catalog.uid(workload).map(str::to_owned) else { return };
        let event = WorkloadEvent { workload: workload.clone(), uid, is_warning, reason, note };
        if self.events.try_send(event).is_err() {
            self.metrics.event("dropped");
        }
    }
}

/// The pause after this number of consecutive refusals.
fn pause(count: u32) -> Duration {
    PAUSES.0.saturating_mul(2_u32.saturating_pow(count)).min(PAUSES.1)
}

/// The `RotationRollout` of a workload, without a status.
pub(super) fn empty(key: &WorkloadKey) -> RotationRollout {
    let spec = RotationRolloutSpec { kind: key.kind.name().to_owned(), name: key.name.to_string() };
    let mut object = RotationRollout::new(&object_name(key), spec);
    object.metadata = ObjectMeta {
        name: Some(object_name(key)),
        namespace: Some(key.namespace.to_string()),
        ..ObjectMeta::default()
    };
    object
}

/// The resource of a kind of workload.
pub(super) fn resource(kind: Kind) -> ApiResource {
    let api_version = kind.api_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.name().to_owned(),
        plural: plural(kind).to_owned(),
    }
}

/// The result of a write.
async fn answered<T>(write: impl Future<Output = kube::Result<T>>) -> Result<T, RefusedWrite> {
    match timeout(ANSWER, write).await {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(error)) => Err(RefusedWrite { write: classify(&error), message: reason(&error) }),
        Err(_) => {
            Err(RefusedWrite { write: Write::Unavailable, message: format!("no answer in {ANSWER:?}") })
        }
    }
}

/// Classifies the error of a write. The API server also answers 500 if it cannot store the object or if an
/// admission webhook does not answer: both concern only this object.
fn classify(error: &kube::Error) -> Write {
    match error {
        kube::Error::Api(status) => match status.code {
            // With 404, the cached object is outdated. The watch will deliver the current state.
            404 | 409 => Write::Conflict,
            429 | 503 | 504 => Write::Unavailable,
            _ => Write::Refused,
        },
        _ => Write::Unavailable,
    }
}

#[cfg(test)]
pub(super) mod tests;
