//! Pods of every shape.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use scaivault_inject::Namespace;
use scaivault_testkit::random::{annotated_pods, any_pods, ordinary_pods};
use serde_json::Value;

use crate::laws;

/// Makes an annotated pod of the bytes, which stand in for the random numbers of the test kit's generators, and checks
/// the laws on it.
pub fn inverse(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let pod = if first % 2 == 0 {
        generate(annotated_pods(ordinary_pods()), rest)
    } else {
        generate(annotated_pods(any_pods()), rest)
    };
    if let Some(pod) = pod {
        laws::check(&pod, &Namespace::default());
    }
}

fn generate(pods: impl Strategy<Value = Value>, bytes: &[u8]) -> Option<Value> {
    let random = TestRng::from_seed(RngAlgorithm::PassThrough, bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    pods.new_tree(&mut runner).ok().map(|tree| tree.current())
}
