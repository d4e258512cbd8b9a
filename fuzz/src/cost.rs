//! The cost of an answer.

use std::{fmt::Write as _, hint::black_box, sync::Arc, sync::LazyLock};

use scaivault_inject::{KubeVersion, Settings, work};
use scaivault_testkit::PREFIX;
use scaivault_webhook::{AdmissionContext, Endpoint, NoCluster, review_to_response};

static CONTEXT: LazyLock<AdmissionContext> = LazyLock::new(|| {
    AdmissionContext::new(Settings::default(), KubeVersion::FILE_KEY_REF, Arc::new(NoCluster))
});

/// The longest body that the injector reads.
const BODY_BYTES: usize = 7 * 1024 * 1024;
/// The maximum number of copies of one line; the core handles no larger pods.
const MOST: usize = 20_000;

/// Builds a review from lines and another with each line twice as often, and reports
/// disproportionate cost.
///
/// A line is `<count> <kind> <content>`, where `#` in the content is the number of the copy: `a` is
/// an annotation `key=value`, `c` a container, `i` an init container, `v` a volume, `s` a member of
/// the spec, and `e` or `m` a variable or mount of each container. So a short input describes a
/// large review, and the fuzzer finds what grows.
pub fn cost(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (small, large) = (review(&text, 1), review(&text, 2));
    if large.len() > BODY_BYTES {
        return;
    }
    let (before, after) = (steps(&small), steps(&large));
    let bytes = large.len() as u64;
    assert!(
        after <= work::most(bytes),
        "{bytes} bytes take {after} steps, and {} are allowed",
        work::most(bytes)
    );
    // Twice the lines may give four times the bytes, because variables are repeated in each
    // container.
    let growth = bytes / small.len() as u64 + 1;
    assert!(
        after <= work::most(0) + 2 * growth * before,
        "{} bytes take {before} steps, and {bytes} bytes {after}",
        small.len()
    );
}

fn review(text: &str, times: usize) -> String {
    let copies = |wanted: &str| {
        let mut copies = Vec::new();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(count), Some(place), Some(what)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let count = count.parse::<usize>().unwrap_or(1).saturating_mul(times).min(MOST);
            if place == wanted {
                copies.extend((0..count).map(|n| what.replace('#', &n.to_string())));
            }
        }
        copies
    };
    let joined = |wanted: &str| copies(wanted).join(",");
    let (variables, mounts) = (joined("e"), joined("m"));
    let containers = |wanted: &str| {
        let with = |container: String| {
            container.replacen('{', &format!(r#"{{"env":[{variables}],"volumeMounts":[{mounts}],"#), 1)
        };
        copies(wanted).into_iter().map(with).collect::<Vec<_>>().join(",")
    };
    let annotations = copies("a").into_iter().map(|annotation| {
        let (key, value) = annotation.split_once('=').unwrap_or((&annotation, ""));
        format!("{}:{}", json(&format!("{PREFIX}{key}")), json(value))
    });
    let mut spec = format!(
        r#""containers":[{}],"initContainers":[{}],"volumes":[{}]"#,
        containers("c"),
        containers("i"),
        joined("v")
    );
    for member in copies("s") {
        write!(spec, ",{member}").expect("writing into a String cannot fail");
    }
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u-1","kind":{{"group":"","version":"v1","kind":"Pod"}},"namespace":"shop","operation":"CREATE","object":{{"metadata":{{"annotations":{{{}}}}},"spec":{{{spec}}}}}}}}}"#,
        annotations.collect::<Vec<_>>().join(",")
    )
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// How often the core accesses the texts of a review: unlike a time, the number is the same on
/// every machine.
fn steps(review: &str) -> u64 {
    work::take();
    black_box(review_to_response(Endpoint::Mutate, review.as_bytes(), &CONTEXT));
    work::take()
}
