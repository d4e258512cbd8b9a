use std::collections::BTreeSet;

use scaivault_contract::{
    FileMode,
    memory::{AGENT_MEMORY_MIB, AGENT_MEMORY_RESERVE_MIB},
};

use super::*;
use crate::layer::Layer;

fn reason(result: Result<(), Rejection>) -> String {
    match result.unwrap_err() {
        Rejection::Value(reason) => reason.into_owned(),
        Rejection::Entries(errors) => panic!("{errors:?}"),
        Rejection::Name(error) => error.message,
    }
}

fn set(draft: &mut Draft, spec: &AnnotationSpec, value: &str) -> Result<(), Rejection> {
    (spec.set)(draft, &Entry { name: "NAME", value })
}

#[test]
fn keys_are_unique_and_hide_no_other() {
    let keys: BTreeSet<String> = specs().map(|spec| spec.key.display()).collect();
    assert_eq!(keys.len(), specs().count());
    for spec in specs() {
        if let Key::Exact(key) = spec.key {
            assert_eq!(spec_of(key.text()).map(|(found, _)| found.key), Some(spec.key), "{key}");
        }
    }
}

#[test]
fn every_key_has_its_row() {
    for key in ExactKey::ALL {
        assert_eq!(spec_for(*key).key, Key::Exact(*key));
    }
    let named: BTreeSet<NamedKey> = specs()
        .filter_map(|spec| match spec.key {
            Key::Named(key) => Some(key),
            Key::Exact(_) => None,
        })
        .collect();
    assert!(named.iter().eq(NamedKey::ALL));
}

#[test]
fn sections_are_unique() {
    assert!(REGISTRY.iter().map(|section| section.group).is_sorted_by(|one, other| one < other));
}

#[test]
fn every_example_is_accepted_and_every_row_has_a_text() {
    for spec in specs() {
        let key = spec.key.display();
        for example in spec.examples {
            assert_eq!(set(&mut Draft::default(), spec, example), Ok(()), "{key}: {example}");
        }
        assert!(!spec.doc.is_empty() && !spec.value.allowed().is_empty(), "{key}");
    }
}

/// The documented default of a key is the one that applies if no layer sets it.
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

/// Each row has an example that changes the draft, so that the property tests cover it.
#[test]
fn every_row_sets_something() {
    for spec in specs() {
        let is_only_checked = spec.key == Key::Exact(ExactKey::MutationMode) || spec.key.is_for_restarts();
        if spec.value != ValueKind::Written && !is_only_checked {
            let changes = |example: &&str| {
                let mut draft = Draft::default();
                set(&mut draft, spec, example).unwrap();
                draft != Draft::default()
            };
            assert!(spec.examples.iter().any(changes), "{} needs such an example", spec.key.display());
        }
    }
}

#[test]
fn namespaces_never_name_secrets_or_images() {
    let sections = REGISTRY.iter().filter(|section| matches!(section.group, Group::Secrets | Group::Files));
    let named = specs().filter(|spec| matches!(spec.key, Key::Exact(ExactKey::Image | ExactKey::Inject)));
    for spec in sections.flat_map(|section| section.specs).chain(named) {
        assert!(!spec.setters.include(&Layer::Namespace), "{}", spec.key.display());
    }
}

#[test]
fn a_name_is_unique_and_has_at_most_47_characters() {
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

/// Documented defaults repeat constants of the code, and hand-written pages repeat them once more.
#[test]
fn defaults_in_words_name_the_constants() {
    let words = |key| match spec_for(key).default {
        DefaultValue::Words(words) => words,
        other => panic!("{key}: {other:?}"),
    };
    let least = format!("`volume-size-limit` + {AGENT_MEMORY_MIB}Mi");
    let usual = format!("`volume-size-limit` + {}Mi", AGENT_MEMORY_MIB + AGENT_MEMORY_RESERVE_MIB);
    assert_eq!(words(ExactKey::LimitsMemory), usual);
    assert!(spec_for(ExactKey::LimitsMemory).doc.contains(&least));
    for page in
        [include_str!("../../../../../docs/agent.md"), include_str!("../../../../../docs/troubleshooting.md")]
    {
        assert!(page.contains(&usual), "a page names another default than {usual}");
    }
    let (spec, _) = spec_of("secret-mode-x").unwrap();
    let [default, owner] = [FileMode::DEFAULT, FileMode::OWNER_ONLY];
    let expected = format!("`{default}`; `{owner}` when the agent and every reader share one uid");
    assert!(matches!(spec.default, DefaultValue::Words(text) if text == expected), "{expected}");
}
