//! Decodes, decides and encodes one admission review, from bytes to bytes and without HTTP.
//!
//! Target: at most 40 µs for a captured review of 4 KB, at most 60 µs for one of 9 KB.

use std::{fs, hint::black_box, path::Path, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{AdmissionContext, Endpoint, NoCluster, review_to_response};
use serde_json::{Value, json};

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures");

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let context = AdmissionContext::new(Settings::default(), KubeVersion::new(1, 36), Arc::new(NoCluster));
    let mut group = criterion.benchmark_group("review");
    for (name, bytes) in reviews(Path::new(CAPTURES)) {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new(name, bytes.len()), |bencher| {
            bencher.iter(|| review_to_response(Endpoint::Mutate, black_box(&bytes), &context));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Every capture, and one enlarged to 9 KB with more containers.
fn reviews(captures: &Path) -> Vec<(String, Vec<u8>)> {
    let mut reviews: Vec<(String, Vec<u8>)> = fs::read_dir(captures)
        .expect("the captures are part of the tests")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a capture can be read"))
        })
        .collect();
    reviews.sort();
    let (_, annotated) = reviews
        .iter()
        .find(|(name, _)| name.ends_with("CREATE-plain-annotated"))
        .expect("the annotated pod is among the captures");
    let grown = grown(annotated, 9 * 1024);
    reviews.push(("grown".to_owned(), grown));
    reviews
}

fn grown(review: &[u8], bytes: usize) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(review).expect("a capture is JSON");
    while review.to_string().len() < bytes {
        let containers =
            review["request"]["object"]["spec"]["containers"].as_array_mut().expect("a pod has containers");
        let mut next = containers[0].clone();
        next["name"] = json!(format!("worker-{}", containers.len()));
        containers.push(next);
    }
    review.to_string().into_bytes()
}
