//! Runs helm on the charts.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// The injector's chart, relative to the workspace's directory.
const CHART: &str = "charts/scaivault-injector";
/// The chart of the CSI provider.
pub(crate) const CSI_CHART: &str = "charts/secrets-store-csi-driver-scaivault";

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the injector's chart.
pub(crate) fn file(path: &str) -> String {
    let path = root().join(CHART).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program in the assets' directory, or else on the `PATH`; `None` if it is in neither.
#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
pub(crate) fn asset(name: &str) -> Option<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = assets.into_iter().chain(env::split_paths(&path)).collect();
    directories.into_iter().map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// Reports that an asset is missing and what was therefore skipped; with `CI=true` the test fails.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test has no command line, and no other way to say it"
)]
pub(crate) fn left_out(asset: &str, what: &str) {
    let said = format!(
        "no {asset} in KUBEBUILDER_ASSETS or on the PATH (`cargo xtask assets` makes it, with Go and a network): {what}"
    );
    assert!(env::var_os("CI").is_none_or(|value| value != "true"), "{said}");
    eprintln!("{said}");
}

/// Runs helm in the workspace's directory, isolated from the configuration of this machine.
pub(crate) fn helm(arguments: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    let helm = asset("helm").expect("helm is in KUBEBUILDER_ASSETS or on the PATH");
    let mut command = Command::new(helm);
    command.current_dir(root()).args(arguments).env_remove("KUBECONFIG");
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HOME"] {
        command.env(variable, home.path());
    }
    command.output().unwrap()
}

/// Lints both charts.
pub(crate) fn lint() -> Output {
    helm(&["lint", "--strict", CHART, CSI_CHART])
}

/// The manifests for these arguments (`--set`, `--values`), or helm's error.
pub(crate) fn template(arguments: &[&str]) -> Result<Manifests, String> {
    template_as("scaivault-injector", arguments)
}

/// The same for a release with this name.
pub(crate) fn template_as(release: &str, arguments: &[&str]) -> Result<Manifests, String> {
    render(CHART, release, "scaivault-system", arguments)
}

/// The manifests of a chart for a release in a namespace.
pub(crate) fn render(
    chart: &str,
    release: &str,
    namespace: &str,
    arguments: &[&str],
) -> Result<Manifests, String> {
    let fixed = ["template", release, chart, "--namespace", namespace];
    let Output { status, stdout, stderr } = helm(&[&fixed, arguments].concat());
    if !status.success() {
        return Err(String::from_utf8(stderr).unwrap());
    }
    Ok(Manifests { text: String::from_utf8(stdout).unwrap() })
}

/// The output of helm.
pub(crate) struct Manifests {
    pub(crate) text: String,
}

impl Manifests {
    /// Every object.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let documents = self.text.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
        let objects = documents.map(|document| match serde_saphyr::from_str::<Value>(document) {
            Ok(object) => object,
            Err(error) => panic!("{error}:\n{document}"),
        });
        objects.filter(|object| !object.is_null()).collect()
    }

    /// The objects of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.objects().into_iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The one object of a kind.
    #[track_caller]
    pub(crate) fn only(&self, kind: &str) -> Value {
        let mut objects = self.of_kind(kind);
        assert_eq!(objects.len(), 1, "{kind} in\n{}", self.text);
        objects.remove(0)
    }
}
