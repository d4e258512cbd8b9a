//! Containers that other products add to pods. `containers: "*"` and `init-containers: "*"` exclude
//! them.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use crate::pod::ContainerView;

/// The purpose of a known sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SidecarKind {
    /// A container that the configuration lists.
    Configured,
    DatabaseProxy,
    Identity,
    Runtime,
    SecretAgent,
    Storage,
    Telemetry,
    /// Listed last: a mesh proxy carries the pod's traffic, and is never the application of a pod
    /// that has another candidate.
    Mesh,
}

impl SidecarKind {
    /// The kind in the documentation.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::DatabaseProxy => "database proxy",
            Self::Identity => "identity and access",
            Self::Runtime => "application runtime",
            Self::SecretAgent => "secret agent",
            Self::Storage => "storage",
            Self::Telemetry => "telemetry",
            Self::Mesh => "service mesh",
        }
    }
}

/// A product and how its containers are recognised.
pub(crate) struct Product {
    pub(crate) name: &'static str,
    pub(crate) kind: SidecarKind,
    /// Whether the product is also deployed as an application of its own with the same names and
    /// images; then its container may be the pod's application.
    pub(crate) is_standalone: bool,
    /// Container names; a trailing `*` matches any suffix.
    pub(crate) containers: &'static [&'static str],
    /// Suffixes of image repositories, without tag and digest.
    pub(crate) images: &'static [&'static str],
}

const fn product(
    kind: SidecarKind,
    name: &'static str,
    containers: &'static [&'static str],
    images: &'static [&'static str],
) -> Product {
    Product { name, kind, is_standalone: false, containers, images }
}

const fn standalone(
    kind: SidecarKind,
    name: &'static str,
    containers: &'static [&'static str],
    images: &'static [&'static str],
) -> Product {
    Product { is_standalone: true, ..product(kind, name, containers, images) }
}

use SidecarKind::{DatabaseProxy, Identity, Mesh, Runtime, SecretAgent, Storage, Telemetry};

/// Sorted by kind, then by name.
pub(crate) static PRODUCTS: &[Product] = &[
    product(Mesh, "AWS App Mesh", &["proxyinit"], &["aws-appmesh-envoy", "aws-appmesh-proxy-route-manager"]),
    product(
        Mesh,
        "Consul",
        &[
            "consul-connect-envoy-sidecar",
            "consul-connect-inject-init*",
            "consul-connect-lifecycle-sidecar",
            "consul-dataplane*",
        ],
        &["consul-dataplane"],
    ),
    product(
        Mesh,
        "Istio",
        &["enable-core-dump", "istio-init", "istio-proxy", "istio-validation"],
        &["proxyv2"],
    ),
    product(Mesh, "Kuma, Kong Mesh", &["kuma-init", "kuma-sidecar", "kuma-validation"], &["kuma-dp"]),
    product(
        Mesh,
        "Linkerd",
        &["linkerd-debug", "linkerd-init", "linkerd-network-validator", "linkerd-proxy"],
        &["linkerd/proxy", "linkerd/proxy-init"],
    ),
    product(Mesh, "NGINX Service Mesh", &["nginx-mesh-init", "nginx-mesh-sidecar"], &["nginx-mesh-sidecar"]),
    product(Mesh, "Open Service Mesh", &["osm-healthcheck", "osm-init"], &["osm-healthcheck"]),
    standalone(Mesh, "other meshes with Envoy", &["envoy", "envoy-sidecar"], &[]),
    product(DatabaseProxy, "Google AlloyDB Auth Proxy", &["alloydb-auth-proxy"], &["alloydb-auth-proxy"]),
    product(
        DatabaseProxy,
        "Google Cloud SQL Auth Proxy",
        &["cloud-sql-proxy", "cloudsql-proxy", "csql-*"],
        &["cloud-sql-proxy", "cloudsql-docker/gce-proxy"],
    ),
    standalone(Telemetry, "Amazon CloudWatch agent", &["cloudwatch-agent"], &["cloudwatch-agent"]),
    product(Telemetry, "AppDynamics", &["appd-agent-attach*", "appd-analytics-agent"], &[]),
    standalone(Telemetry, "AWS Distro for OpenTelemetry", &["aws-otel-collector"], &["aws-otel-collector"]),
    standalone(Telemetry, "AWS X-Ray", &["xray-daemon"], &["aws-xray-daemon"]),
    product(
        Telemetry,
        "Datadog admission controller",
        &["datadog-agent-injected", "datadog-init-apm-inject", "datadog-lib-*"],
        &[],
    ),
    standalone(Telemetry, "Datadog agent", &["datadog-agent"], &["datadog/agent", "datadoghq/agent"]),
    product(Telemetry, "Dynatrace", &["dynatrace-operator", "install-oneagent"], &[]),
    standalone(
        Telemetry,
        "Elastic",
        &["elastic-agent", "filebeat", "metricbeat"],
        &["elastic-agent", "filebeat", "metricbeat"],
    ),
    standalone(
        Telemetry,
        "Fluent Bit, Fluentd",
        &["fluent-bit", "fluentbit", "fluentd"],
        &["aws-for-fluent-bit", "fluent-bit", "fluent/fluentd"],
    ),
    standalone(
        Telemetry,
        "Grafana",
        &["grafana-agent", "promtail"],
        &["grafana/agent", "grafana/alloy", "grafana/promtail"],
    ),
    product(Telemetry, "Instana", &["instana-instrumentation-init"], &[]),
    product(Telemetry, "Jaeger", &["jaeger-agent"], &["jaeger-agent"]),
    product(Telemetry, "New Relic", &["newrelic-infrastructure-sidecar", "newrelic-instrumentation*"], &[]),
    standalone(
        Telemetry,
        "OpenTelemetry Collector",
        &[],
        &["opentelemetry-collector", "opentelemetry-collector-contrib", "opentelemetry-collector-k8s"],
    ),
    product(
        Telemetry,
        "OpenTelemetry operator",
        &["opentelemetry-auto-instrumentation*", "otc-container"],
        &[],
    ),
    standalone(
        Telemetry,
        "Splunk",
        &["splunk-otel-collector"],
        &["splunk-otel-collector", "splunk/universalforwarder"],
    ),
    standalone(Telemetry, "Telegraf", &["telegraf"], &[]),
    product(Telemetry, "Telegraf operator", &["telegraf-istio"], &[]),
    standalone(Telemetry, "Vector", &[], &["timberio/vector"]),
    product(SecretAgent, "1Password injector", &["copy-op-bin"], &[]),
    product(SecretAgent, "Akeyless", &["akeyless-init", "akeyless-sidecar"], &[]),
    product(
        SecretAgent,
        "Azure Key Vault to Kubernetes",
        &["copy-azurekeyvault-env"],
        &["azure-keyvault-env"],
    ),
    product(SecretAgent, "Bank-Vaults", &["copy-vault-env"], &["vault-env"]),
    product(
        SecretAgent,
        "CyberArk Conjur",
        &["cyberark-secrets-provider-for-k8s"],
        &["conjur-authn-k8s-client", "secretless-broker", "secrets-provider-for-k8s"],
    ),
    product(SecretAgent, "HashiCorp Vault agent injector", &["vault-agent", "vault-agent-init"], &[]),
    product(SecretAgent, "Infisical agent injector", &["infisical-agent*"], &[]),
    product(SecretAgent, "SPIFFE helper", &["spiffe-helper"], &["spiffe-helper"]),
    product(Runtime, "Argo Workflows", &[], &["argoexec"]),
    product(Runtime, "Dapr", &["daprd"], &["daprio/daprd"]),
    product(Runtime, "Knative", &["queue-proxy"], &["serving/cmd/queue"]),
    product(Runtime, "KServe", &["storage-initializer"], &["kserve/storage-initializer"]),
    product(Runtime, "Telepresence", &["tel-agent-init", "traffic-agent"], &["tel2"]),
    product(
        Identity,
        "Azure workload identity",
        &["azwi-proxy", "azwi-proxy-init"],
        &["workload-identity/proxy", "workload-identity/proxy-init"],
    ),
    standalone(Identity, "cloudflared", &["cloudflared"], &["cloudflare/cloudflared"]),
    standalone(Identity, "Tailscale", &["tailscale"], &["tailscale/tailscale"]),
    product(
        Storage,
        "Google Cloud Storage FUSE",
        &["gke-gcsfuse-metadata-prefetch", "gke-gcsfuse-sidecar"],
        &["gcs-fuse-csi-driver-sidecar-mounter"],
    ),
    product(Storage, "Kanister", &["kanister-sidecar"], &[]),
];

/// A recognised sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    pub(crate) kind: SidecarKind,
    /// Whether the product is also deployed as an application of its own.
    pub(crate) is_standalone: bool,
    by_image: bool,
}

impl Sidecar {
    /// Whether a user may have meant this container by `*`: its name was chosen neither by the
    /// controller of another product nor by the operator.
    pub(crate) fn may_be_meant(self) -> bool {
        let is_known = matches!(self.kind, SidecarKind::Configured | Mesh | Runtime);
        !is_known && (self.is_standalone || self.by_image)
    }
}

/// Containers that the operator configures as sidecars, in addition to the known ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SidecarsConfig {
    /// Container names; a trailing `*` matches any suffix.
    pub containers: Vec<String>,
    /// Suffixes of image repositories, without registry, tag and digest.
    pub images: Vec<String>,
}

impl SidecarsConfig {
    /// The entries that match nothing or everything, each with the error.
    pub(crate) fn mistakes(&self) -> impl Iterator<Item = (&'static str, &str, &'static str)> {
        let is_name = |name: &str| {
            let plain = name.strip_suffix('*').unwrap_or(name);
            !plain.is_empty()
                && plain.len() <= 63
                && plain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let is_image = |image: &str| {
            crate::annotations::image(image).is_ok() && repository(image) == image && !image.starts_with('/')
        };
        let containers = self.containers.iter().filter(move |name| !is_name(name));
        let images = self.images.iter().filter(move |image| !is_image(image));
        containers
            .map(|name| {
                ("sidecars.containers", name.as_str(), "not the name of a container, or its beginning and *")
            })
            .chain(images.map(|image| {
                ("sidecars.images", image.as_str(), "not the end of a repository, such as team/log-shipper")
            }))
    }

    fn has(&self, container: &ContainerView<'_>) -> bool {
        let name = &*container.name;
        let is_named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        };
        self.containers.iter().any(is_named)
            || container.image.as_deref().is_some_and(|image| {
                self.images.iter().any(|end| ends_with_repository(repository(image), end))
            })
    }

    /// Identifies a container of another product. The configuration takes precedence over the
    /// table.
    pub(crate) fn recognise(&self, container: &ContainerView<'_>) -> Option<Sidecar> {
        let configured = Sidecar { kind: SidecarKind::Configured, is_standalone: false, by_image: false };
        match INDEX.find(container) {
            Some(known) if !known.may_be_meant() => Some(known),
            known => self.has(container).then_some(configured).or(known),
        }
    }

    /// The kind of sidecar, if the container is one.
    pub(crate) fn kind_of(&self, container: &ContainerView<'_>) -> Option<SidecarKind> {
        self.recognise(container).map(|sidecar| sidecar.kind)
    }
}

/// The table by name and by the last segment of the repository, because it is looked up for every
/// container of every pod.
static INDEX: LazyLock<Index> = LazyLock::new(Index::new);

struct Index {
    names: BTreeMap<&'static str, Sidecar>,
    beginnings: Vec<(&'static str, Sidecar)>,
    images: BTreeMap<&'static str, Vec<(&'static str, Sidecar)>>,
}

impl Index {
    fn new() -> Self {
        let mut index = Self { names: BTreeMap::new(), beginnings: Vec::new(), images: BTreeMap::new() };
        for Product { kind, is_standalone, containers, images, .. } in PRODUCTS {
            let sidecar = Sidecar { kind: *kind, is_standalone: *is_standalone, by_image: false };
            for name in *containers {
                match name.strip_suffix('*') {
                    Some(beginning) => index.beginnings.push((beginning, sidecar)),
                    None => {
                        index.names.insert(name, sidecar);
                    }
                }
            }
            for image in *images {
                let sidecar = Sidecar { by_image: true, ..sidecar };
                index.images.entry(last_segment(image)).or_default().push((image, sidecar));
            }
        }
        index
    }

    fn find(&self, container: &ContainerView<'_>) -> Option<Sidecar> {
        let name = &*container.name;
        let by_name = || self.names.get(name).copied();
        let by_beginning = || {
            let found = self.beginnings.iter().find(|(beginning, _)| name.starts_with(beginning));
            found.map(|(_, sidecar)| *sidecar)
        };
        let by_image = || {
            let repository = repository(container.image.as_deref()?);
            let candidates = self.images.get(last_segment(repository))?;
            let found = candidates.iter().find(|(end, _)| ends_with_repository(repository, end));
            found.map(|(_, sidecar)| *sidecar)
        };
        by_name().or_else(by_beginning).or_else(by_image)
    }
}

/// An image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(before, _)| before);
    match image.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => image,
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

fn ends_with_repository(repository: &str, end: &str) -> bool {
    repository.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, image: &str) -> Option<SidecarKind> {
        let json = serde_json::json!({"name": name, "image": image}).to_string();
        let container: ContainerView<'_> = serde_json::from_str(&json).unwrap();
        let configured = SidecarsConfig {
            containers: vec!["team-proxy".to_owned(), "audit-*".to_owned()],
            images: vec!["team/log-shipper".to_owned()],
        };
        assert_eq!(configured.mistakes().count(), 0);
        configured.kind_of(&container)
    }

    #[test]
    fn sidecars_are_known_by_name_or_image() {
        for (name, image, expected) in [
            ("istio-proxy", "x", Some(Mesh)),
            ("any", "mirror.example/hub/istio/proxyv2:1.24@sha256:00", Some(Mesh)),
            ("consul-dataplane-web", "x", Some(Mesh)),
            ("csql-billing-db", "x", Some(DatabaseProxy)),
            ("any", "localhost:5000/cloud-sql-connectors/cloud-sql-proxy", Some(DatabaseProxy)),
            ("datadog-lib-java-init", "x", Some(Telemetry)),
            ("agent", "gcr.io/datadoghq/agent:7", Some(Telemetry)),
            ("vault-agent", "x", Some(SecretAgent)),
            ("queue-proxy", "x", Some(Runtime)),
            ("azwi-proxy", "x", Some(Identity)),
            ("team-proxy", "x", Some(SidecarKind::Configured)),
            ("audit-1", "x", Some(SidecarKind::Configured)),
            ("any", "registry.example/team/log-shipper:2", Some(SidecarKind::Configured)),
            ("app", "registry.example/app:1", None),
            ("agent", "registry.example/agent:1", None),
            ("my-istio-proxy", "registry.example/myproxyv2", None),
            ("team-proxy2", "registry.example/steam/log-shipper", None),
            ("", "", None),
        ] {
            assert_eq!(kind(name, image), expected, "{name} {image}");
        }
    }

    #[test]
    fn configured_sidecars_cannot_match_everything() {
        let config = SidecarsConfig {
            containers: ["*", "", "a b", "ok", "ok-*"].map(str::to_owned).into(),
            images: ["", "a:1", "/a", "team/ok"].map(str::to_owned).into(),
        };
        let mistakes: Vec<_> = config.mistakes().map(|(_, value, _)| value).collect();
        assert_eq!(mistakes, ["*", "", "a b", "", "a:1", "/a"]);
    }

    #[test]
    fn names_and_images_are_unique() {
        let all = PRODUCTS.iter().flat_map(|product| product.containers.iter().chain(product.images));
        let mut seen: Vec<(&str, bool)> = Vec::new();
        for product in PRODUCTS {
            assert!(product.containers.is_sorted() && product.images.is_sorted(), "{}", product.name);
            seen.extend(product.containers.iter().map(|name| (*name, true)));
            seen.extend(product.images.iter().map(|image| (*image, false)));
        }
        seen.sort_unstable();
        let count = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert!(all.into_iter().all(|text| !text.is_empty() && *text != "*"));
        let order: Vec<_> = PRODUCTS.iter().map(|product| product.kind.name()).collect();
        let mut kinds = order.clone();
        kinds.dedup();
        let distinct: std::collections::BTreeSet<_> = order.iter().collect();
        assert_eq!(kinds.len(), distinct.len(), "products of a kind are adjacent");
    }
}
