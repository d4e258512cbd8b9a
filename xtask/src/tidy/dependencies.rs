//! Rules about packages: allowed dependencies, names and manifests.

use std::collections::BTreeSet;

use super::{has_word, tree::Tree};

/// The allowed direct and indirect dependencies of each member, as in `ARCHITECTURE.md`, without
/// the prefix `scaivault-`. A new package needs a row. No package may depend on the test kit,
/// except for tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("inject", &["contract"]),
    ("usage", &[]),
    ("audit", &["usage"]),
    ("policy", &["inject", "contract"]),
    ("restarter", &["policy", "inject", "contract", "usage"]),
    ("csi-class", &["inject", "contract"]),
    ("cluster", &["policy", "inject", "contract"]),
    ("ops-thread", &[]),
    ("webhook", &["inject", "contract", "ops-thread"]),
    ("certs", &[]),
    ("log-queue", &[]),
    ("client", &["contract"]),
    ("render", &["client", "contract"]),
    ("devserver", &["certs", "contract"]),
    // The last three with its feature `demo`.
    (
        "injector",
        &[
            "webhook",
            "certs",
            "cluster",
            "inject",
            "policy",
            "contract",
            "csi-class",
            "log-queue",
            "ops-thread",
            "audit",
            "usage",
            "restarter",
            "client",
            "agent",
            "devserver",
            "render",
        ],
    ),
    ("agent", &["client", "contract", "log-queue", "render"]),
    (
        "csi-provider",
        &[
            "client",
            "cluster",
            "contract",
            "csi-class",
            "inject",
            "log-queue",
            "ops-thread",
            "policy",
            "render",
        ],
    ),
    // With its feature `control-plane`: the certificates of a control plane that tests start.
    ("testkit", &["certs"]),
    ("e2e", &[]),
    ("xtask", &[]),
];

/// Packages that must not be built into the injector that ships.
const FOR_THE_DEMO: [&str; 3] = ["scaivault-agent", "scaivault-devserver", "scaivault-render"];

/// Crates that do I/O, read the clock or log.
const IMPURE: [&str; 13] = [
    "tokio",
    "axum",
    "hyper",
    "hyper-util",
    "reqwest",
    "kube",
    "kube-client",
    "rustls",
    "rcgen",
    "tracing",
    "log",
    "mio",
    "socket2",
];
/// Parts of the names of crates that parse YAML.
const YAML: [&str; 4] = ["yaml", "yml", "saphyr", "serde_norway"];

/// A package, and a predicate for crates that must not be built into it.
type Pure = (&'static str, fn(&str) -> bool);

/// The packages with forbidden crates. The first five are the core, whose `clippy.toml` is checked, too.
pub(super) const PURE: [Pure; 7] = [
    ("scaivault-contract", is_not_for_the_core),
    ("scaivault-inject", is_not_for_the_core),
    ("scaivault-usage", is_not_for_the_core),
    ("scaivault-audit", is_not_for_the_core),
    ("scaivault-restarter", is_impure),
    // It contains the types of the Kubernetes client, but not the client.
    ("scaivault-policy", is_impure),
    ("scaivault-webhook", |name| name == "kube" || name.starts_with("kube-")),
];

fn is_impure(name: &str) -> bool {
    IMPURE.contains(&name) || YAML.iter().any(|part| name.contains(part))
}

/// A typed pod loses unknown fields.
fn is_not_for_the_core(name: &str) -> bool {
    is_impure(name) || name == "k8s-openapi"
}

/// What the `clippy.toml` of a core package must at least forbid.
const FORBIDDEN_IN_CORE: [&str; 8] = [
    "std::fs::read",
    "std::fs::write",
    "std::fs::File",
    "std::env::var",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::net::TcpStream",
    "std::thread::spawn",
];

pub(super) fn arrows_point_down(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for member in &tree.members {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == short(&member.name)) else {
            let what =
                "is a new package: add what it may depend on to ARROWS (xtask/src/tidy/dependencies.rs)";
            findings.push(format!("{}: {what}", member.name));
            continue;
        };
        let mut reached = BTreeSet::new();
        reach(tree, &member.name, &mut reached);
        let others = reached.into_iter().filter(|name| !allowed.contains(&short(name)));
        findings.extend(others.map(|name| format!("{}: must not depend on {name}", member.name)));
    }
    findings
}

fn short(name: &str) -> &str {
    name.trim_start_matches("scaivault-")
}

/// The direct and indirect dependencies of a member.
fn reach<'a>(tree: &'a Tree, name: &str, reached: &mut BTreeSet<&'a str>) {
    let member = tree.members.iter().find(|member| member.name == name);
    let dependencies = member.into_iter().flat_map(|member| &member.dependencies);
    for dependency in dependencies.filter(|dependency| !dependency.is_dev()) {
        let is_member = tree.members.iter().any(|member| member.name == dependency.name);
        if is_member && reached.insert(&dependency.name) {
            reach(tree, &dependency.name, reached);
        }
    }
}

pub(super) fn core_is_pure(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (package, is_forbidden) in PURE {
        let built = tree.built_into.get(package).into_iter().flatten().filter(|name| is_forbidden(name));
        findings.extend(built.map(|name| format!("{package}: must not have {name} built into it")));
    }
    let core =
        PURE[..5].iter().filter_map(|(name, _)| tree.members.iter().find(|member| member.name == *name));
    for path in core.map(|member| format!("{}/clippy.toml", member.directory())) {
        let missing =
            FORBIDDEN_IN_CORE.iter().filter(|item| !tree.text(&path).contains(&format!("\"{item}\"")));
        findings.extend(missing.map(|item| format!("{path}: must forbid {item} in the pure core")));
    }
    findings
}

pub(super) fn shipped_without_demo(tree: &Tree) -> Vec<String> {
    const PACKAGE: &str = "scaivault-injector";
    const FLAG: &str = "--no-default-features";
    let inside = FOR_THE_DEMO.iter().filter(|name| tree.shipped.contains(**name));
    let mut findings: Vec<_> = inside
        .map(|name| format!("{PACKAGE}: must not have {name} built into it without its feature `demo`"))
        .collect();
    // A line that ends with a backslash continues a command.
    let dockerfile = tree.text("Dockerfile").replace("\\\n", " ");
    let mut builds = dockerfile
        .lines()
        .flat_map(|line| line.split("&&"))
        .filter(|command| has_word(command, "build") && command.contains(&format!("--package {PACKAGE}")));
    if !builds.all(|command| command.contains(FLAG)) {
        findings.push(format!("Dockerfile: must build {PACKAGE} with {FLAG}"));
    }
    findings
}

/// Package = `scaivault-` + directory, so that `RUST_LOG=scaivault=debug` selects all of them, and
/// a name shows where its code is.
pub(super) fn one_naming_rule(tree: &Tree) -> Vec<String> {
    let misnamed = tree.members.iter().filter(|member| member.name != "xtask").filter_map(|member| {
        let directory = member.directory();
        let expected = match directory.rsplit('/').next() {
            None | Some("") => "scaivault-injector".to_owned(),
            Some(last) => format!("scaivault-{last}"),
        };
        let what = format!("the package in {directory:?} must be called {expected}");
        (member.name != expected).then(|| format!("{}: {what}", member.name))
    });
    misnamed.collect()
}

/// Lints and the ban on publishing are only in the workspace's manifest.
pub(super) fn shared_manifest(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for member in &tree.members {
        let directory = member.directory();
        let path =
            if directory.is_empty() { "Cargo.toml".to_owned() } else { format!("{directory}/Cargo.toml") };
        if member.publish.as_ref().is_none_or(|registries| !registries.is_empty()) {
            findings.push(format!("{path}: must say `publish.workspace = true`: nothing goes to a registry"));
        }
        if !tree.text(&path).contains("\n[lints]\nworkspace = true\n") {
            findings.push(format!("{path}: must say `[lints] workspace = true`"));
        }
    }
    findings
}
