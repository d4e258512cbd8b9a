//! Golden cases: `tests/golden/<case>/input.yaml` through the built program, its output beside it.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test --test golden`, then read the difference.

use std::{path::Path, process::Output};

#[path = "cli/program.rs"]
#[expect(dead_code, reason = "the golden cases need no more than how the program is started")]
mod program;

#[test]
fn golden_cases() {
    insta::glob!("golden/*/input.yaml", |input| {
        let case = input.parent().expect("an input stands in the directory of its case");
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        let Output { status, stdout, stderr } = inject(case);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
        let shown = format!("{}--- report, {status}\n{}", text(stdout), text(stderr));
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => case, snapshot_suffix => "", omit_expression => true }, {
            insta::assert_snapshot!(format!("output-{name}"), shown);
        });
    });
}

/// Runs in the directory of the case, so that no path of a machine gets into the output.
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
