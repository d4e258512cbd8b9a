//! Unchanged documents are written back byte for byte.

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
fn colours_can_be_switched_off() {
    let has_colours = |variables: &[&str]| {
        let mut command = super::program::command(["check", "-f", "examples/namespace-defaults.yaml"]);
        command.envs(variables.iter().map(|name| (name, "1")));
        command.output().unwrap().stdout.contains(&b'\x1b')
    };
    assert!(has_colours(&["CLICOLOR_FORCE"]), "there are colours to leave out");
    assert!(!has_colours(&["CLICOLOR_FORCE", "NO_COLOR"]));
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

/// Each is valid by itself; joined without a marker they would not be.
#[test]
fn files_that_begin_with_a_brace_stay_apart() {
    let directory = tempfile::tempdir().unwrap();
    let flow = "{apiVersion: v1, kind: Service, metadata: {name: a}}\n";
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Service\"}\n";
    for (first, second, expected) in [
        (flow.to_owned(), flow.to_owned(), 2),
        (format!("{json}---\n{json}"), json.to_owned(), 3),
        (format!("{json}{json}"), POD.to_owned(), 3),
        (POD.to_owned(), flow.to_owned(), 2),
    ] {
        fs::write(directory.path().join("a.yaml"), &first).unwrap();
        fs::write(directory.path().join("b.yaml"), &second).unwrap();
        let joined = run(["inject".as_ref(), "-f".as_ref(), directory.path().as_os_str()]).exits(0).stdout;
        let documents = serde_saphyr::from_multiple::<serde_json::Value>(&joined);
        assert_eq!(documents.expect(&joined).len(), expected, "{joined}");
    }
}

/// A value that is not an object is a mistake in the input, and must not be dropped silently.
#[test]
fn json_output_loses_no_value() {
    let stream = "apiVersion: v1\nkind: List\nitems: [{foo: bar}, text]\n---\n- 1\n";
    let outcome =
        run_with(stream, ["inject", "--output", "json"]).exits(0).says("(items/0) skipped (no-object)");
    let list: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(list["items"], serde_json::json!([{"foo": "bar"}, "text", [1]]));
}
