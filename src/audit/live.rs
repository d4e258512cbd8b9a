//! The audit of a cluster, which only lists objects, page by page.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kube::{
    Client,
    api::{GetParams, ListParams},
    core::Request,
};
use scaivault_audit::{Audit, AuditError, Source};
use scaivault_cluster::{Content, ListEnd, Page, is_forbidden, page_of_items, reason};
use scaivault_inject::KubeVersion;
use scaivault_usage::SERVICE_ACCOUNT_TOKEN;
use serde_json::Value;
use tokio::time::timeout;

use self::lists::{Kind, List, discovered, standard};
use super::{args::AuditArgs, collect::Collector, owners::ObjectKey};
use crate::{
    cluster::{self, SelectedCluster},
    config,
    object::Object,
    offline_cluster::OfflineCluster,
    policy::PolicyFiles,
    runtime,
};

mod lists;

/// The page size of lists, the same as client-go's default.
const PAGE_SIZE: u32 = 500;

/// The timeout of one page.
const ANSWER: Duration = Duration::from_mins(2);

/// How often a list is restarted because its pages took longer than the API server keeps a resource
/// version.
const RESTARTS: usize = 3;

/// Audits the cluster that the arguments name.
pub(super) fn audit(args: &AuditArgs) -> anyhow::Result<Audit> {
    let settings = config::read(args.config.config.as_deref())?;
    let policies = PolicyFiles::read(&args.policies)?;
    runtime::run(async {
        let SelectedCluster { client, server, context } = cluster::named(
            args.kubeconfig.as_deref(),
            args.context.as_deref(),
            ", or audit manifests with -f",
        )
        .await?;
        let mut notes = Vec::new();
        let kube_version = kube_version(&client, args.kube_version, &server, &mut notes).await?;
        let mut cluster = OfflineCluster::new(settings, kube_version);
        cluster.policies = policies;
        cluster.now = args.date.now();
        let mut collector = Collector::new(cluster);
        collector.notes = notes;
        let namespace = args.namespace.clone();
        let source = Source::Cluster {
            context,
            server,
            kube_version: kube_version.to_string(),
            namespace: namespace.clone(),
        };
        let mut reader = Reader { client, namespace, collector, progress: Progress::new() };
        reader.read(args.secret_metadata).await?;
        reader.progress.finish();
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Ok(reader.collector.finish(source, time))
    })
}

/// The version to decide for: as given, else the older of API server and kubelets, else that of the
/// API server.
async fn kube_version(
    client: &Client,
    given: Option<KubeVersion>,
    server: &str,
    notes: &mut Vec<String>,
) -> anyhow::Result<KubeVersion> {
    let asked = timeout(ANSWER, client.apiserver_version()).await.context("no response within 120 s");
    let info = asked.and_then(|answer| answer.map_err(|error| anyhow::anyhow!(reason(&error))));
    let info = info.with_context(|| format!("cannot query the API server {server}"))?;
    if let Some(given) = given {
        return Ok(given);
    }
    match cluster::oldest_version(client).await {
        Ok(version) => Ok(version),
        Err(error) => {
            let version = info.git_version.parse().unwrap_or_default();
            notes.push(format!(
                "decided for Kubernetes {version}, the API server's version, because the kubelets' versions are not known ({error}); \
                 set --kube-version if a kubelet is older"
            ));
            Ok(version)
        }
    }
}

/// Reads the cluster into a collector.
struct Reader {
    client: Client,
    /// If set, only this namespace is read.
    namespace: Option<String>,
    collector: Collector,
    progress: Progress,
}

impl Reader {
    /// Lists everything. A list that fails is recorded as an error of the report.
    async fn read(&mut self, secret_metadata: bool) -> anyhow::Result<()> {
        self.read_namespaces().await?;
        self.read_noted(&standard("v1", "ServiceAccount", "serviceaccounts"), Content::Whole).await;
        let kinds = match self.answer(self.client.clone().list_api_groups()).await {
            Ok(groups) => discovered(&groups.groups),
            Err(message) => {
                self.fail("the API groups", message, None);
                BTreeMap::new()
            }
        };
        let mut found = Vec::new();
        for (version, kinds) in kinds {
            found.extend(self.resources(&version, &kinds).await);
        }
        for list in found.iter().filter(|list| matches!(list.kind, Kind::Policy | Kind::SecretSource)) {
            self.read_noted(list, Content::Whole).await;
        }
        self.collector.settle_policies();
        if secret_metadata {
            self.read_tokens().await;
        }
        self.read_replica_sets().await;
        let standard = lists::WORKLOADS.iter().map(|(version, kind, plural)| standard(version, kind, plural));
        let custom = found.iter().filter(|list| list.kind == Kind::Workload).cloned();
        for list in standard.chain(custom) {
            self.read_workloads(&list).await;
        }
        self.read_pods().await;
        Ok(())
    }

    async fn read_namespaces(&mut self) -> anyhow::Result<()> {
        let list = standard("v1", "Namespace", "namespaces").cluster_scoped();
        let Some(name) = self.namespace.clone() else {
            self.read_noted(&list, Content::Metadata).await;
            return Ok(());
        };
        let request = Request::new("/api/v1/namespaces").get_metadata(&name, &GetParams::default());
        let request = request.context("the namespace's address")?;
        match timeout(ANSWER, self.client.request::<Value>(request)).await {
            Ok(Ok(value)) => self.collector.note(&list.object(&value), None),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                bail!("--namespace {name}: there is no such namespace");
            }
            Ok(Err(error)) => self.fail_list(&list, &error),
            Err(_) => self.fail("namespaces", "no response within 120 s".to_owned(), None),
        }
        Ok(())
    }

    /// Reads objects that workloads depend on.
    async fn read_noted(&mut self, list: &List, content: Content) {
        let params = ListParams::default();
        self.list(list, content, params, |collector, _, value| collector.note(&list.object(value), None))
            .await;
    }

    /// Reads the metadata of Secrets with long-lived tokens. Values are never requested.
    async fn read_tokens(&mut self) {
        let list = standard("v1", "Secret", "secrets");
        let params = ListParams::default().fields(&format!("type={SERVICE_ACCOUNT_TOKEN}"));
        self.list(&list, Content::Metadata, params, |collector, _, value| {
            collector.note(&list.object(value), None);
        })
        .await;
    }

    /// Reads only the owners of `ReplicaSet`s, because a cluster has many old ones. Those without
    /// an owner are then read one by one.
    async fn read_replica_sets(&mut self) {
        let list = standard("apps/v1", "ReplicaSet", "replicasets");
        let mut alone = Vec::new();
        self.list(&list, Content::Metadata, ListParams::default(), |collector, _, value| {
            let key = list.key(value);
            if !collector.is_owned(value, key.clone()) {
                alone.push(key);
            }
        })
        .await;
        for ObjectKey { namespace, name, .. } in alone {
            let path = list.path(Some(&namespace));
            let Ok(request) = Request::new(path).get(&name, &GetParams::default()) else { continue };
            match timeout(ANSWER, self.client.request::<Value>(request)).await {
                Ok(Ok(value)) => {
                    self.collector.live_workload(&list.standalone(value.clone()), list.key(&value));
                }
                // It was deleted meanwhile.
                Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {}
                Ok(Err(error)) => return self.fail_list(&list, &error),
                Err(_) => return self.fail(&list.resource(), "no response within 120 s".to_owned(), None),
            }
        }
    }

    async fn read_workloads(&mut self, list: &List) {
        self.list(list, Content::Whole, ListParams::default(), |collector, _, value| {
            let key = list.key(value);
            collector.live_workload(&list.standalone(std::mem::take(value)), key);
        })
        .await;
    }

    async fn read_pods(&mut self) {
        let list = standard("v1", "Pod", "pods");
        self.list(&list, Content::Whole, ListParams::default(), |collector, text, value| {
            collector.live_pod(text, value);
        })
        .await;
    }

    /// The lists of these kinds that exist in a group version.
    async fn resources(&mut self, version: &str, kinds: &[(&'static str, Kind)]) -> Vec<List> {
        let client = self.client.clone();
        match self.answer(client.list_api_group_resources(version)).await {
            Ok(resources) => lists::of_resources(version, &resources.resources, kinds),
            Err(message) => {
                self.fail(version, message, None);
                Vec::new()
            }
        }
    }

    async fn answer<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        match timeout(ANSWER, asked).await {
            Ok(answer) => answer.map_err(|error| reason(&error)),
            Err(_) => Err("no response within 120 s".to_owned()),
        }
    }

    /// Lists all objects of a kind and passes each once, as text and as value.
    async fn list(
        &mut self,
        list: &List,
        content: Content,
        params: ListParams,
        mut each: impl FnMut(&mut Collector, &str, &mut Value),
    ) {
        let path = list.path(self.namespace.as_deref());
        let mut params = params.limit(PAGE_SIZE);
        let (mut seen, mut restarts) = (HashSet::new(), 0);
        self.progress.begin(&list.resource());
        loop {
            let collector = &mut self.collector;
            let page = page_of_items(&self.client, &path, content, &params, |item| {
                let mut value: Value = serde_json::from_slice(item)?;
                if seen.insert(list.key(&value)) {
                    // JSON that was parsed is valid UTF-8.
                    each(collector, std::str::from_utf8(item).unwrap_or_default(), &mut value);
                }
                Ok(())
            });
            let Ok(ended) = timeout(ANSWER, page).await else {
                return self.fail(&list.resource(), "no response within 120 s".to_owned(), None);
            };
            match ended {
                Ok(ListEnd { page, remaining }) => {
                    self.progress.page(seen.len(), remaining);
                    match page {
                        Page::Continues(token) => params.continue_token = Some(token),
                        Page::Last { .. } => return,
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 410 && restarts < RESTARTS => {
                    restarts += 1;
                    params.continue_token = None;
                }
                // The kind was removed meanwhile.
                Err(kube::Error::Api(status)) if status.is_not_found() && list.kind != Kind::Standard => {
                    return;
                }
                Err(error) => return self.fail_list(list, &error),
            }
        }
    }

    fn fail_list(&mut self, list: &List, error: &kube::Error) {
        let resource = list.resource();
        let fix = is_forbidden(error).then(|| {
            format!(
                "let the user list {resource}; examples/audit-rbac.yaml has all rights that an audit needs"
            )
        });
        self.fail(&resource, reason(error), fix);
    }

    fn fail(&mut self, what: &str, message: String, fix: Option<String>) {
        self.collector.errors.push(AuditError { what: what.to_owned(), message, fix });
    }
}

impl List {
    /// An item of the list; items have neither `apiVersion` nor `kind`.
    fn object<'a>(&'a self, value: &'a Value) -> Object<'a> {
        Object { pointer: String::new(), api_version: &self.api_version, kind: &self.kind_name, value }
    }
}

/// The minimum number of objects of one kind for which a progress bar is shown.
const WORTH_A_BAR: u64 = 1_000;

/// A progress bar on standard error, shown if that is a terminal and a list is long.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}")
            .expect("the template is well-formed");
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style) }
    }

    /// Starts the bar of a list.
    fn begin(&self, resource: &str) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.bar.reset();
        self.bar.set_message(resource.to_owned());
    }

    /// Reports a page.
    fn page(&self, read: usize, remaining: Option<i64>) {
        let read = read as u64;
        let total = read + remaining.and_then(|remaining| u64::try_from(remaining).ok()).unwrap_or_default();
        if total >= WORTH_A_BAR && self.bar.is_hidden() {
            // Draws nothing if standard error is not a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(total);
        self.bar.set_position(read);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
