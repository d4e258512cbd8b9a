//! Labels, and matching them with selectors.

use std::{cell::OnceCell, collections::BTreeMap};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    parts::{Expression, Operator, Selector},
    variables::Texts,
};
use crate::pod::{AnyValue, PodView, Text, last_of_each};

impl Texts for BTreeMap<String, String> {
    fn get(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// The labels of a pod. Parsed lazily, because they are only needed with policies or variables.
#[derive(Debug)]
pub(crate) struct PodLabels<'a> {
    json: Option<&'a RawValue>,
    read: OnceCell<Map<'a>>,
}

impl<'a> PodLabels<'a> {
    /// The labels of a pod.
    pub(crate) const fn from_pod(pod: &PodView<'a>) -> Self {
        Self::new(pod.metadata.labels)
    }

    /// No labels.
    pub(super) const fn none() -> Self {
        Self::new(None)
    }

    /// `metadata.labels`. Values that are not strings are ignored, because the API server would
    /// reject them.
    const fn new(json: Option<&'a RawValue>) -> Self {
        Self { json, read: OnceCell::new() }
    }

    fn read(&self) -> &[(Text<'a>, Text<'a>)] {
        let parse = || self.json.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default();
        &self.read.get_or_init(parse).0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.read().iter().map(|(key, value)| (&**key, &**value))
    }
}

impl Texts for PodLabels<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let labels = self.read();
        let at = labels.binary_search_by(|(found, _)| (**found).cmp(key)).ok()?;
        labels.get(at).map(|(_, value)| &**value)
    }
}

/// Labels, sorted by unique key.
#[derive(Debug, Default)]
struct Map<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Map<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of labels")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Map::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if let AnyValue::Text(value) = map.next_value::<AnyValue<'de>>()? {
                        labels.push((key, value));
                    }
                }
                last_of_each(&mut labels);
                Ok(Map(labels))
            }
        }
        deserializer.deserialize_any(LabelsVisitor)
    }
}

/// Whether a selector matches labels. The values of its expressions must be sorted.
pub(super) fn matches(selector: &Selector, labels: &dyn Texts) -> bool {
    let Selector { match_labels, match_expressions } = selector;
    match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().all(|expression| holds(expression, labels))
}

fn holds(expression: &Expression, labels: &dyn Texts) -> bool {
    let Expression { key, operator, values } = expression;
    let found = labels.get(key);
    let is_listed = |found: &str| values.binary_search_by(|value| value.as_str().cmp(found)).is_ok();
    match operator {
        Operator::In => found.is_some_and(is_listed),
        Operator::NotIn => !found.is_some_and(is_listed),
        Operator::Exists => found.is_some(),
        Operator::DoesNotExist => found.is_none(),
    }
}

/// Whether two selectors can match the same labels. False only if they require different values of
/// one label.
pub(super) fn may_overlap(one: &Selector, other: &Selector) -> bool {
    let is_apart = |one: &Selector, other: &Selector| {
        required(one).any(|(key, values)| {
            let forbidden = other.match_expressions.iter().any(|expression| {
                expression.key == key
                    && match expression.operator {
                        Operator::DoesNotExist => true,
                        Operator::NotIn => {
                            !values.is_empty() && values.iter().all(|value| expression.values.contains(value))
                        }
                        Operator::In | Operator::Exists => false,
                    }
            });
            let differs = !values.is_empty()
                && required(other).any(|(found, others)| {
                    found == key && !others.is_empty() && values.iter().all(|value| !others.contains(value))
                });
            forbidden || differs
        })
    };
    !is_apart(one, other) && !is_apart(other, one)
}

/// The labels that a selector requires, and their accepted values; empty if any value is accepted.
fn required(selector: &Selector) -> impl Iterator<Item = (&str, &[String])> {
    let labels = selector.match_labels.iter().map(|(key, value)| (key.as_str(), std::slice::from_ref(value)));
    let expressions = selector.match_expressions.iter().filter_map(|expression| match expression.operator {
        Operator::In => Some((expression.key.as_str(), expression.values.as_slice())),
        Operator::Exists => Some((expression.key.as_str(), &[][..])),
        Operator::NotIn | Operator::DoesNotExist => None,
    });
    labels.chain(expressions)
}

/// The labels of which a selector requires certain values, with these values.
pub(super) fn equalities(selector: &Selector) -> impl Iterator<Item = (&str, &[String])> {
    required(selector).filter(|(_, values)| !values.is_empty())
}

/// A label key that a selector requires.
pub(super) fn required_key(selector: &Selector) -> Option<&str> {
    required(selector).map(|(key, _)| key).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(labels: &[(&str, &str)], expressions: &[(&str, Operator, &[&str])]) -> Selector {
        Selector {
            match_labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            match_expressions: expressions
                .iter()
                .map(|(key, operator, values)| Expression {
                    key: (*key).to_owned(),
                    operator: *operator,
                    values: values.iter().map(|value| (*value).to_owned()).collect(),
                })
                .collect(),
        }
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let json = RawValue::from_string(r#"{"app":"web","tier":"f\u0072ont","n":1,"app":"api"}"#.to_owned());
        let json = json.unwrap();
        let labels = PodLabels::new(Some(&json));
        for (selector, expected) in [
            (selector(&[], &[]), true),
            (selector(&[("app", "api")], &[]), true),
            (selector(&[("app", "web")], &[]), false),
            (selector(&[("app", "api"), ("tier", "front")], &[]), true),
            (selector(&[("n", "1")], &[]), false),
            (selector(&[], &[("app", Operator::In, &["api", "web"])]), true),
            (selector(&[], &[("app", Operator::NotIn, &["api", "web"])]), false),
            (selector(&[], &[("team", Operator::NotIn, &["a"])]), true),
            (selector(&[], &[("app", Operator::Exists, &[])]), true),
            (selector(&[], &[("app", Operator::DoesNotExist, &[])]), false),
            (selector(&[], &[("team", Operator::In, &["a"])]), false),
        ] {
            assert_eq!(matches(&selector, &labels), expected, "{selector:?}");
        }
    }

    #[test]
    fn selectors_are_apart_if_a_label_decides() {
        let api = selector(&[("app", "api")], &[]);
        for (other, expected) in [
            (selector(&[], &[]), true),
            (selector(&[("app", "web")], &[]), false),
            (selector(&[("tier", "front")], &[]), true),
            (selector(&[], &[("app", Operator::In, &["api", "web"])]), true),
            (selector(&[], &[("app", Operator::In, &["web"])]), false),
            (selector(&[], &[("app", Operator::NotIn, &["api"])]), false),
            (selector(&[], &[("app", Operator::NotIn, &["web"])]), true),
            (selector(&[], &[("app", Operator::DoesNotExist, &[])]), false),
            (selector(&[], &[("app", Operator::Exists, &[])]), true),
        ] {
            assert_eq!(may_overlap(&api, &other), expected, "{other:?}");
            assert_eq!(may_overlap(&other, &api), expected, "{other:?}");
        }
    }
}
