use super::*;

#[test]
fn absent_null_and_empty_lists_are_distinguished() {
    let pod = PodView::parse(r#"{"spec":{"volumes":null,"containers":[]}}"#).unwrap();
    assert!(matches!(pod.spec.volumes, List::Null));
    assert!(matches!(pod.spec.init_containers, List::Absent));
    assert!(matches!(&pod.spec.containers, List::Items(items) if items.is_empty()));
}

#[test]
fn own_annotations_are_sorted_and_the_last_repetition_counts() {
    let json = r#"{"metadata":{"annotations":{"scaivault.scailabs.ai/url":"a","other":"x",
        "scaivault.scailabs.ai/role":"","scaivault.scailabs.ai/url":"b"}}}"#;
    let pod = PodView::parse(json).unwrap();
    assert_eq!(pod.annotations().collect::<Vec<_>>(), [("role", ""), ("url", "b")]);
    assert_eq!(pod.metadata.annotations.others, 1);
}

#[test]
fn values_that_are_no_text_are_kept_apart() {
    let json = r#"{"metadata":{"annotations":{"scaivault.scailabs.ai/url":"a","scaivault.scailabs.ai/inject":true,
        "scaivault.scailabs.ai/role":null,"scaivault.scailabs.ai/x":288,"scaivault.scailabs.ai/y":[{"a":1}],"z":7}}}"#;
    let pod = PodView::parse(json).unwrap();
    assert_eq!(pod.annotations().collect::<Vec<_>>(), [("url", "a")]);
    assert_eq!(pod.keys_without_text().collect::<Vec<_>>(), ["inject", "role", "x", "y"]);
    let values: Vec<_> = pod.metadata.annotations.not_text.into_iter().map(|(_, value)| value).collect();
    let scalar = |text: &str| NotText::Scalar(text.to_owned());
    assert_eq!(values, [scalar("true"), NotText::Null, scalar("288"), NotText::Tree]);
}

#[test]
fn numbers_are_quantities_and_unknown_fields_are_skipped() {
    let json = r#"{"spec":{"later":{"deep":[1]},"containers":[{"name":"a","resources":{"limits":{"cpu":1,"gpu":"x"}}}]}}"#;
    let pod = PodView::parse(json).unwrap();
    assert_eq!(pod.spec.containers.as_slice()[0].resources.limits.cpu.as_ref().unwrap().0, "1");
}

#[test]
fn windows_by_os_or_by_node_selector() {
    for json in [
        r#"{"spec":{"os":{"name":"windows"}}}"#,
        r#"{"spec":{"nodeSelector":{"kubernetes.io/os":"windows","a":"b"}}}"#,
    ] {
        assert!(PodView::parse(json).unwrap().is_windows(), "{json}");
    }
    assert!(!PodView::parse(r#"{"spec":{"os":null,"nodeSelector":null}}"#).unwrap().is_windows());
}

#[test]
fn a_list_is_not_an_object() {
    for json in ["[]", r#"{"spec":[]}"#, r#"{"metadata":[]}"#] {
        assert!(PodView::parse(json).is_err(), "{json}");
    }
}

/// A list of small items takes dozens of times its size in memory, so it is not read to its end.
#[test]
fn oversized_lists_are_not_read_completely() {
    let list = |item: &str, count: usize| format!("[{}{item}]", format!("{item},").repeat(count - 1));
    for (open, close, item, most, what) in [
        (r#"{"spec":{"containers":"#, "}}", "{}", 1_000, "containers"),
        (r#"{"spec":{"initContainers":"#, "}}", "{}", 1_000, "containers"),
        (r#"{"spec":{"volumes":"#, "}}", "{}", 2_000, "volumes"),
        (r#"{"spec":{"volumes":[{"projected":{"sources":"#, "}}]}}", "{}", 2_000, "sources of a volume"),
        (r#"{"spec":{"containers":[{"env":"#, "}]}}", "{}", 5_000, "variables of a container"),
        (r#"{"spec":{"containers":[{"volumeMounts":"#, "}]}}", "{}", 5_000, "mounts of a container"),
        (r#"{"spec":{"containers":[{"args":"#, "}]}}", r#""""#, 5_000, "words of a command"),
        (r#"{"spec":{"containers":[{"command":"#, "}]}}", r#""""#, 5_000, "words of a command"),
    ] {
        let enough = format!("{open}{}{close}", list(item, most));
        assert!(PodView::parse(&enough).is_ok(), "{open}");
        // The rest is not valid JSON, and is not read.
        let more = format!("{open}[{}!", format!("{item},").repeat(most + 1));
        let error = PodView::parse(&more).unwrap_err().to_string();
        assert!(error.starts_with(&format!("not a pod: more than {most} {what} at line 1")), "{error}");
    }
    let env = list("{}", 4_000);
    let containers = list(&format!(r#"{{"env":{env}}}"#), 100);
    let error = PodView::parse(&format!(r#"{{"spec":{{"containers":{containers}}}}}"#)).unwrap_err();
    assert!(error.to_string().starts_with("not a pod: more than 20000 members and items"), "{error}");
}

#[test]
fn a_refusal_names_no_type_of_this_program() {
    for (pod, expected) in [
        (
            r#"{"spec":{"containers":["app"]}}"#,
            r#"not a pod: invalid type: string "app", expected an object at line 1"#,
        ),
        (r#"{"spec":{"volumes":["x"]}}"#, r#"not a pod: invalid type: string "x", expected an object"#),
    ] {
        let error = PodView::parse(pod).unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains("View"), "{error}");
    }
}
