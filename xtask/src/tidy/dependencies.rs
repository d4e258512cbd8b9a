//! Who may depend on whom.

use super::{Finding, has_word, tree::Tree};

/// Which of our own packages each may have built into it: the arrows of `ARCHITECTURE.md`. A new package needs a row.
const ARROWS: &[(&str, &[&str])] = &[
    ("scaivault-contract", &[]),
    ("scaivault-inject", &["scaivault-contract"]),
    ("scaivault-usage", &[]),
    ("scaivault-audit", &["scaivault-usage"]),
    ("scaivault-policy", &["scaivault-inject", "scaivault-contract"]),
    ("scaivault-csi-class", &["scaivault-inject", "scaivault-contract"]),
    ("scaivault-cluster", &["scaivault-policy", "scaivault-inject", "scaivault-contract"]),
    ("scaivault-webhook", &["scaivault-inject", "scaivault-contract"]),
    ("scaivault-certs", &[]),
    ("scaivault-log-queue", &[]),
    ("scaivault-client", &["scaivault-contract"]),
    ("scaivault-render", &["scaivault-client", "scaivault-contract"]),
    ("scaivault-devserver", &["scaivault-certs", "scaivault-contract"]),
    (
        "scaivault-injector",
        &[
            "scaivault-webhook",
            "scaivault-certs",
            "scaivault-cluster",
            "scaivault-inject",
            "scaivault-policy",
            "scaivault-contract",
            "scaivault-csi-class",
            "scaivault-log-queue",
            "scaivault-audit",
            "scaivault-usage",
            // With its feature `demo`.
            "scaivault-agent",
            "scaivault-client",
            "scaivault-devserver",
            "scaivault-render",
        ],
    ),
    (
        "scaivault-agent",
        &["scaivault-client", "scaivault-contract", "scaivault-log-queue", "scaivault-render"],
    ),
    (
        "scaivault-csi-provider",
        &[
            "scaivault-client",
            "scaivault-cluster",
            "scaivault-contract",
            "scaivault-csi-class",
            "scaivault-inject",
            "scaivault-log-queue",
            "scaivault-policy",
            "scaivault-render",
        ],
    ),
    // With its feature `control-plane`: the certificates of a control plane that tests start.
    ("scaivault-testkit", &["scaivault-certs"]),
    ("scaivault-e2e", &[]),
    ("xtask", &[]),
];

/// What the injector's demonstration starts and what ships must not have inside.
const FOR_THE_DEMO: [&str; 4] =
    ["scaivault-agent", "scaivault-client", "scaivault-devserver", "scaivault-render"];

/// The packages of the pure core.
const CORE: [&str; 4] = ["scaivault-contract", "scaivault-inject", "scaivault-usage", "scaivault-audit"];

/// Crates that do I/O, take time or log, or that the core must not know for another reason. YAML crates besides.
const NOT_IN_CORE: &[&str] = &[
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

/// What a core crate's own `clippy.toml` must at least forbid.
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

/// The packages that end in a person's terminal: there an error is read, not matched.
const MAY_USE_ANYHOW: [&str; 3] = ["scaivault-injector", "scaivault-e2e", "xtask"];

/// The packages that may have typed Kubernetes objects at all: the core for what it builds, the others for objects of
/// their own (a Secret, an Event, the definition of a custom resource).
const MAY_USE_K8S_OPENAPI: [&str; 6] = [
    "scaivault-certs",
    // For a feature that `kube` needs; they name no type.
    "scaivault-cluster",
    "scaivault-csi-provider",
    "scaivault-injector",
    "scaivault-policy",
    "scaivault-testkit",
];

/// Where a typed pod or workload may be named: the tests of the core and the test kit are not shipped.
const MAY_NAME_TYPED_PODS: [&str; 2] = ["crates/inject/tests/", "crates/testkit/"];

/// The types of k8s-openapi that hold a pod, and the modules of its workloads.
const TYPED_PODS: [&str; 7] =
    ["Pod", "PodSpec", "PodTemplate", "PodTemplateSpec", "ReplicationController", "apps", "batch"];

/// The crates that must not be in any build, and why: what `deny.toml` bans but for YAML, of which every crate but
/// [`YAML`] is found by its name. This list needs no tool.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("openssl", "rustls is the one TLS library"),
    ("openssl-sys", "rustls is the one TLS library"),
    ("native-tls", "rustls is the one TLS library"),
    ("rustls-pemfile", "no longer maintained; rustls-pki-types reads PEM"),
];

/// The one crate that reads and writes YAML.
const YAML: &str = "serde-saphyr";

pub(super) fn arrows_point_down(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, built_in) in &tree.built_into {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == package) else {
            let what =
                "is a new package: say in ARROWS (xtask/src/tidy/dependencies.rs) what it may depend on";
            findings.push(Finding::new(package, what));
            continue;
        };
        let ours = tree.members.iter().map(|member| member.name.as_str());
        for dependency in ours.filter(|name| built_in.contains(*name) && !allowed.contains(name)) {
            findings.push(Finding::new(package, format!("must not depend on {dependency}")));
        }
    }
    findings
}

pub(super) fn core_is_pure(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in CORE {
        for dependency in tree.built_into.get(package).into_iter().flatten() {
            if NOT_IN_CORE.contains(&dependency.as_str()) || is_yaml(dependency) {
                findings.push(Finding::new(
                    package,
                    format!("the pure core must not have {dependency} built into it"),
                ));
            }
        }
    }
    for member in tree.members.iter().filter(|member| CORE.contains(&member.name.as_str())) {
        let path = format!("{}/clippy.toml", member.dir);
        let text = tree.text(&path).unwrap_or_default();
        for item in FORBIDDEN_IN_CORE {
            if !text.contains(&format!("\"{item}\"")) {
                findings.push(Finding::new(&path, format!("must forbid {item} in the pure core")));
            }
        }
    }
    findings
}

/// The crate of the custom resource has the types of the Kubernetes client, not the client.
pub(super) fn policies_are_pure(tree: &Tree) -> Vec<Finding> {
    const PACKAGE: &str = "scaivault-policy";
    let built_in = tree.built_into.get(PACKAGE).into_iter().flatten();
    let found = built_in.filter(|name| NOT_IN_CORE.contains(&name.as_str()) || is_yaml(name));
    found
        .map(|name| Finding::new(PACKAGE, format!("must not have {name} built into it: it is pure")))
        .collect()
}

pub(super) fn webhook_knows_no_cluster(tree: &Tree) -> Vec<Finding> {
    const PACKAGE: &str = "scaivault-webhook";
    let built_in = tree.built_into.get(PACKAGE).into_iter().flatten();
    let clients = built_in.filter(|name| *name == "kube" || name.starts_with("kube-")).map(|name| {
        Finding::new(PACKAGE, format!("must not have {name} built into it: it sees only what it is given"))
    });
    clients.collect()
}

pub(super) fn testkit_is_for_tests(tree: &Tree) -> Vec<Finding> {
    const TESTKIT: &str = "scaivault-testkit";
    let users = tree.built_into.iter().filter(|(_, built_in)| built_in.contains(TESTKIT));
    users
        .map(|(package, _)| Finding::new(package, format!("{TESTKIT} belongs into [dev-dependencies]")))
        .collect()
}

pub(super) fn shipped_without_demo(tree: &Tree) -> Vec<Finding> {
    const PACKAGE: &str = "scaivault-injector";
    const FLAG: &str = "--no-default-features";
    let inside = FOR_THE_DEMO.into_iter().filter(|name| tree.shipped.contains(*name));
    let mut findings: Vec<_> = inside
        .map(|name| {
            Finding::new(PACKAGE, format!("must not have {name} built into it without its feature `demo`"))
        })
        .collect();
    // A command goes on where a line ends with a backslash.
    let dockerfile = tree.text("Dockerfile").unwrap_or_default().replace("\\\n", " ");
    let mut builds = dockerfile
        .lines()
        .flat_map(|line| line.split("&&"))
        .filter(|command| has_word(command, "build") && command.contains(&format!("--package {PACKAGE}")));
    if !builds.all(|command| command.contains(FLAG)) {
        findings.push(Finding::new("Dockerfile", format!("must build {PACKAGE} with {FLAG}")));
    }
    findings
}

pub(super) fn anyhow_in_binaries(tree: &Tree) -> Vec<Finding> {
    let libraries = tree.members.iter().filter(|member| !MAY_USE_ANYHOW.contains(&member.name.as_str()));
    libraries
        .filter(|member| member.dependencies.iter().any(|dependency| dependency.name == "anyhow"))
        .map(|member| Finding::new(&member.name, "a library's errors are enums (thiserror), not anyhow"))
        .collect()
}

pub(super) fn no_typed_pods(tree: &Tree) -> Vec<Finding> {
    let others = tree.members.iter().filter(|member| !MAY_USE_K8S_OPENAPI.contains(&member.name.as_str()));
    let dependents = others.filter(|member| {
        let mut built = member.dependencies.iter().filter(|dependency| !dependency.is_dev());
        built.any(|dependency| dependency.name == "k8s-openapi")
    });
    let mut findings: Vec<_> = dependents
        .map(|member| {
            let what = "must not depend on k8s-openapi: a typed object loses the fields it does not know";
            Finding::new(&member.name, what)
        })
        .collect();
    for file in tree.rust_files() {
        let may = MAY_NAME_TYPED_PODS.iter().any(|dir| file.path.starts_with(dir));
        if may || !has_word(&file.split.code, "k8s_openapi") {
            continue;
        }
        let end = file.first_test_line().unwrap_or(usize::MAX);
        for (index, line) in file.split.code.lines().enumerate().take(end) {
            for name in TYPED_PODS.iter().filter(|name| has_word(line, name)) {
                let what = format!(
                    "must not name {name} of k8s-openapi: a typed pod loses the fields it does not know"
                );
                findings.push(Finding::new(format!("{}:{}", file.path, index + 1), what));
            }
        }
    }
    findings
}

pub(super) fn banned_crates(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in &tree.built_at_all {
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            findings.push(Finding::new("Cargo.lock", format!("{name} is built: {why}")));
        } else if is_yaml(name) && name != YAML && !is_part_of_the_yaml_crate(name) {
            findings
                .push(Finding::new("Cargo.lock", format!("{name} is built: {YAML} is the one YAML crate")));
        }
    }
    findings
}

fn is_yaml(package: &str) -> bool {
    ["yaml", "yml", "saphyr", "serde_norway"].iter().any(|part| package.contains(part))
}

/// What [`YAML`] is built of.
fn is_part_of_the_yaml_crate(package: &str) -> bool {
    package.contains("saphyr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&Tree) -> Vec<Finding>, tree: &Tree, expected: &[&str]) {
        let findings: Vec<_> = rule(tree).iter().map(ToString::to_string).collect();
        assert_eq!(findings, expected);
    }

    #[test]
    fn an_arrow_upwards_is_found() {
        let tree = Tree::default()
            .and_member("scaivault-contract", "crates/contract", &["serde"])
            .and_member("scaivault-certs", "certs", &["scaivault-contract"])
            .and_member("scaivault-inject", "crates/inject", &["scaivault-contract"]);
        check(arrows_point_down, &tree, &["scaivault-certs: must not depend on scaivault-contract"]);
    }

    #[test]
    fn a_new_package_has_to_say_its_place() {
        let tree = Tree::default().and_member("scaivault-news", "crates/news", &[]);
        let findings = arrows_point_down(&tree);
        assert!(findings[0].what.starts_with("is a new package: say in ARROWS"), "{findings:?}");
    }

    #[test]
    fn the_core_must_not_reach_the_world() {
        let bans = all_bans();
        let tree = |dependencies: &[&str]| {
            Tree::with_file("crates/inject/clippy.toml", &bans).and_member(
                "scaivault-inject",
                "crates/inject",
                dependencies,
            )
        };
        check(core_is_pure, &tree(&["serde", "k8s-openapi"]), &[]);
        check(
            core_is_pure,
            &tree(&["serde", "serde_yaml", "tokio"]),
            &[
                "scaivault-inject: the pure core must not have serde_yaml built into it",
                "scaivault-inject: the pure core must not have tokio built into it",
            ],
        );
    }

    #[test]
    fn the_core_keeps_its_bans() {
        let weaker = all_bans().replace("std::env::var", "std::env::other");
        let tree = Tree::with_file("crates/contract/clippy.toml", &weaker).and_member(
            "scaivault-contract",
            "crates/contract",
            &[],
        );
        check(
            core_is_pure,
            &tree,
            &["crates/contract/clippy.toml: must forbid std::env::var in the pure core"],
        );
        let without = Tree::default().and_member("scaivault-contract", "crates/contract", &[]);
        assert_eq!(core_is_pure(&without).len(), FORBIDDEN_IN_CORE.len());
    }

    #[test]
    fn the_policy_crate_gets_no_client() {
        let built_in = ["kube-core", "kube-client", "serde-saphyr"];
        let tree = Tree::default().and_member("scaivault-policy", "crates/policy", &built_in);
        check(
            policies_are_pure,
            &tree,
            &[
                "scaivault-policy: must not have kube-client built into it: it is pure",
                "scaivault-policy: must not have serde-saphyr built into it: it is pure",
            ],
        );
    }

    #[test]
    fn the_webhook_gets_no_client() {
        let tree = Tree::default().and_member("scaivault-webhook", "webhook", &["axum", "kube-client"]);
        check(
            webhook_knows_no_cluster,
            &tree,
            &["scaivault-webhook: must not have kube-client built into it: it sees only what it is given"],
        );
    }

    #[test]
    fn the_testkit_is_never_built_in() {
        let tree = Tree::default().and_member("scaivault-webhook", "webhook", &["scaivault-testkit"]);
        check(
            testkit_is_for_tests,
            &tree,
            &["scaivault-webhook: scaivault-testkit belongs into [dev-dependencies]"],
        );
    }

    #[test]
    fn anyhow_stays_in_binaries() {
        let tree = Tree::default()
            .and_member("xtask", "xtask", &["anyhow"])
            .and_member("scaivault-injector", "", &["anyhow"])
            .and_member("scaivault-certs", "certs", &["anyhow"]);
        check(
            anyhow_in_binaries,
            &tree,
            &["scaivault-certs: a library's errors are enums (thiserror), not anyhow"],
        );
    }

    #[test]
    fn the_demonstrations_parts_are_not_shipped() {
        let dockerfile = |flags: &str| {
            let build = format!("RUN cargo build --package scaivault-injector{flags} \\\n && install a /b\n");
            Tree::with_file("Dockerfile", &build)
        };
        check(shipped_without_demo, &dockerfile(" \\\n   --no-default-features"), &[]);
        check(
            shipped_without_demo,
            &dockerfile(""),
            &["Dockerfile: must build scaivault-injector with --no-default-features"],
        );
        let mut tree = dockerfile(" --no-default-features");
        tree.shipped = ["scaivault-certs", "scaivault-devserver"].map(str::to_owned).into();
        check(
            shipped_without_demo,
            &tree,
            &[
                "scaivault-injector: must not have scaivault-devserver built into it without its feature `demo`",
            ],
        );
    }

    #[test]
    fn typed_objects_stay_out_of_the_webhook() {
        let tree = Tree::default().and_member("scaivault-certs", "certs", &["k8s-openapi"]).and_member(
            "scaivault-webhook",
            "webhook",
            &["k8s-openapi"],
        );
        check(
            no_typed_pods,
            &tree,
            &[
                "scaivault-webhook: must not depend on k8s-openapi: a typed object loses the fields it does not know",
            ],
        );
    }

    #[test]
    fn typed_pods_stay_in_tests() {
        let typed = "use k8s_openapi::api::core::v1::{\n    Pod, Secret,\n};\n";
        check(
            no_typed_pods,
            &Tree::with_file("src/cluster.rs", typed),
            &[
                "src/cluster.rs:2: must not name Pod of k8s-openapi: a typed pod loses the fields it does not know",
            ],
        );
        let workload =
            "use k8s_openapi::api::{apps::v1::Deployment, core::v1 as core};\ntype A = core::PodSpec;\n";
        assert_eq!(no_typed_pods(&Tree::with_file("certs/src/store.rs", workload)).len(), 2);
        for (path, text) in [
            ("crates/inject/tests/core/laws.rs", typed),
            ("crates/testkit/src/pod.rs", typed),
            ("tests/cluster.rs", typed),
            ("src/cluster.rs", "use k8s_openapi::api::core::v1::Secret;\n// A Pod comes later.\n"),
            ("src/cluster.rs", "#[cfg(test)]\nmod tests { use k8s_openapi::api::core::v1::Pod; }\n"),
            ("src/object.rs", "enum Kind { Pod, PodTemplate }\n"),
        ] {
            check(no_typed_pods, &Tree::with_file(path, text), &[]);
        }
    }

    #[test]
    fn banned_crates_do_not_come_back() {
        let tree = Tree::default().and_member(
            "scaivault-certs",
            "certs",
            &["aws-lc-rs", "ring", "serde-saphyr", "yaml-rust2"],
        );
        check(
            banned_crates,
            &tree,
            &[
                "Cargo.lock: ring is built: aws-lc-rs is the one crypto provider",
                "Cargo.lock: yaml-rust2 is built: serde-saphyr is the one YAML crate",
            ],
        );
    }

    #[test]
    fn what_cargo_deny_bans_is_banned_here_too() {
        let deny = include_str!("../../../deny.toml");
        let (_, bans) = deny.split_once("\ndeny = [").unwrap();
        let (bans, _) = bans.split_once("\n]").unwrap();
        let crates: Vec<_> = bans.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert!(crates.contains(&"ring"), "{crates:?}");
        for name in crates {
            let tree = Tree::default().and_member("scaivault-certs", "certs", &[name]);
            assert_eq!(banned_crates(&tree).len(), 1, "{name}");
        }
    }

    fn all_bans() -> String {
        FORBIDDEN_IN_CORE.map(|item| format!("{{ path = \"{item}\" }}")).join("\n")
    }
}
