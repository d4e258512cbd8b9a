use std::collections::BTreeMap;

use proptest::prelude::*;
use scaivault_inject::{Decision, Operation, PolicyReport, Value as Added};
use serde_json::json;

use super::*;
use crate::{
    apply::apply,
    evaluate::{self, Action, Subject},
    offline_cluster::OfflineCluster,
};

fn added(value: Value) -> Added {
    match value {
        Value::String(text) => Added::Text(text),
        Value::Bool(switch) => Added::Switch(switch),
        Value::Null => Added::Null,
        Value::Array(items) => Added::List(items.into_iter().map(added).collect()),
        Value::Object(map) => {
            Added::Object(map.into_iter().map(|(key, value)| (key, added(value))).collect::<BTreeMap<_, _>>())
        }
        Value::Number(_) => panic!("no patch adds a number"),
    }
}

fn add(path: &str, value: Value) -> Operation {
    Operation::Add { path: path.into(), value: added(value) }
}

fn remove(path: &str) -> Operation {
    Operation::Remove { path: path.into() }
}

fn edited(before: &str, operations: Vec<Operation>) -> Result<String, Obstacle> {
    let patch = Patch::new(operations);
    let [document] = yaml_stream::split(before).try_into().expect("one document");
    let mut value = document::parse(&document).unwrap().unwrap();
    apply(&mut value, &patch).unwrap();
    edit(&document, &patch, &value)
}

#[track_caller]
fn check(before: &str, operations: Vec<Operation>, after: &str) {
    let text = edited(before, operations).unwrap_or_else(|obstacle| panic!("{obstacle} in\n{before}"));
    assert_eq!(text, after, "from\n{before}");
}

/// Applies the operations and then their inverses, and compares both results.
#[track_caller]
fn there_and_back(before: &str, operations: Vec<Operation>, inverse: Vec<Operation>, after: &str) {
    check(before, operations, after);
    check(after, inverse, before);
}

#[test]
fn entries_are_appended_below_the_last_one() {
    for (before, after) in [
        ("a: 1\n", "a: 1\nnew: x\n"),
        ("a: 1", "a: 1\nnew: x"),
        ("a: 1\r\n", "a: 1\r\nnew: x\r\n"),
        ("a: 1\r\nb: 2", "a: 1\r\nb: 2\r\nnew: x"),
        ("\u{FEFF}a: 1 # why\n", "\u{FEFF}a: 1 # why\nnew: x\n"),
        ("%YAML 1.2\n---\na: 1\n\n# end\n...\n", "%YAML 1.2\n---\na: 1\nnew: x\n\n# end\n...\n"),
        ("--- # first\na: 1.10\n", "--- # first\na: 1.10\nnew: x\n"),
        ("a:\n  b: |\n    text\n\n# end\n", "a:\n  b: |\n    text\nnew: x\n\n# end\n"),
        ("a:\n  b: |+\n    text\n\n\nc: 1\n", "a:\n  b: |+\n    text\n\n\nc: 1\nnew: x\n"),
        ("a: \"x\n  y\" # z\n", "a: \"x\n  y\" # z\nnew: x\n"),
        ("a: [\n  1,\n]\n", "a: [\n  1,\n]\nnew: x\n"),
        ("a:\n", "a:\nnew: x\n"),
        ("a:\n  # nothing\n", "a:\n  # nothing\nnew: x\n"),
        ("a: !!map\n  b: 1\n", "a: !!map\n  b: 1\nnew: x\n"),
        ("{a: 1}\n", "{a: 1, \"new\": \"x\"}\n"),
        ("{\"a\": 1}\n", "{\"a\": 1,\"new\":\"x\"}\n"),
        ("{\n  \"a\": 1.10\n}\n", "{\n  \"a\": 1.10,\n  \"new\": \"x\"\n}\n"),
    ] {
        there_and_back(before, vec![add("/new", json!("x"))], vec![remove("/new")], after);
    }
}

#[test]
fn nested_entries_use_the_documents_indentation() {
    let value = json!([{"a": {}, "b": [{"k": "v"}], "c": {"d": "e"}}]);
    for (before, after) in [
        (
            "spec:\n  a:\n  - 1\n  # about a\n# about b\nb: 2\n",
            "spec:\n  a:\n  - 1\n  # about a\n  list:\n  - a: {}\n    b:\n    - k: v\n    c:\n      d: e\n# about b\nb: 2\n",
        ),
        (
            "spec:\n  a:\n    - 1\n",
            "spec:\n  a:\n    - 1\n  list:\n    - a: {}\n      b:\n        - k: v\n      c:\n        d: e\n",
        ),
        (
            "spec:\n    a:\n    - 1\n",
            "spec:\n    a:\n    - 1\n    list:\n    - a: {}\n      b:\n      - k: v\n      c:\n          d: e\n",
        ),
        (
            "spec: {a: [1]} # flow\n",
            "spec: {a: [1], \"list\": [{\"a\": {}, \"b\": [{\"k\": \"v\"}], \"c\": {\"d\": \"e\"}}]} # flow\n",
        ),
    ] {
        there_and_back(before, vec![add("/spec/list", value.clone())], vec![remove("/spec/list")], after);
    }
}

#[test]
fn items_are_inserted_at_the_patchs_index() {
    let list = "l:\n# first\n- a # x\n\n# second\n- b:\n    c: 1\n  # of b\nd: 1\n";
    for (index, after) in [
        ("0", "l:\n- new\n# first\n- a # x\n\n# second\n- b:\n    c: 1\n  # of b\nd: 1\n"),
        ("1", "l:\n# first\n- a # x\n- new\n\n# second\n- b:\n    c: 1\n  # of b\nd: 1\n"),
        ("2", "l:\n# first\n- a # x\n\n# second\n- b:\n    c: 1\n  # of b\n- new\nd: 1\n"),
    ] {
        let path = format!("/l/{index}");
        there_and_back(list, vec![add(&path, json!("new"))], vec![remove(&path)], after);
    }
    for (before, path, after) in [
        ("l: # why\n  - a\n", "/l/0", "l: # why\n  - new\n  - a\n"),
        ("l: [a, b]\n", "/l/0", "l: [\"new\", a, b]\n"),
        ("l: [a, b]\n", "/l/1", "l: [a, \"new\", b]\n"),
        ("l: [a, b, ] # c\n", "/l/2", "l: [a, b, \"new\", ] # c\n"),
        ("l: [\n  a, # x\n  b\n]\n", "/l/0", "l: [\n  \"new\",\n  a, # x\n  b\n]\n"),
        ("{\"l\": [\"a\"]}", "/l/0", "{\"l\": [\"new\",\"a\"]}"),
        ("- a\n- b\n", "/0", "- new\n- a\n- b\n"),
        ("l:\n- - a\n  - b\n", "/l/0/1", "l:\n- - a\n  - new\n  - b\n"),
        ("l:\n-\n  - a\n", "/l/0/0", "l:\n-\n  - new\n  - a\n"),
        ("l:\n- # c\n  # d\n  n: 1\n-\n- x", "/l/3", "l:\n- # c\n  # d\n  n: 1\n-\n- x\n- new"),
        ("l:\n- &a\n  n: 1\n- !!str x\n", "/l/1", "l:\n- &a\n  n: 1\n- new\n- !!str x\n"),
    ] {
        there_and_back(before, vec![add(path, json!("new"))], vec![remove(path)], after);
    }
}

#[test]
fn an_empty_value_becomes_a_block_and_empty_again() {
    for (before, after) in [
        ("s:\n  l: [] # none yet\n  m: 1\n", "s:\n  l: # none yet\n  - new\n  m: 1\n"),
        ("s:\n  l: []", "s:\n  l:\n  - new"),
        ("s: {l: []}\n", "s: {l: [\"new\"]}\n"),
        ("{\n  \"l\": []\n}\n", ""),
    ] {
        let path = if before.starts_with('{') { "/l/0" } else { "/s/l/0" };
        let after = if after.is_empty() { "{\n  \"l\": [\n    \"new\"\n  ]\n}\n" } else { after };
        there_and_back(before, vec![add(path, json!("new"))], vec![remove(path)], after);
    }
    there_and_back(
        "l: # c\nm: 1\n",
        vec![add("/l", json!(["new"]))],
        vec![add("/l", json!(null))],
        "l: # c\n- new\nm: 1\n",
    );
    check("a: {}\n", vec![add("/a/k", json!("v"))], "a:\n  k: v\n");
    check("l: null\n", vec![add("/l", json!(["x"]))], "l:\n- x\n");
    check("l: ~ # c\n", vec![add("/l", json!(true))], "l: true # c\n");
    check("m:\n  a: 1\n  b: 2\n", vec![remove("/m/a"), remove("/m/b")], "m: {}\n");
}

#[test]
fn values_are_replaced_in_place() {
    for (before, after) in [
        ("a: old # why\nb: 1\n", "a: new # why\nb: 1\n"),
        ("a: \"o\n  ld\" # why\n", "a: new # why\n"),
        ("a: |\n  old\n  text\nb: 1\n", "a: new\nb: 1\n"),
        ("a: # why\n  old: 1\n  # inside\nb: 1\n", "a: new # why\n  # inside\nb: 1\n"),
        ("a:\nb: 1\n", "a: new\nb: 1\n"),
        ("a:", "a: new"),
        ("{a: , b: 1}\n", "{a: \"new\" , b: 1}\n"),
        ("{\"a\": {\"b\": 1}}", "{\"a\": \"new\"}"),
    ] {
        check(before, vec![add("/a", json!("new"))], after);
    }
    check("a: &x\n  b: 1\n", vec![add("/a/b", json!("new"))], "a: &x\n  b: new\n");
}

#[test]
fn the_first_entry_of_an_item_can_be_removed() {
    check("l:\n- a: 1\n  b: 2\n", vec![remove("/l/0/a")], "l:\n- b: 2\n");
    check("l:\n- a:\n  - 1\n  b: 2\n  c: 3\n", vec![remove("/l/0/a"), remove("/l/0/b")], "l:\n- c: 3\n");
}

#[test]
fn operations_build_on_each_other() {
    check(
        "l:\n- a\n- b\n- c\n",
        vec![
            remove("/l/2"),
            remove("/l/0"),
            add("/l/0", json!("x")),
            add("/l/-", json!("z")),
            remove("/l/1"),
        ],
        "l:\n- x\n- z\n",
    );
    check(
        "m:\n  k: 1\n",
        vec![
            add("/m/l", json!([])),
            add("/m/l/-", json!({"a": "b"})),
            remove("/m/k"),
            add("/m/k", json!("z")),
        ],
        "m:\n  l:\n  - a: b\n  k: z\n",
    );
}

#[test]
fn awkward_values_are_quoted() {
    check("a: 1\n", vec![add("/x~1y", json!("yes"))], "a: 1\nx/y: \"yes\"\n");
    check(
        "a:\n    b: 1\n",
        vec![add("/a/t", json!("l1\nl2\n"))],
        "a:\n    b: 1\n    t: |\n      l1\n      l2\n",
    );
}

#[test]
fn an_uneditable_document_has_a_reason() {
    for (before, path, obstacle) in [
        ("x: &x\n  l: [1]\ny: *x\n", "/x/new", Obstacle::Anchor),
        ("x: &x\n  l: [1]\ny: *x\n", "/y/new", Obstacle::Alias),
        ("x: &x\n  m: {k: 1}\ny:\n  <<: *x\n", "/y/m/new", Obstacle::Merge),
        ("- - a\n", "/0/0", Obstacle::Layout),
        ("? [1]\n: 2\na: 1\n", "/new", Obstacle::Layout),
        ("? a\n: b: 1\n", "/new", Obstacle::Layout),
    ] {
        let value = if before.starts_with('-') { json!("new") } else { json!({}) };
        let [document] = yaml_stream::split(before).try_into().unwrap();
        let patch = Patch::new(vec![add(path, value)]);
        assert_eq!(edit(&document, &patch, &json!(null)), Err(obstacle), "{before}");
    }
    // Above a merge, an explicit key is enough.
    check(
        "x: &x {k: 1}\ny:\n  <<: *x\n",
        vec![add("/y/m", json!("1"))],
        "x: &x {k: 1}\ny:\n  <<: *x\n  m: \"1\"\n",
    );
}

#[test]
fn a_text_that_reads_as_something_else_is_not_written() {
    let [document] = yaml_stream::split("a: 1\n").try_into().unwrap();
    let patch = Patch::new(vec![add("/b", json!("x"))]);
    assert_eq!(edit(&document, &patch, &json!({"a": 1})), Err(Obstacle::Layout));
}

/// Injects or detaches each document; fails if one cannot be edited.
fn run(stream: &str, action: Action) -> Result<String, Obstacle> {
    let mut output = String::new();
    for document in yaml_stream::split(stream) {
        let value = document::parse(&document).unwrap().unwrap_or_default();
        let result =
            evaluate::evaluate(&value, action, &OfflineCluster::default(), false, |subject, context| {
                let decision = match subject {
                    Subject::Workload(workload) => scaivault_inject::workload::decide(workload, context),
                    Subject::Pod(pod) => scaivault_inject::decide(pod, context),
                };
                assert!(!matches!(decision, Decision::Deny(_)), "{decision:?}\n{stream}");
                (decision, PolicyReport::default())
            });
        let patch = evaluate::patch(&result);
        if patch.is_empty() {
            output.push_str(document.text);
            continue;
        }
        let mut changed = value.clone();
        apply(&mut changed, &patch).unwrap();
        output.push_str(&edit(&document, &patch, &changed)?);
    }
    Ok(output)
}

/// A manifest with comments, in one of the common layouts.
fn manifest() -> impl Strategy<Value = String> {
    let lists = prop::sample::select(vec!["", "[]", "null-like", "items", "flow"]);
    (
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        (lists.clone(), lists.clone(), lists),
        prop::collection::vec(
            (
                0_usize..60,
                prop::sample::select(vec![
                    "# note",
                    "  # note",
                    "    # note",
                    "        # note",
                    "              # note",
                    "",
                    "   ",
                ]),
            ),
            0..12,
        ),
        prop::sample::select(vec!["Pod", "Deployment", "CronJob"]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|((compact, sidecar, crlf, last_break), lists, notes, kind, trailing, in_list)| {
            let mut lines = vec![];
            let dash = if compact { "" } else { "  " };
            let list = |lines: &mut Vec<String>, column: &str, key: &str, state: &str, item: &str| match state
            {
                "" => {}
                "[]" => lines.push(format!("{column}{key}: []")),
                "null-like" => lines.push(format!("{column}{key}:")),
                "items" => {
                    lines.push(format!("{column}{key}:"));
                    lines.push(format!("{column}{dash}- name: mine"));
                    lines.push(format!("{column}{dash}  {item}"));
                }
                _ => lines.push(format!("{column}{key}: [{{name: mine, {item}}}]")),
            };
            let (head, depth) = match kind {
                "Pod" => (vec!["apiVersion: v1", "kind: Pod"], 0),
                "Deployment" => (vec!["apiVersion: apps/v1", "kind: Deployment", "spec:", "  template:"], 2),
                _ => (
                    vec![
                        "apiVersion: batch/v1",
                        "kind: CronJob",
                        "spec:",
                        "  jobTemplate:",
                        "    spec:",
                        "      template:",
                    ],
                    4,
                ),
            };
            lines.extend(head.into_iter().map(str::to_owned));
            let column = "  ".repeat(depth);
            lines.push(format!("{column}metadata:"));
            lines.push(format!("{column}  annotations:"));
            lines.push(format!(
                "{column}    scaivault.scailabs.ai/inject-secret-db.json: a/b/c/d   # the database"
            ));
            if sidecar {
                lines.push(format!("{column}    scaivault.scailabs.ai/refresh-interval: 1m"));
            }
            lines.push(format!("{column}spec:"));
            list(&mut lines, &format!("{column}  "), "volumes", lists.0, "emptyDir: {}");
            list(&mut lines, &format!("{column}  "), "initContainers", lists.1, "image: x");
            if kind == "CronJob" {
                lines.push(format!("{column}  restartPolicy: Never"));
            }
            lines.push(format!("{column}  containers:"));
            let container = format!("{column}  {dash}  ");
            lines.push(format!("{column}  {dash}- name: app"));
            lines.push(format!("{container}image: x"));
            list(&mut lines, &container, "volumeMounts", lists.2, "mountPath: /x");
            if trailing {
                lines.push(format!("{container}cpu: 1.10"));
                lines.push(format!("{column}  x: |+"));
                lines.push(format!("{column}    text"));
                lines.push(format!("{column}  y: z"));
            }
            // Inside a `|+` block, a comment would be text.
            let block = lines.iter().position(|line| line.ends_with("|+"));
            for (at, note) in notes {
                let at = at % (lines.len() + 1);
                if block.is_none_or(|block| at <= block) {
                    lines.insert(at, note.to_owned());
                }
            }
            if in_list {
                let mut list =
                    vec!["apiVersion: v1".to_owned(), "kind: List".to_owned(), "items:".to_owned()];
                for _ in 0..2 {
                    list.push("-".to_owned());
                    list.extend(lines.iter().map(|line| format!("  {line}")));
                }
                lines = list;
            }
            let end = if crlf { "\r\n" } else { "\n" };
            lines.join(end) + if last_break { end } else { "" }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn detach_restores_the_document_byte_for_byte(manifest in manifest()) {
        let injected = run(&manifest, Action::Inject)
            .map_err(|obstacle| TestCaseError::fail(format!("inject: {obstacle}\n{manifest}")))?;
        prop_assert!(injected.contains("scaivault-") && injected.contains("receipt"), "{}", injected);
        let detached = run(&injected, Action::Detach)
            .map_err(|obstacle| TestCaseError::fail(format!("detach: {obstacle}\n{injected}")))?;
        prop_assert_eq!(&detached, &manifest, "through\n{}", injected);
        prop_assert_eq!(run(&injected, Action::Inject), Ok(injected));
    }

    /// For every text, an edit gives the expected result or fails; it never panics.
    #[test]
    fn any_text_is_edited_as_expected_or_not_at_all(
        lines in prop::collection::vec(prop::sample::select(vec![
            "a:", "a: 1", "  b: [1, {c: 2}]", "  - x", "- y", "  ? z", "  : 1", "# c", "    # d", "", "b: |", "  text",
            "b: &x {k: 1}", "c: *x", "  <<: *x", "d: \"1", "  2\"", "- - 1", "  - 2", "\t", "e: !!str 1", "{a: 1}",
        ]), 1..10),
        path in prop::sample::select(vec!["/a/n", "/a", "/a/0", "/a/b/1/n", "/b/n", "/a/-", "/c/k", "/0/1"]),
        adds in any::<bool>(),
    ) {
        let text = lines.join("\n");
        for document in yaml_stream::split(&text) {
            let Ok(Some(value)) = document::parse(&document) else { continue };
            let patch = Patch::new(vec![if adds { add(path, json!({"n": ["v"]})) } else { remove(path) }]);
            let mut expected = value.clone();
            if apply(&mut expected, &patch).is_err() {
                continue;
            }
            if let Ok(edited) = edit(&document, &patch, &expected) {
                let [again] = yaml_stream::split(&edited).try_into().unwrap();
                prop_assert_eq!(document::parse(&again).unwrap(), Some(expected));
            }
        }
    }
}
