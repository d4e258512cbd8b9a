//! Annotations written by users.

use std::collections::BTreeMap;

use scaivault_inject::Namespace;
use scaivault_testkit::PREFIX;

use crate::laws;

/// Parses lines of `key=value` as annotations of a pod, and lines that start with `@` as
/// annotations of its namespace. Keys have no prefix.
pub fn annotations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut pod = scaivault_testkit::pod();
    let mut namespace = BTreeMap::new();
    for (key, value) in lines(&text) {
        match key.strip_prefix('@') {
            Some(key) => {
                namespace.insert(format!("{PREFIX}{key}"), value.to_owned());
            }
            None => pod = pod.annotate(key, value),
        }
    }
    let namespace = Namespace { name: "billing".to_owned(), annotations: namespace, ..Namespace::default() };
    laws::check(&pod.json(), &namespace);
}

/// Keys and values, one pair per line; a line without `=` is a key without a value.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().map(|line| line.split_once('=').unwrap_or((line, "")))
}
