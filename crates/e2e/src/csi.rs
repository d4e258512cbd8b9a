//! CSI volumes with the real Secrets Store CSI driver and the provider's chart.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{SCRIPT, template},
    failure::has_started,
    image::ImageName,
    kubectl::wait_for,
    running::AppPod,
    world::World,
};
use crate::process;

pub(super) mod dynamic;
pub(super) mod failures;
pub(super) mod load;
pub(super) mod outage;
pub(super) mod page;
pub(super) mod socket;

/// The namespace of driver and provider.
pub(super) const NAMESPACE: &str = "--namespace=kube-system";
/// Selects the provider's pods.
pub(super) const PROVIDER_SELECTOR: &str =
    "--selector=app.kubernetes.io/name=secrets-store-csi-driver-scaivault";
const SYSTEM: &str = "kube-system";
const DRIVER_RELEASE: &str = "csi-secrets-store";
pub(super) const DRIVER: &str = "secrets-store.csi.k8s.io";
const PROVIDER_RELEASE: &str = "scaivault-csi";
const PROVIDER_CHART: &str = "charts/secrets-store-csi-driver-scaivault";
/// The CRDs of the driver's chart, which helm does not remove.
const DEFINITIONS: [&str; 2] = [
    "customresourcedefinition/secretproviderclasses.secrets-store.csi.x-k8s.io",
    "customresourcedefinition/secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
];
/// The `DaemonSet`s of driver and provider.
const PROVIDER_DAEMONSET: &str = "scaivault-csi-secrets-store-csi-driver-scaivault";
const DRIVER_DAEMONSET: &str = "csi-secrets-store-secrets-store-csi-driver";
/// The provider retries a request for 20 s; afterwards the kubelet creates an event.
const EVENT: Duration = Duration::from_mins(2);
const REGISTERED: Duration = Duration::from_mins(2);

/// Driver and provider of CSI volumes.
#[derive(clap::Args)]
pub(crate) struct CsiArgs {
    /// The CSI provider's image
    #[arg(long = "csi-image", id = "csi-image", value_name = "REPOSITORY:TAG", default_value = concat!("scailabs/scaivault-csi-provider:", env!("CARGO_PKG_VERSION")))]
    pub(super) image: ImageName,
    /// The chart of the Secrets Store CSI driver, for helm [default: that of the release of tests/assets/csi-driver]
    #[arg(long = "csi-driver-chart", value_name = "CHART")]
    driver_chart: Option<PathBuf>,
    /// A value of the driver's chart, as for `helm --set`; may be repeated
    #[arg(long = "csi-driver-set", value_name = "KEY=VALUE")]
    driver_set: Vec<String>,
    /// A shell command that restarts the kubelet of each node, for the step that plays a reboot
    #[arg(long = "csi-restart-kubelet", value_name = "COMMAND")]
    restart_kubelet: Option<String>,
    /// A value of the provider's chart; may be repeated
    #[arg(long = "csi-set", id = "csi-set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Fails if an existing installation would be overwritten.
pub(super) fn claim(world: &World<'_>) -> Result<()> {
    for object in [&["csidriver", DRIVER][..], &DEFINITIONS[..1]] {
        if world.kubectl.exists(object)? {
            bail!(
                "the Secrets Store CSI driver is installed already ({}), and this run would replace it: use another cluster",
                object.join(" ")
            );
        }
    }
    Ok(())
}

/// Installs the driver with its own chart, as docs/csi.md describes, and the provider with this
/// project's chart.
pub(super) fn install(world: &World<'_>) -> Result<String> {
    let CsiArgs { image, driver_chart, driver_set, set, .. } = &world.args.csi;
    let chart = match driver_chart {
        Some(chart) => chart.clone(),
        None => driver_chart_of_module()?,
    };
    let chart = chart.to_str().context("the chart's path is not UTF-8")?;
    let values = [
        "tokenRequests[0].audience=scaivault",
        "enableSecretRotation=true",
        "rotationPollInterval=1ms",
        "syncSecret.enabled=true",
        // The CRDs are part of the chart; its Jobs are only for upgrades.
        "linux.crds.enabled=false",
    ];
    let args = set_args(values.into_iter().map(str::to_owned).chain(driver_set.iter().cloned()));
    world.helm.install(DRIVER_RELEASE, chart, SYSTEM, &args)?;
    wait_for("the kubelets know the driver", REGISTERED, || {
        let nodes = world.kubectl.items(&["csinodes"])?;
        let has_driver = |node: &Value| {
            let drivers = node.pointer("/spec/drivers").and_then(Value::as_array);
            drivers.into_iter().flatten().any(|driver| driver["name"] == DRIVER)
        };
        Ok(nodes.iter().all(has_driver).then_some(()))
    })?;
    let values = [
        format!("image.repository={}", image.repository),
        format!("scaivault.url={}", world.vault.url()),
        "scaivault.refreshInterval=10s".to_owned(),
        // An address where nothing answers.
        format!("scaivault.allowedUrls[0].url={}", failures::DEAD_URL),
    ];
    let mut args = set_args(values.into_iter().chain(set.iter().cloned()));
    args.extend(["--set-string".to_owned(), format!("image.tag={}", image.tag)]);
    args.extend(["--set-file".to_owned(), format!("scaivault.caBundle={}", world.vault.ca_file().display())]);
    world.helm.install(PROVIDER_RELEASE, PROVIDER_CHART, SYSTEM, &args)?;
    Ok("driver and provider are ready".to_owned())
}

/// The driver's own chart, in the release that `tests/assets/csi-driver` pins. Go downloads it.
fn driver_chart_of_module() -> Result<PathBuf> {
    const MODULE: &str = "sigs.k8s.io/secrets-store-csi-driver";
    let go = |args: &[&str]| {
        let directory = process::root().join("tests/assets/csi-driver");
        process::output(Command::new("go").args(args).arg(MODULE).current_dir(directory).env("GOWORK", "off"))
    };
    go(&["mod", "download"])?;
    let directory = go(&["list", "-m", "-f", "{{.Dir}}"])?;
    Ok(Path::new(directory.trim()).join("charts/secrets-store-csi-driver"))
}

/// Uninstalls driver and provider.
pub(super) fn clean_up(world: &World<'_>) -> Result<()> {
    let provider = world.helm.uninstall(PROVIDER_RELEASE, SYSTEM);
    let driver = world.helm.uninstall(DRIVER_RELEASE, SYSTEM);
    let delete = ["delete", "--ignore-not-found", "--timeout=1m"];
    let definitions = world.kubectl.run(&[&delete[..], &DEFINITIONS].concat());
    provider.and(driver).and(definitions)
}

fn set_args(values: impl Iterator<Item = String>) -> Vec<String> {
    values.flat_map(|value| ["--set".to_owned(), value]).collect()
}

/// A class with these objects, a list in YAML or JSON.
pub(super) fn class(world: &World<'_>, name: &str, objects: &str) -> Value {
    json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name},
        "spec": {
            "provider": "scaivault",
            "parameters": {"base_url": world.vault.url(), "audience": "scaivault", "objects": objects},
        },
    })
}

/// A pod whose application prints its files.
fn pod(world: &World<'_>, name: &str, class: &str) -> Value {
    let mut pod = super::app::pod(name, &template(world, &json!({}), SCRIPT));
    pod["spec"]["terminationGracePeriodSeconds"] = json!(5);
    add_volume(&mut pod, class);
    pod
}

/// Mounts a class at `/run/secrets`. Without the API server's token, because its mount point cannot
/// be created in a read-only volume.
pub(super) fn add_volume(pod: &mut Value, class: &str) {
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "secrets", "mountPath": "/run/secrets", "readOnly": true}]);
    pod["spec"]["volumes"] = json!([{"name": "secrets", "csi": {
        "driver": DRIVER,
        "readOnly": true,
        "volumeAttributes": {"secretProviderClass": class},
    }}]);
}

/// The event messages about failed mounts of a pod's volume.
fn mount_errors(world: &World<'_>, pod: &str) -> Result<String> {
    let selector = format!("--field-selector=reason=FailedMount,involvedObject.name={pod}");
    let events = world.kubectl.items(&["events", "--namespace", World::CSI, &selector])?;
    let messages = events.iter().filter_map(|event| event["message"].as_str());
    Ok(messages.collect::<Vec<_>>().join("\n"))
}

/// Waits until an event of the pod contains all of these texts. Its application must not have
/// started.
fn wait_for_error(world: &World<'_>, pod: &str, texts: &[&str]) -> Result<()> {
    let mut errors = String::new();
    let seen = wait_for("an event says why", EVENT, || {
        if has_started(&running(pod).object(world)?) {
            bail!("the application of {pod} has started without its files");
        }
        errors = mount_errors(world, pod)?;
        Ok(texts.iter().all(|text| errors.contains(text)).then_some(()))
    });
    seen.with_context(|| format!("the events of {pod} do not say {texts:?}: {errors}"))
}

/// Waits until the pod runs; its application must have had its files from the start.
fn wait_for_files(world: &World<'_>, pod: &str, file: &str) -> Result<()> {
    let pod = running(pod);
    pod.wait_until_ready(world)?;
    if !pod.log(world)?.contains(&format!("start {file}: ")) {
        bail!("the application of {} started without its files", pod.name);
    }
    Ok(())
}

/// The provider's pods, one for each node.
fn provider_pods(world: &World<'_>) -> Result<Vec<Value>> {
    world.kubectl.items(&["pods", NAMESPACE, PROVIDER_SELECTOR])
}

/// Waits until a `DaemonSet` has rolled out.
fn wait_for_daemonset(world: &World<'_>, name: &str) -> Result<()> {
    let name = format!("daemonset/{name}");
    world.kubectl.text(&["rollout", "status", &name, NAMESPACE, "--timeout=3m"]).map(drop)
}

fn running(name: &str) -> AppPod {
    AppPod { namespace: World::CSI, name: name.to_owned() }
}
