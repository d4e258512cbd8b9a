//! Names and manifests of the packages.

use super::{Finding, tree::Tree};

/// Never shipped and never selected in a log filter: named as everybody names it.
const EXEMPT_FROM_NAMING: &str = "xtask";
const ROOT_PACKAGE: &str = "scaivault-injector";

/// Package = `scaivault-` + directory, so that `RUST_LOG=scaivault=debug` selects all of ours and a name says where its
/// code is.
pub(super) fn one_naming_rule(tree: &Tree) -> Vec<Finding> {
    let members = tree.members.iter().filter(|member| member.name != EXEMPT_FROM_NAMING);
    members
        .filter_map(|member| {
            let expected = match member.dir.rsplit('/').next() {
                None | Some("") => ROOT_PACKAGE.to_owned(),
                Some(directory) => format!("scaivault-{directory}"),
            };
            (member.name != expected).then(|| {
                Finding::new(&member.name, format!("the package in {:?} is called {expected}", member.dir))
            })
        })
        .collect()
}

/// Lints and the ban on publishing are said once, in the workspace's manifest.
pub(super) fn shared_manifest(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &tree.members {
        let path = match member.dir.as_str() {
            "" => "Cargo.toml".to_owned(),
            dir => format!("{dir}/Cargo.toml"),
        };
        if member.publishable {
            findings
                .push(Finding::new(&path, "must say `publish.workspace = true`: nothing goes to a registry"));
        }
        if !inherits_lints(tree.text(&path).unwrap_or_default()) {
            findings.push(Finding::new(&path, "must say `[lints] workspace = true`"));
        }
    }
    findings
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_package_is_called_after_its_directory() {
        let tree = Tree::default()
            .and_member("scaivault-injector", "", &[])
            .and_member("xtask", "xtask", &[])
            .and_member("scaivault-inject", "crates/inject", &[])
            .and_member("vault-certs", "certs", &[]);
        assert_eq!(
            say(&one_naming_rule(&tree)),
            [r#"vault-certs: the package in "certs" is called scaivault-certs"#]
        );
        let root = Tree::default().and_member("injector", "", &[]);
        assert_eq!(
            say(&one_naming_rule(&root)),
            [r#"injector: the package in "" is called scaivault-injector"#]
        );
    }

    #[test]
    fn every_manifest_inherits() {
        let good = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n";
        let tree = Tree::with_file("certs/Cargo.toml", good).and_member("scaivault-certs", "certs", &[]);
        assert_eq!(shared_manifest(&tree), []);

        let own_lints = "[lints.clippy]\nunwrap_used = \"allow\"\n";
        let mut tree =
            Tree::with_file("certs/Cargo.toml", own_lints).and_member("scaivault-certs", "certs", &[]);
        tree.members[0].publishable = true;
        assert_eq!(
            say(&shared_manifest(&tree)),
            [
                "certs/Cargo.toml: must say `publish.workspace = true`: nothing goes to a registry",
                "certs/Cargo.toml: must say `[lints] workspace = true`",
            ]
        );
    }
}
