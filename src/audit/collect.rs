//! Collects what was found about each object into the report. No I/O.

use std::collections::{BTreeMap, BTreeSet};

pub(super) use scaivault_audit::Place;
use scaivault_audit::{
    Audit, AuditError, LongLivedToken, NativeUse, Outcome as Becomes, PodDrift, Pods, PolicyRow, Source,
    Stage, Tokens, Verdict, Workload, Writer,
};
use scaivault_inject::{
    Context, Decision, MalformedPod, Policy, PolicySet, PolicyUse, Problems, SkipReason,
    decide_with_policies, workload,
};
use scaivault_policy::compile;
use scaivault_usage::{
    NativeSecret, SecretSource, SecretUse, csi_volumes, other_products, secret_sources, secrets,
    token_settings,
};
use serde_json::Value;

use super::{
    drift::{self, Comparison},
    owners::{ObjectKey, Owners},
};
use crate::{
    evaluate::{Action, ObjectResult, Outcome, Subject, evaluate},
    object::Object,
    offline_cluster::OfflineCluster,
    policy::is_policy,
    report::Entry,
};

/// Everything found so far. Namespaces, service accounts and policies must be added before
/// workloads, and workloads before pods.
pub(super) struct Collector {
    pub(super) cluster: OfflineCluster,
    accounts: BTreeMap<(String, String), Account>,
    /// Policies found in the input, in contrast to those given by flags.
    policies: Vec<Policy>,
    sources: Vec<SecretSource>,
    /// Secrets with long-lived tokens.
    token_secrets: Vec<NativeSecret>,
    workloads: Vec<Workload>,
    /// The position of each workload of a cluster in the list.
    index: BTreeMap<ObjectKey, usize>,
    owners: Owners,
    pub(super) errors: Vec<AuditError>,
    pub(super) notes: Vec<String>,
}

/// The token settings of a service account.
#[derive(Debug, Default)]
struct Account {
    automount: Option<bool>,
}

impl Collector {
    pub(super) fn new(cluster: OfflineCluster) -> Self {
        Self {
            cluster,
            accounts: BTreeMap::new(),
            policies: Vec::new(),
            sources: Vec::new(),
            token_secrets: Vec::new(),
            workloads: Vec::new(),
            index: BTreeMap::new(),
            owners: Owners::default(),
            errors: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Records an object that other objects depend on: a namespace, a service account, a Secret's
    /// metadata, or an object that writes Secrets.
    pub(super) fn note(&mut self, object: &Object<'_>, place: Option<&Place>) {
        self.cluster.note(object);
        if is_policy(object) {
            return self.note_policy(object, place);
        }
        match (object.api_version, object.kind) {
            ("v1", "ServiceAccount") => self.note_account(object),
            ("v1", "Secret") => {
                let secret = NativeSecret::from_metadata(object.value);
                self.token_secrets.extend(Some(secret).filter(|secret| secret.token_of.is_some()));
            }
            _ => self.sources.extend(secret_sources(object.value)),
        }
    }

    fn note_policy(&mut self, object: &Object<'_>, place: Option<&Place>) {
        let value = object.standalone();
        let problems = match compile(&value) {
            Ok(policy) => return self.policies.push(policy),
            Err(problems) => problems,
        };
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let in_force = in_force(&value).and_then(|value| compile(&value).ok());
        let fix = in_force
            .as_ref()
            .map(|policy| format!("correct it; generation {} is in force", policy.generation()));
        self.policies.extend(in_force);
        let what = format!("{}injectionpolicy/{}", before_name(place), object.name());
        self.errors.push(AuditError { what, message: texts.join("; "), fix });
    }

    /// Applies the recorded policies to everything that follows, together with those given by
    /// flags, which take precedence. Policies in manifests are validated but not applied, because a
    /// repository may contain those of several clusters.
    pub(super) fn settle_policies(&mut self) {
        let given = &self.cluster.policies;
        let is_given = |policy: &&Policy| given.iter().any(|other| other.name() == policy.name());
        let others = self.policies.iter().filter(|policy| !is_given(policy));
        self.cluster.policies = PolicySet::new(given.iter().chain(others).cloned().collect());
    }

    fn note_account(&mut self, object: &Object<'_>) {
        let (namespace, name) = (object.namespace(), object.name());
        let automount = object.value.get("automountServiceAccountToken").and_then(Value::as_bool);
        self.accounts.insert((namespace.to_owned(), name.to_owned()), Account { automount });
        let listed = object.value.get("secrets").and_then(Value::as_array).into_iter().flatten();
        let names = listed.filter_map(|secret| secret.get("name")?.as_str());
        // Clusters before 1.24 created such a Secret for each account. Other listed Secrets are not
        // tokens.
        let tokens =
            names.filter(|secret| secret.strip_prefix(name).is_some_and(|rest| rest.starts_with("-token-")));
        self.token_secrets.extend(tokens.map(|secret| NativeSecret {
            namespace: namespace.to_owned(),
            name: secret.to_owned(),
            token_of: Some(name.to_owned()),
            last_used: None,
            invalid_since: None,
        }));
    }

    /// Adds the workloads of a document.
    pub(super) fn document(&mut self, document: &Value, place: Option<&Place>) {
        let results = evaluate(document, Action::Inject, &self.cluster, false, |subject, context| {
            let (decision, report) = decide_with_policies(subject.pod(), context);
            match subject {
                Subject::Workload(workload) => (workload::decide(workload, context), report),
                Subject::Pod(_) => (decision, report),
            }
        });
        for result in results {
            self.add_result(document, result, place);
        }
    }

    /// The namespaces of the workloads so far.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.workloads.iter().map(|workload| workload.namespace.clone()).collect()
    }

    /// Adds a namespace of `--namespace-file`.
    pub(super) fn given_namespace(&mut self, entry: Entry) {
        let Entry { file, line, result, .. } = entry;
        let result = ObjectResult { pointer: String::new(), ..result };
        self.add_result(&Value::Null, result, Some(&Place { file, line }));
    }

    fn add_result(&mut self, document: &Value, result: ObjectResult, place: Option<&Place>) {
        if !result.has_pod() && !result.outcome.has_problems() {
            let object = format!("{}{}", before_name(place), result.display_name());
            self.notes.extend(result.warnings.iter().map(|warning| format!("{object}: {warning}")));
        }
        if let Some(workload) = self.workload(document, result, place) {
            self.workloads.push(workload);
        }
    }

    /// Adds a workload of a cluster, unless it is listed with its owner.
    pub(super) fn live_workload(&mut self, object: &Value, key: ObjectKey) {
        if self.owners.note(object, key.clone()) || self.index.contains_key(&key) {
            return;
        }
        let before = self.workloads.len();
        self.document(object, None);
        // One row is enough to count pods. An object of an unknown kind can have several templates.
        if let Some(workload) = self.workloads.get_mut(before) {
            workload.pods = Some(Pods::default());
            self.index.insert(key, before);
        }
    }

    /// Records an object's owner and returns whether the object is listed with its owner.
    pub(super) fn is_owned(&mut self, object: &Value, key: ObjectKey) -> bool {
        self.owners.note(object, key)
    }

    /// Adds a running pod, given as text and as JSON value.
    pub(super) fn live_pod(&mut self, text: &str, pod: &Value) {
        let phase = pod.pointer("/status/phase").and_then(Value::as_str);
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        let text_at = |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text_at("/metadata/namespace"), text_at("/metadata/name"));
        let controller = ObjectKey::controller_of(pod);
        let itself = || ObjectKey::new(namespace, "v1", "Pod", name);
        let top = controller.as_ref().map_or_else(itself, |(key, _)| self.owners.top(key).clone());
        let index = match self.index.get(&top) {
            Some(index) => Some(*index),
            None => self.workload_of_pod(pod, top, controller.map(|(_, api_version)| api_version)),
        };
        let Some(index) = index else { return };
        let compared = self.compare(text, pod, namespace);
        let pods = self.workloads[index].pods.get_or_insert_default();
        pods.total += 1;
        match compared {
            Ok(Comparison::NotConcerned) => {}
            Ok(Comparison::Current) => pods.current += 1,
            Ok(Comparison::Drifted(state, differences)) => {
                pods.drifted.push(PodDrift { name: name.to_owned(), state, differences });
            }
            Err(message) => {
                let what = format!("pod {namespace}/{name}");
                self.errors.push(AuditError { what, message, fix: None });
            }
        }
    }

    fn compare(&self, text: &str, pod: &Value, namespace: &str) -> Result<Comparison, String> {
        let known = self.cluster.namespace(namespace);
        let role = self.cluster.role(namespace, Object::service_account(pod));
        drift::compare(text, pod, &self.context(&known, role))
    }

    fn context<'a>(
        &'a self,
        namespace: &'a scaivault_inject::Namespace,
        role: Option<&'a str>,
    ) -> Context<'a> {
        Context::new(&self.cluster.settings, namespace, self.cluster.kube_version)
            .with_policies(&self.cluster.policies, self.cluster.now)
            .with_service_account_role(role)
    }

    /// The row of a pod whose workload is unknown: the pod itself, or the name of the object that
    /// created it, such as a workflow.
    fn workload_of_pod(&mut self, pod: &Value, top: ObjectKey, api_version: Option<String>) -> Option<usize> {
        let mut pod = pod.clone();
        if let Value::Object(fields) = &mut pod {
            fields.insert("apiVersion".to_owned(), "v1".into());
            fields.insert("kind".to_owned(), "Pod".into());
        }
        let index = self.workloads.len();
        self.document(&pod, None);
        let workload = self.workloads.get_mut(index)?;
        workload.pods = Some(Pods::default());
        if let Some(api_version) = api_version {
            workload.api_version = api_version;
            workload.kind.clone_from(&top.kind);
            workload.name.clone_from(&top.name);
        }
        self.index.insert(top, index);
        Some(index)
    }

    fn workload(&self, document: &Value, result: ObjectResult, place: Option<&Place>) -> Option<Workload> {
        let becomes = becomes(&result)?;
        let object = document.pointer(&result.pointer)?;
        let pod = result.pod_pointer().and_then(|pointer| document.pointer(&pointer)).unwrap_or(&Value::Null);
        let (read, others): (Vec<SecretUse>, Vec<SecretUse>) =
            secrets(pod).into_iter().partition(SecretUse::is_read_by_containers);
        Some(Workload {
            place: place.cloned(),
            stage: Stage::None,
            becomes,
            native_secrets: NativeUse::by_secret(read),
            other_native_secrets: NativeUse::by_secret(others),
            csi_volumes: csi_volumes(pod),
            other_products: other_products(object, pod),
            tokens: self.tokens(&result.namespace, pod),
            policies: result.policies.into_iter().map(policy_row).collect(),
            pods: None,
            namespace: result.namespace,
            api_version: result.api_version,
            kind: result.kind,
            name: result.name,
            template: result.template,
        })
    }

    fn tokens(&self, namespace: &str, pod: &Value) -> Tokens {
        let settings = token_settings(pod);
        let service_account = Object::service_account(pod).to_owned();
        let account = self.accounts.get(&(namespace.to_owned(), service_account.clone()));
        let api_token =
            settings.automount.or_else(|| account.map(|account| account.automount.unwrap_or(true)));
        Tokens { service_account, api_token, projected: settings.projected }
    }

    /// The report.
    pub(super) fn finish(self, source: Source, time: String) -> Audit {
        let Self { sources, token_secrets, mut workloads, errors, notes, .. } = self;
        let mut writers: BTreeMap<(Option<&str>, &str), Vec<Writer>> = BTreeMap::new();
        for source in &sources {
            let writer = Writer { kind: source.kind.name(), name: source.name.clone() };
            let known = writers.entry((source.namespace.as_deref(), &source.secret)).or_default();
            if !known.contains(&writer) {
                known.push(writer);
            }
        }
        let mut tokens: BTreeMap<(&str, &str), LongLivedToken> = BTreeMap::new();
        for secret in &token_secrets {
            let token = long_lived(secret);
            // Metadata contains more than a service account's list.
            let known = tokens.entry((&secret.namespace, &secret.name)).or_insert_with(|| token.clone());
            known.last_used = known.last_used.take().or(token.last_used);
            known.invalid_since = known.invalid_since.take().or(token.invalid_since);
        }
        for workload in &mut workloads {
            let display_name = workload.display_name();
            let namespace = workload.namespace.as_str();
            let natives = workload.native_secrets.iter_mut().chain(&mut workload.other_native_secrets);
            for native in natives {
                for place in [Some(namespace), None] {
                    native
                        .written_by
                        .extend(writers.get(&(place, native.secret.as_str())).into_iter().flatten().cloned());
                }
                if let Some(token) = tokens.get_mut(&(namespace, native.secret.as_str())) {
                    native.token_of = Some(token.service_account.clone());
                    token.used_by.push(display_name.clone());
                }
            }
        }
        let tokens = tokens.into_values().collect();
        Audit::new(source, time, workloads, tokens, errors, notes)
    }
}

/// The prefix that locates an object's manifest; empty in a cluster.
fn before_name(place: Option<&Place>) -> String {
    place.map(|Place { file, line }| format!("{file}:{line} ")).unwrap_or_default()
}

fn policy_row(used: PolicyUse) -> PolicyRow {
    let PolicyUse { name, generation, effect, message } = used;
    PolicyRow { name: name.to_string(), generation, effect: effect.name().to_owned(), message }
}

/// A policy with the specification that is in force according to its status, if its current one
/// cannot be used.
fn in_force(policy: &Value) -> Option<Value> {
    let in_force = policy.pointer("/status/inForce")?;
    let (generation, spec) = (in_force.get("generation")?.clone(), in_force.get("spec")?.clone());
    let mut policy = policy.clone();
    *policy.pointer_mut("/spec")? = spec;
    policy.pointer_mut("/metadata")?.as_object_mut()?.insert("generation".to_owned(), generation);
    Some(policy)
}

fn long_lived(secret: &NativeSecret) -> LongLivedToken {
    LongLivedToken {
        namespace: secret.namespace.clone(),
        secret: secret.name.clone(),
        service_account: secret.token_of.clone().unwrap_or_default(),
        last_used: secret.last_used.clone(),
        invalid_since: secret.invalid_since.clone(),
        used_by: Vec::new(),
    }
}

/// The outcome for an object's pods; `None` if it has no pods and no problems.
fn becomes(result: &ObjectResult) -> Option<Becomes> {
    let mut becomes = match &result.outcome {
        Outcome::NoObject
        | Outcome::NoPod
        | Outcome::Class
        | Outcome::NoReceipt
        | Outcome::InvalidPolicy(_) => return None,
        Outcome::Malformed(message) => {
            let problems = vec![message.clone()];
            Becomes { problems, ..outcome(Verdict::Refused, MalformedPod::REASON) }
        }
        Outcome::Decided(decision) => decided(decision),
    };
    becomes.warnings.splice(..0, result.warnings.iter().cloned());
    Some(becomes)
}

fn decided(decision: &Decision) -> Becomes {
    let becomes = match decision {
        Decision::Inject(injection) => {
            Becomes { secrets: injection.secrets, ..outcome(Verdict::Injected, decision.reason()) }
        }
        Decision::Skip(skip) if !skip.problems.is_empty() => {
            Becomes { problems: texts(&skip.problems), ..outcome(Verdict::Refused, decision.reason()) }
        }
        Decision::Skip(skip) if skip.reason == SkipReason::AlreadyInjected => {
            outcome(Verdict::Injected, decision.reason())
        }
        Decision::Skip(_) | Decision::Detach(_) => outcome(Verdict::NotCovered, decision.reason()),
        Decision::Deny(denial) => {
            Becomes { problems: texts(&denial.problems), ..outcome(Verdict::Refused, decision.reason()) }
        }
    };
    Becomes { warnings: decision.warnings().to_vec(), ..becomes }
}

fn outcome(verdict: Verdict, reason: &str) -> Becomes {
    Becomes { verdict, reason: reason.to_owned(), secrets: 0, problems: Vec::new(), warnings: Vec::new() }
}

fn texts(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
