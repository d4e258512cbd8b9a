//! What does not change is written back byte for byte.

use std::fs;

use super::program::{POD, run, run_with};

#[test]
fn any_layout_of_documents_without_annotations() {
    for stream in [
        POD.to_owned(),
        POD.trim_end().to_owned(),
        format!("\u{FEFF}# head\n\n---\n# why\n{POD}\n# tail\n...\n"),
        format!("--- # first\n{POD}---\n---\n# nothing here\n---\n{POD}...\n"),
        format!("%YAML 1.1\n---\n{POD}...\n%YAML 1.1\n---\n{POD}"),
        POD.replace('\n', "\r\n"),
        format!("{}---\r\n{}", POD.replace('\n', "\r\n"), POD.replace('\n', "\r\n")),
        "--- {apiVersion: v1, kind: Pod, spec: {containers: [{name: app}]}}\n".to_owned(),
        "--- !pod\napiVersion: v1\nkind: Pod\nspec: {}\n".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    ---\n    text\n  on: yes\n  mode: 0400\n".to_owned(),
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, spec: {}} # kept\n".to_owned(),
        "{\"apiVersion\": \"v1\",   \"kind\": \"Pod\", \"spec\": {}}{\"apiVersion\":\"v1\",\"kind\":\"Service\"}".to_owned(),
        "- just\n- a list\n---\nand text\n".to_owned(),
        "# only a comment".to_owned(),
        String::new(),
    ] {
        for command in ["inject", "detach"] {
            let outcome = run_with(&stream, [command]).exits(0);
            assert_eq!(outcome.stdout, stream, "{command}");
        }
        let by_name = run_with(&stream, ["detach", "--by-name"]).exits(0);
        assert_eq!(by_name.stdout, stream);
    }
}

#[test]
fn the_environment_of_the_shell_changes_nothing() {
    let coloured = super::program::command(["check", "-f", "examples/namespace-defaults.yaml"])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!coloured.stdout.contains(&b'\x1b'));
}

#[test]
fn several_files_become_one_stream() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("a.yaml"), directory.path().join("b.yaml"));
    fs::write(&first, POD.trim_end()).unwrap();
    fs::write(&second, format!("# second\n{POD}")).unwrap();
    let outcome =
        run(["inject".as_ref(), "-f".as_ref(), first.as_os_str(), "-f".as_ref(), second.as_os_str()]);
    assert_eq!(outcome.exits(0).stdout, format!("{POD}---\n# second\n{POD}"));
}

#[test]
fn as_json_all_objects_are_one_list() {
    let stream = format!(
        "{POD}---\n# nothing\n---\napiVersion: v1\nkind: List\nitems: [{{apiVersion: v1, kind: Secret}}]\n"
    );
    let outcome = run_with(stream, ["inject", "--output", "json"]).exits(0);
    let list: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(list["kind"], "List");
    let kinds: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Pod", "Secret"]);
}
