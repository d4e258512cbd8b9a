use std::collections::BTreeSet;

use super::*;

fn reason(result: Result<(), Rejection>) -> String {
    match result.unwrap_err() {
        Rejection::Value(reason) => reason.into_owned(),
        Rejection::Entries(errors) => panic!("{errors:?}"),
    }
}

fn set(draft: &mut Draft, spec: &AnnotationSpec, value: &str) -> Result<(), Rejection> {
    (spec.set)(draft, &Entry { name: "NAME", value })
}

#[test]
fn no_key_stands_twice_or_hides_another() {
    let keys: BTreeSet<String> = specs().map(|spec| spec.key.display()).collect();
    assert_eq!(keys.len(), specs().count());
    for spec in specs() {
        if let Key::Exact(key) = spec.key {
            assert_eq!(spec_of(key).map(|(found, _)| found.key), Some(spec.key), "{key}");
        }
    }
}

#[test]
fn no_chapter_stands_twice() {
    assert!(REGISTRY.iter().map(|chapter| chapter.group).is_sorted_by(|one, other| one < other));
}

#[test]
fn every_example_is_accepted_and_every_row_says_what_it_does() {
    for spec in specs() {
        let key = spec.key.display();
        assert_eq!(set(&mut Draft::default(), spec, spec.example), Ok(()), "{key}");
        assert!(!spec.doc.is_empty() && !spec.value.allowed().is_empty(), "{key}");
    }
}

/// The documented default of a key is what holds where nobody sets it.
#[test]
fn documented_defaults_are_the_defaults() {
    for spec in specs() {
        if let DefaultValue::Value(value) = spec.default {
            let mut draft = Draft::default();
            assert_eq!(set(&mut draft, spec, value), Ok(()), "{}", spec.key.display());
            assert_eq!(draft, Draft::default(), "{} = {value}", spec.key.display());
        }
    }
}

/// What is written into a row does arrive: an example that differs from the default changes the draft.
#[test]
fn every_row_sets_something() {
    for spec in specs() {
        let checked_only = matches!(spec.key, Key::Exact("mutation-mode"));
        let is_default = spec.default == DefaultValue::Value(spec.example);
        if spec.value != ValueKind::Written && !checked_only && !is_default {
            let mut draft = Draft::default();
            set(&mut draft, spec, spec.example).unwrap();
            assert_ne!(draft, Draft::default(), "{}", spec.key.display());
        }
    }
}

#[test]
fn namespaces_never_name_secrets_or_images() {
    let chapters = REGISTRY.iter().filter(|chapter| matches!(chapter.group, Group::Secrets | Group::Files));
    let named = specs().filter(|spec| matches!(spec.key, Key::Exact("image" | "inject")));
    for spec in chapters.flat_map(|chapter| chapter.specs).chain(named) {
        assert!(!spec.layers.holds(Layer::Namespace), "{}", spec.key.display());
    }
}

#[test]
fn a_name_has_at_most_47_characters_and_stands_once() {
    let (spec, _) = spec_of("inject-secret-x").unwrap();
    let mut draft = Draft::default();
    let mut insert = |name: &str| (spec.set)(&mut draft, &Entry { name, value: "a/b" });
    assert_eq!(insert(&"n".repeat(47)), Ok(()));
    assert!(reason(insert(&"n".repeat(48))).contains("47"));
    assert_eq!(insert("db"), Ok(()));
    let (dynamic, _) = spec_of("inject-dynamic-x").unwrap();
    let entry = Entry { name: "db", value: "engine=e role=r" };
    assert!(reason((dynamic.set)(&mut draft, &entry)).contains("inject-secret-db"));
}
