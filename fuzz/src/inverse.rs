//! Pods of every shape.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use scaivault_inject::{
    Namespace,
    annotations::{AnnotationSpec, Key, ValueKind, specs},
};
use scaivault_testkit::random::{AnnotationKey, annotated_pods, any_pods, ordinary_pods};
use serde_json::Value;

use crate::{annotations, laws};

/// Builds a pod from the bytes and checks the laws on it: the first byte selects pods that should
/// be injected or pods of any kind, the next 32 seed the test kit's generator, and the rest are
/// further annotations as lines of `key=value`.
///
/// The bytes are not used directly as random numbers: they would run out, and rejection sampling
/// does not terminate on an endless sequence of zeros.
pub fn inverse(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let (seed, lines) = rest.split_at(rest.len().min(SEED_BYTES));
    let pod = if kind % 2 == 0 {
        generate(annotated_pods(ordinary_pods(), keys()), seed)
    } else {
        generate(annotated_pods(any_pods(), keys()), seed)
    };
    let Some(mut pod) = pod else { return };
    let lines = String::from_utf8_lossy(lines);
    for (key, value) in annotations::lines(&lines) {
        pod["metadata"]["annotations"][scaivault_testkit::key(key)] = value.into();
    }
    laws::check(&pod, &Namespace::default());
}

fn keys() -> Vec<AnnotationKey> {
    let row = |spec: &AnnotationSpec| AnnotationKey {
        text: spec.key.text(),
        takes_name: matches!(spec.key, Key::Named(_)),
        is_written: spec.value == ValueKind::Written,
        examples: spec.examples,
    };
    specs().map(row).collect()
}

/// The length of the generator's seed.
const SEED_BYTES: usize = 32;

fn generate(pods: impl Strategy<Value = Value>, bytes: &[u8]) -> Option<Value> {
    let mut seed = [0; SEED_BYTES];
    seed[..bytes.len()].copy_from_slice(bytes);
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    pods.new_tree(&mut runner).ok().map(|tree| tree.current())
}
