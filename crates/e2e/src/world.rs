//! The cluster of KUBECONFIG, the objects that the test installs there, and the clean-up.

use anyhow::{Context, Result, bail};

use super::{Args, CSI, app, csi, kubectl::Kubectl, release::Helm, vault::Vault};

/// The context of every step.
pub(super) struct World<'a> {
    pub(super) args: &'a Args,
    pub(super) kubectl: Kubectl,
    pub(super) helm: Helm,
    /// The `ScaiVault` of the injected pods.
    pub(super) vault: Vault,
}

impl<'a> World<'a> {
    /// The release, and the name of its objects.
    pub(super) const RELEASE: &'static str = "scaivault-injector";
    /// The namespace of the release.
    pub(super) const SYSTEM: &'static str = "scaivault-system";
    /// The namespace of annotated workloads.
    pub(super) const WORKLOADS: &'static str = "scaivault-e2e";
    /// The namespace of injected pods that run. It enforces the Pod Security Standard `restricted`.
    pub(super) const APPS: &'static str = "scaivault-e2e-apps";
    /// The namespace of pods without annotations that a policy selects. It also enforces the Pod
    /// Security Standard `restricted`.
    pub(super) const POLICIES: &'static str = "scaivault-e2e-policies";
    /// The namespace of pods that are created while a replica is deleted.
    pub(super) const LOSS_LOAD: &'static str = "scaivault-e2e-loss";
    /// The namespace of pods that are created during an upgrade.
    pub(super) const UPGRADE_LOAD: &'static str = "scaivault-e2e-upgrade";
    /// The namespace of pods with CSI volumes.
    pub(super) const CSI: &'static str = "scaivault-e2e-csi";
    /// The namespace of workloads that the restart controller restarts. It also enforces the Pod
    /// Security Standard `restricted`.
    pub(super) const RESTARTS: &'static str = "scaivault-e2e-restart";
    /// Everything that the test creates is in these namespaces or belongs to a release.
    pub(super) const NAMESPACES: [&'static str; 8] = [
        Self::SYSTEM,
        Self::WORKLOADS,
        Self::APPS,
        Self::POLICIES,
        Self::LOSS_LOAD,
        Self::UPGRADE_LOAD,
        Self::CSI,
        Self::RESTARTS,
    ];
    /// The CRDs of the release. They remain when it is uninstalled, with all of their objects.
    pub(super) const DEFINITIONS: [&'static str; 2] = [
        "customresourcedefinition.apiextensions.k8s.io/injectionpolicies.scaivault.scailabs.ai",
        "customresourcedefinition.apiextensions.k8s.io/rotationrollouts.scaivault.scailabs.ai",
    ];

    pub(super) fn new(args: &'a Args) -> Result<Self> {
        let (kubectl, helm) = (Kubectl::find()?, Helm::find()?);
        let vault = Vault::start(&args.vault, &kubectl)?;
        Ok(Self { args, kubectl, helm, vault })
    }

    /// Prints which cluster is used, and fails if existing objects would be overwritten.
    pub(super) fn claim(&self) -> Result<String> {
        let version = self.kubectl.json(&["version", "-o=json"]).context("is KUBECONFIG set?")?;
        let version = version.pointer("/serverVersion/gitVersion").and_then(|version| version.as_str());
        let Some(version) = version else {
            bail!("the API server says no version");
        };
        for namespace in Self::NAMESPACES {
            if self.kubectl.exists(&["namespace", namespace])? {
                bail!(
                    "the namespace {namespace} exists already, and this run would delete it: \
                     take it away, or use another cluster"
                );
            }
        }
        for definition in Self::DEFINITIONS {
            if self.kubectl.exists(&[definition])? {
                bail!(
                    "the cluster has the {definition}, and this run would delete it with all of its objects: \
                     use another cluster"
                );
            }
        }
        if self.args.tests_any(CSI) {
            csi::claim(self)?;
        }
        for namespace in &Self::NAMESPACES[1..] {
            self.kubectl.run(&["create", "namespace", namespace])?;
        }
        Ok(format!("Kubernetes {version}"))
    }

    /// Prints the state that is needed first to find the cause of a failure.
    pub(super) fn show_state(&self) {
        let selector = format!("--selector=app.kubernetes.io/instance={}", Self::RELEASE);
        let system = format!("--namespace={}", Self::SYSTEM);
        let apps = format!("--namespace={}", Self::APPS);
        let csi = format!("--namespace={}", Self::CSI);
        let restarts = format!("--namespace={}", Self::RESTARTS);
        for question in [
            &["get", "pods", "--output=wide", &system][..],
            &["get", "events", "--sort-by=.lastTimestamp", &system],
            &["logs", "--all-containers", "--prefix", "--tail=10", &selector, &system],
            &["get", "pods", "--output=wide", &apps],
            &["get", "events", "--sort-by=.lastTimestamp", &apps],
            &["logs", "--all-containers", "--prefix", "--tail=5", app::SELECTOR, &apps],
            &["get", "pods", "--output=wide", &csi],
            &["get", "events", "--sort-by=.lastTimestamp", &csi],
            &["logs", "--prefix", "--tail=30", csi::PROVIDER_SELECTOR, csi::NAMESPACE],
            &["get", "pods", "--output=wide", &restarts],
            &["get", "rotationrollouts", "--output=wide", &restarts],
            &["get", "events", "--sort-by=.lastTimestamp", &restarts],
        ] {
            // The cluster itself may be the cause of the failure.
            if let Err(error) = self.kubectl.run(question) {
                println!("{error:#}");
            }
        }
        self.vault.show_log();
    }

    /// Removes everything, including the remains of a failed step.
    pub(super) fn clean_up(&self) {
        println!("\n== clean up");
        let uninstalled = self.helm.uninstall(Self::RELEASE, Self::SYSTEM);
        let namespaces = ["delete", "namespace", "--ignore-not-found", "--wait=true", "--timeout=3m"];
        let deleted = self.kubectl.run(&[&namespaces[..], &Self::NAMESPACES].concat());
        let definitions =
            [&["delete", "--ignore-not-found", "--timeout=1m"][..], &Self::DEFINITIONS].concat();
        let undefined = self.kubectl.run(&definitions);
        // The driver is removed last, because it unmounts the volumes of the pods.
        let csi = if self.args.tests_any(CSI) { csi::clean_up(self) } else { Ok(()) };
        for error in [uninstalled, deleted, undefined, csi].into_iter().filter_map(Result::err) {
            println!("not taken away: {error:#}");
        }
    }
}
