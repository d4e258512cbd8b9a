//! Golden cases: runs `tests/golden/<case>/input.yaml` and `tests/migrations/<case>/input.yaml`
//! through the built program and compares the output in the same directory.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test --test golden`, then review the diff.

use std::{fs, path::Path, process::Output};

#[path = "cli/program.rs"]
#[expect(dead_code, reason = "the golden cases do not need all of it")]
mod program;

#[test]
fn golden_cases() {
    insta::glob!("golden/*/input.yaml", |input| {
        let case = input.parent().expect("an input is in the directory of its case");
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        let Output { status, stdout, stderr } = inject(case);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        let shown = format!("{}--- report, {status}\n{}", text(stdout), text(stderr));
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => case, snapshot_suffix => "", omit_expression => true }, {
            insta::assert_snapshot!(format!("output-{name}"), shown);
        });
    });
}

#[test]
fn migration_cases() {
    insta::glob!("migrations/*/input.yaml", |input| {
        let case = input.parent().expect("an input is in the directory of its case");
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        let Output { status, stdout, stderr } = migrate(case);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        let (migrated, report) = (text(stdout), text(stderr));
        let checked = program::run_with(&migrated, ["check", "-f", "-", "--kube-version", "1.36"]);
        // Workloads that are not migrated request no secrets, and migrated ones have no problems.
        assert_eq!(checked.code, 0, "{name}:\n{}", checked.stdout);
        let shown = format!("{migrated}--- report, {status}\n{report}");
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => case, snapshot_suffix => "", omit_expression => true }, {
            insta::assert_snapshot!(format!("output-{name}"), shown);
        });
    });
}

/// Runs with the map and the arguments of the case.
fn migrate(case: &Path) -> Output {
    let mut command = program::command(["migrate", "-f", "input.yaml", "--kube-version", "1.36"]);
    command.current_dir(case);
    if case.join("map.yaml").exists() {
        command.args(["--map", "map.yaml"]);
    }
    let arguments = fs::read_to_string(case.join("arguments")).unwrap_or_default();
    command.args(arguments.lines());
    command.output().expect("the program starts")
}

/// Runs in the directory of the case, so that the output contains no path of this machine.
fn inject(case: &Path) -> Output {
    let mut command = program::command(["inject", "-f", "input.yaml", "--kube-version", "1.36"]);
    command.current_dir(case);
    for (flag, file) in [("--config", "config.yaml"), ("--namespace-file", "namespace.yaml")] {
        if case.join(file).exists() {
            command.args([flag, file]);
        }
    }
    command.output().expect("the program starts")
}
