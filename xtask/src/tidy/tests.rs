use super::*;
use crate::workspace::{Dependency, Package, root};

#[test]
fn this_tree_is_tidy() -> Result<()> {
    let tree = Tree::read()?;
    let findings = check(&tree);
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(!tree.text("xtask/src/tidy/tests.rs").is_empty());
    assert!(!tree.files.keys().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
    Ok(())
}

/// A tree with these files.
fn files(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned())));
    Tree { files: files.collect(), ..Tree::default() }
}

impl Tree {
    /// Adds a member; `dependencies` are its `[dependencies]`, and all packages that are built into
    /// it.
    fn and_member(mut self, name: &str, directory: &str, dependencies: &[&str]) -> Self {
        let dependency = |name: &&str| Dependency { name: (*name).to_owned(), kind: None };
        self.members.push(Package {
            name: name.to_owned(),
            manifest_path: root().join(directory).join("Cargo.toml"),
            dependencies: dependencies.iter().map(dependency).collect(),
            ..Package::default()
        });
        self.built_into.insert(name.to_owned(), dependencies.iter().map(ToString::to_string).collect());
        self
    }
}

/// Asserts that the findings of a rule start like this.
#[track_caller]
fn finds(id: &str, tree: &Tree, expected: &[&str]) {
    let (_, check) = RULES.iter().find(|(rule, _)| *rule == id).expect("the rule exists");
    let findings = check(tree);
    let is_expected = findings.len() == expected.len()
        && findings.iter().zip(expected).all(|(finding, start)| finding.starts_with(start));
    assert!(is_expected, "{id} found {findings:#?} instead of {expected:#?}");
}

#[test]
fn words_match_whole_names() {
    assert!(has_word("a nap(b)", "nap(") && has_word("time::nap(b)", "nap("));
    assert!(!has_word("a no_nap(b)", "nap(") && !has_word("unsafe_code", "unsafe"));
}

#[test]
fn arrows_upwards_are_found() {
    let tree = Tree::default()
        .and_member("scaivault-contract", "crates/contract", &["serde"])
        .and_member("scaivault-certs", "certs", &["scaivault-contract"])
        .and_member("scaivault-inject", "crates/inject", &["scaivault-contract"])
        .and_member("scaivault-news", "crates/news", &[])
        .and_member("scaivault-testkit", "crates/testkit", &["scaivault-certs"]);
    finds(
        "arrows-point-down",
        &tree,
        &[
            "scaivault-certs: must not depend on scaivault-contract",
            "scaivault-news: is a new package: add",
            // An indirect dependency.
            "scaivault-testkit: must not depend on scaivault-contract",
        ],
    );
    let tree = tree.and_member("scaivault-render", "crates/render", &["scaivault-testkit"]);
    assert!(
        dependencies::arrows_point_down(&tree)
            .iter()
            .any(|finding| { finding == "scaivault-render: must not depend on scaivault-testkit" })
    );
}

#[test]
fn impure_packages_are_found() {
    let bans = include_str!("../../../crates/inject/clippy.toml");
    let inject = |bans: &str| {
        let crates = ["serde", "k8s-openapi", "serde_yaml", "tokio"];
        files(&[("crates/inject/clippy.toml", bans)]).and_member("scaivault-inject", "crates/inject", &crates)
    };
    let crates = [
        "scaivault-inject: must not have k8s-openapi built into it",
        "scaivault-inject: must not have serde_yaml built into it",
        "scaivault-inject: must not have tokio built into it",
    ];
    finds("core-is-pure", &inject(bans), &crates);
    let without_clock = bans.replace("\"std::time::Instant\"", "");
    let missing = "crates/inject/clippy.toml: must forbid std::time::Instant";
    finds("core-is-pure", &inject(&without_clock), &[&crates[..], &[missing]].concat());
    let webhook = Tree::default().and_member("scaivault-webhook", "webhook", &["tokio", "kube-core"]);
    finds("core-is-pure", &webhook, &["scaivault-webhook: must not have kube-core"]);
    let policy =
        Tree::default().and_member("scaivault-policy", "crates/policy", &["k8s-openapi", "kube-client"]);
    finds("core-is-pure", &policy, &["scaivault-policy: must not have kube-client"]);
}

#[test]
fn a_demo_that_would_ship_is_found() {
    let build = "RUN a && cargo build --release \\\n    --package scaivault-injector";
    let mut tree = files(&[("Dockerfile", &format!("{build} --no-default-features\n"))]);
    finds("shipped-without-demo", &tree, &[]);
    tree.shipped.insert("scaivault-agent".to_owned());
    finds("shipped-without-demo", &tree, &["scaivault-injector: must not have scaivault-agent"]);
    finds("shipped-without-demo", &files(&[("Dockerfile", build)]), &["Dockerfile: must build"]);
}

#[test]
fn odd_names_and_manifests_are_found() {
    let good = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";
    let mut tree = files(&[("Cargo.toml", good), ("certs/Cargo.toml", "[lints.clippy]\n")])
        .and_member("injector", "", &[])
        .and_member("vault-certs", "certs", &[]);
    tree.members[0].publish = Some(Vec::new());
    let names = [r#"injector: the package in """#, r#"vault-certs: the package in "certs""#];
    finds("one-naming-rule", &tree, &names);
    let certs = ["certs/Cargo.toml: must say `publish", "certs/Cargo.toml: must say `[lints]"];
    finds("shared-manifest", &tree, &certs);
}

#[test]
fn a_lint_that_is_switched_off_is_found() {
    let on = "[lints.rust]\nunsafe_code = \"forbid\"\n";
    let mut tree = files(&[("Cargo.toml", on), ("crates/csi-provider/generate/Cargo.toml", on)]);
    finds("no-unsafe", &tree, &["fuzz/src/lib.rs: must say `#![forbid(unsafe_code)]`"]);
    tree.files.insert("fuzz/src/lib.rs".to_owned(), Some("\n#![forbid(unsafe_code)]\n".to_owned()));
    finds("no-unsafe", &tree, &[]);
    tree.files.insert("fuzz/fuzz_targets/a.rs".to_owned(), Some("unsafe { a() }".to_owned()));
    tree.files.insert("Cargo.toml".to_owned(), Some(on.replace("forbid", "warn")));
    finds("no-unsafe", &tree, &["Cargo.toml: must say", "fuzz/fuzz_targets/a.rs: no unsafe code"]);
}

#[test]
fn long_files_are_found() {
    let text = |lines: usize| "//\n".repeat(lines);
    finds("small-main", &files(&[("src/main.rs", &text(39))]), &[]);
    finds("small-main", &files(&[("src/main.rs", &text(40))]), &["src/main.rs"]);
    let tree = files(&[
        ("a/src/lib.rs", &text(600)),
        ("b/src/lib.rs", &text(601)),
        ("b/src/b/tests.rs", &text(601)),
    ]);
    finds("small-files", &tree, &["b/src/lib.rs"]);
    let mut tree = files(&[("docs/a.md", &"a".repeat(1 << 20)), ("docs/b.md", &"a".repeat((1 << 20) + 1))]);
    tree.files.insert("docs/logo.png".to_owned(), None);
    finds("small-text-files", &tree, &["docs/b.md", "docs/logo.png"]);
}

#[test]
fn tests_that_sleep_or_are_skipped_are_found() {
    let check = |path: &str, text: &str, expected: &[&str]| {
        // Written so that the rule does not match this file itself.
        finds("honest-tests", &files(&[(path, &text.replace("nap", "sleep"))]), expected);
    };
    check(
        "tests/a.rs",
        "#[test]\n#[ignore = \"flaky\"]\nfn f() {}\n",
        &["tests/a.rs:2: a test that is ignored"],
    );
    let sleeps = "fn f() {\n    std::thread::nap(ms)\n}\n";
    check("tests/a.rs", sleeps, &["tests/a.rs:2: a test waits"]);
    check("webhook/src/a.rs", sleeps, &[]);
    let inline = "fn f() { nap(a) }\n#[cfg(test)]\nmod tests { fn g() { time::nap(a).await } }\n";
    check("webhook/src/a.rs", inline, &["webhook/src/a.rs:3"]);
    let paused = "#[tokio::test(start_paused = true)]\nasync fn f() {\n    nap(a).await\n}\n";
    check("tests/a.rs", paused, &[]);
    check("tests/a.rs", &format!("{paused}fn called() {{\n    nap(a).await\n}}\n"), &[]);
    check("tests/a.rs", &format!("{paused}fn g() {{ std::thread::nap(a) }}\n"), &["tests/a.rs:5"]);
    let another = format!("{paused}#[tokio::test]\nasync fn g() {{\n    if a {{}}\n    nap(a).await\n}}\n");
    check("tests/a.rs", &another, &["tests/a.rs:8"]);
    let indented = format!("    {}\n", another.trim_end().replace('\n', "\n    "));
    check("a/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{indented}}}\n"), &["a/src/a.rs:10"]);
    check("tests/a.rs", "// nap(a)\nfn no_nap() {}\n", &[]);
    check("certs/src/lib.rs", "//! ```ignore\n//! let a = 1;\n//! ```\n", &["certs/src/lib.rs:1"]);
}

#[test]
fn unfinished_marks_are_found() {
    let mark = format!("TO{}", "DO");
    let rust = format!("fn f() {{}} // {mark}: later\nconst A: &str = \"{mark}\";\n");
    let (yaml, page) = (format!("a: 1\n# {mark}\n"), format!("METHOD{mark}S\n"));
    let tree = files(&[("src/a.rs", &rust), ("values.yaml", &yaml), ("docs/a.md", &page)]);
    finds("no-leftovers", &tree, &["src/a.rs:1", "values.yaml:2"]);
}

#[test]
fn another_toolchain_in_the_images_is_found() {
    let toolchain = "[toolchain]\nchannel = \"1.95.0\"\n";
    let tree = |image: &str| files(&[("rust-toolchain.toml", toolchain), ("Dockerfile", image)]);
    finds("one-toolchain", &tree("# all\nARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim\n"), &[]);
    for wrong in
        ["ARG RUST_IMAGE=rust:1.94.0-slim", "ARG RUST_IMAGE=rust:1.95.01-slim", "FROM rust:1.95.0-slim"]
    {
        finds("one-toolchain", &tree(wrong), &["Dockerfile"]);
    }
}

#[test]
fn threats_without_tests_are_found() {
    let page = "# Threats\n\n### 1. Dots\n\n* Stops it: `no_test`\n* Tests: `is_there`, in the agent\n  `is_gone` and `word`\n\n`other_word`\n";
    let test = "/// Threat 1.\nfn is_there() {}\n/// Threat 12: more.\nfn f() {}";
    let tree = files(&[("docs/threat-model.md", page), ("crates/inject/tests/core/tenant/a.rs", test)]);
    finds(
        "threats-have-tests",
        &tree,
        &[
            "docs/threat-model.md: names the test is_gone, which does not exist",
            "crates/inject/tests/core/tenant/a.rs: names threat 12, which",
        ],
    );
}

#[test]
fn claims_and_rules_match_both_ways() {
    let all: Vec<_> = RULES[1..].iter().map(|(id, _)| format!("**a** `[tidy:{id}]`\n")).collect();
    let tree = files(&[("ARCHITECTURE.md", &format!("{}[tidy:claimed] [tidy: never closed", all.concat()))]);
    let (first, _) = RULES[0];
    let untold = format!("ARCHITECTURE.md: does not say what [tidy:{first}] is about");
    finds("invariants-are-checked", &tree, &["ARCHITECTURE.md: claims [tidy:claimed]", &untold]);
}
