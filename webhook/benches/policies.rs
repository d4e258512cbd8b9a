//! The cost of policies: the time of `decide` with no policy, with one, and with 5,000 of which one
//! selects the pod, over 2,000 namespaces; also how long a set takes to build, and its memory.
//! Fails if 5,000 policies take more than 1.3 times as long as one.
//!
//! ```text
//! cargo bench -p scaivault-webhook --bench policies
//! ```

use std::{
    fs,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use scaivault_inject::{
    Allow, Context, Expression, KubeVersion, Namespace, Operator, PodView, Policy, PolicyParts, PolicySet,
    Selector, Settings, decide_with_policies,
};
use serde_json::json;

const POLICIES: u32 = 5_000;
const NAMESPACES: u32 = 2_000;
/// The minimum of this many rounds over all namespaces is taken as the cost, because everything
/// else only adds to it.
const ROUNDS: usize = 15;
/// The highest allowed ratio of the time with all policies to the time with one.
const MOST: f64 = 1.3;
const NOW: i64 = 1_800_000_000;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for a person")]
fn main() -> ExitCode {
    let namespaces: Vec<Namespace> = (0..NAMESPACES).map(namespace).collect();
    let pod = json!({
        "metadata": {"name": "web", "labels": {"app": "web", "pod-template-hash": "5b68fc5c79"}, "annotations": {
            "scaivault.scailabs.ai/inject-secret-db.json": "environments/production/team/database",
            "other.example.com/revision": "1",
        }},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "app", "image": "registry.example/app:1"}]},
    })
    .to_string();
    let pod = PodView::parse(&pod).expect("a pod");
    let one = PolicySet::new(vec![selecting()]);
    let before = resident();
    let started = Instant::now();
    let policies: Vec<Policy> = (1..POLICIES).map(other).chain([selecting()]).collect();
    let compiled = started.elapsed();
    let started = Instant::now();
    let all = PolicySet::new(policies.clone());
    let built = started.elapsed();
    let memory = resident().saturating_sub(before);
    let sets = [PolicySet::empty(), &one, &all];
    let mut least = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (least, set) in least.iter_mut().zip(sets) {
            *least = round(&pod, &namespaces, set).min(*least);
        }
    }
    let each = least.map(|time| time.as_secs_f64() * 1e6 / f64::from(NAMESPACES));
    println!("| policies | µs a pod |\n|---|---:|");
    for (name, time) in ["none", "1", "5,000"].iter().zip(each) {
        println!("| {name} | {time:.2} |");
    }
    println!("\n5,000 policies take {:.3} times the time of one", each[2] / each[1]);
    println!("to compile one takes {:.1} µs", compiled.as_secs_f64() * 1e6 / f64::from(POLICIES));
    println!("to build a set of compiled ones takes {:.1} ms", built.as_secs_f64() * 1e3);
    println!(
        "a policy takes {} bytes of resident memory, its places in the index included",
        memory / POLICIES as usize
    );
    drop(policies);
    if each[2] <= MOST * each[1] {
        return ExitCode::SUCCESS;
    }
    eprintln!("at most {MOST} times are allowed");
    ExitCode::FAILURE
}

/// The time of one decision in each namespace.
fn round(pod: &PodView<'_>, namespaces: &[Namespace], policies: &PolicySet) -> Duration {
    let settings = Settings::default();
    let started = Instant::now();
    for namespace in namespaces {
        let context =
            Context::new(&settings, namespace, KubeVersion::new(1, 36)).with_policies(policies, NOW);
        black_box(decide_with_policies(black_box(pod), &context));
    }
    started.elapsed()
}

fn namespace(n: u32) -> Namespace {
    let name = format!("team-{n}");
    let labels = [
        ("kubernetes.io/metadata.name".to_owned(), name.clone()),
        ("team".to_owned(), name.clone()),
        ("scaivault.scailabs.ai/injection".to_owned(), "enabled".to_owned()),
    ];
    Namespace { name, labels: labels.into(), ..Namespace::default() }
}

fn labels(key: &str, value: &str) -> Selector {
    Selector { match_labels: [(key.to_owned(), value.to_owned())].into(), ..Selector::default() }
}

/// The one policy that selects the pods.
fn selecting() -> Policy {
    compile(PolicyParts {
        name: "all".to_owned(),
        namespaces: labels("scaivault.scailabs.ai/injection", "enabled"),
        pods: labels("app", "web"),
        ..parts(0)
    })
}

/// A policy that selects the same namespaces but none of the pods; the condition that fails depends
/// on `n`.
fn other(n: u32) -> Policy {
    let team = format!("team-{}", n % NAMESPACES);
    let mut parts = PolicyParts { name: format!("policy-{n}"), ..parts(n) };
    match n % 4 {
        0 => {
            parts.namespaces = labels("team", &team);
            parts.pods = labels("app", &format!("app-{n}"));
        }
        1 => {
            let values = (0..8).map(|k| format!("app-{n}-{k}")).collect();
            let expression = Expression { key: "app".to_owned(), operator: Operator::In, values };
            parts.pods.match_expressions.push(expression);
        }
        2 => parts.service_accounts = vec![format!("account-{n}")],
        _ => parts.namespaces = labels("kubernetes.io/metadata.name", &format!("other-{n}")),
    }
    compile(parts)
}

fn parts(n: u32) -> PolicyParts {
    let inject = [
        ("inject-secret-api.json", format!("environments/production/${{namespace}}/api-{n}")),
        ("secret-format-api.json", "json".to_owned()),
        ("inject-env-PASSWORD", format!("environments/production/billing/database-{n}#password")),
    ];
    let paths = vec!["environments/production/**".to_owned(), "teams/${namespace}/**".to_owned()];
    PolicyParts {
        generation: 1,
        inject: inject.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        allow: Allow { paths: Some(paths), ..Allow::default() },
        ..PolicyParts::default()
    }
}

fn compile(parts: PolicyParts) -> Policy {
    Policy::compile(parts).expect("the policies made here have no mistakes")
}

/// The resident memory of this process in bytes; 0 if the system does not report it.
fn resident() -> usize {
    const PAGE: usize = 4096;
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE
}
