//! Golden cases: renders `tests/chart/cases/<case>/values.yaml` with helm and compares the
//! manifests in the same directory. Except for the case `default`, only the difference from that
//! case is stored.

use std::path::Path;

use similar::TextDiff;

use super::helm::{self, template};

#[test]
fn golden_renderings() {
    let default = without_definition(&template(&[]).unwrap().text);
    insta::glob!("cases/*/values.yaml", |values| {
        let rendered = template(&["--values", values.to_str().unwrap()]).unwrap().text;
        check_case(values, &default, &without_definition(&rendered));
    });
}

/// Compares the manifests rendered from a case's values with the stored ones.
pub(super) fn check_case(values: &Path, default: &str, text: &str) {
    let case = values.parent().expect("values are in the directory of their case");
    let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
    let shown = if name == "default" {
        text.to_owned()
    } else {
        let diff = TextDiff::from_lines(default, text);
        diff.unified_diff().context_radius(4).header("default", &name).to_string()
    };
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => case, snapshot_suffix => "", omit_expression => true }, {
        insta::assert_snapshot!(format!("manifests-{name}"), shown);
    });
}

/// The manifests without the definition of policies, which is generated and compared with its
/// source elsewhere.
fn without_definition(text: &str) -> String {
    let documents =
        text.split("---\n").filter(|document| !document.contains("\nkind: CustomResourceDefinition\n"));
    documents.collect::<Vec<_>>().join("---\n")
}

#[test]
fn the_charts_pass_helms_own_check() {
    let output = helm::lint();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn nothing_is_random() {
    for mode in ["self", "cert-manager"] {
        let mode = format!("certificates.mode={mode}");
        let render = || template(&["--set", &mode]).unwrap().text;
        assert_eq!(render(), render());
    }
}
