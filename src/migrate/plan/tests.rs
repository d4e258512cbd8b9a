use std::collections::BTreeMap;

use serde_json::json;

use super::{super::report::Report, *};

fn workload(namespace: &str, kind: &str, name: &str) -> MigratedWorkload {
    MigratedWorkload {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        original: String::new(),
        migrated: String::new(),
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        has_sidecar: kind == "Deployment",
        secrets: BTreeSet::from([name.to_owned()]),
        job: Some(json!({"metadata": {"name": format!("verify-{name}")}})),
    }
}

fn migration(workloads: Vec<MigratedWorkload>) -> Migration {
    Migration { workloads, ..Migration::default() }
}

fn order(plan: &Plan) -> Vec<Vec<String>> {
    let names = |batch: &Batch| {
        batch.workloads.iter().map(|workload| format!("{}/{}", workload.namespace, workload.name)).collect()
    };
    plan.batches.iter().map(names).collect()
}

#[test]
fn one_workload_is_first_and_production_last() {
    let workloads = vec![
        workload("shop-prod", "Deployment", "a"),
        workload("shop", "StatefulSet", "b"),
        workload("shop", "Deployment", "c"),
        workload("shop-staging", "Deployment", "d"),
        workload("shop-dev", "Deployment", "e"),
        workload("shop-preprod", "Deployment", "f"),
    ];
    let migration = migration(workloads);
    let plan = Plan::new(&migration, 3, &[]);
    assert_eq!(
        order(&plan),
        [
            vec!["shop-dev/e"],
            vec!["shop-preprod/f", "shop-staging/d"],
            vec!["shop/c", "shop/b"],
            vec!["shop-prod/a"]
        ]
    );
    let small = Plan::new(&migration, 1, &[]);
    assert_eq!(small.batches.len(), 6);
    let plan = Plan::new(&migration, 10, &["shop-prod".to_owned()]);
    assert_eq!(order(&plan)[0], ["shop-prod/a"]);
}

#[test]
fn commands_are_lists_of_arguments() {
    let hostile = workload("shop", "Deployment", "x; rm -rf $(pwd)");
    let plan = Plan::new(&migration(vec![hostile, workload("shop", "Job", "j")]), 10, &[]);
    let steps = &plan.batches[0].steps;
    let rollout = steps.iter().find(|step| step.phase == Phase::Rollout).unwrap();
    assert_eq!(
        rollout.command,
        ["kubectl", "rollout", "status", "--namespace=shop", "deployment/x; rm -rf $(pwd)", "--timeout=10m"]
    );
    let page = markdown(&plan);
    assert!(
        page.contains("kubectl rollout status --namespace=shop 'deployment/x; rm -rf $(pwd)' --timeout=10m"),
        "{page}"
    );
    let apply = plan.batches[1].steps.iter().find(|step| step.phase == Phase::Apply).unwrap();
    assert_eq!(
        apply.command,
        ["kubectl", "replace", "--namespace=shop", "--force", "-f", "batches/02/apply/shop-job-j.yaml"]
    );
}

#[test]
fn every_batch_ends_with_the_rollback() {
    let plan = Plan::new(&migration(vec![workload("shop", "Deployment", "a")]), 10, &[]);
    let batch = &plan.batches[0];
    let mut phases: Vec<Phase> = batch.steps.iter().map(|step| step.phase).collect();
    phases.dedup();
    assert_eq!(
        phases,
        [Phase::Compare, Phase::Baseline, Phase::Apply, Phase::Rollout, Phase::Verify, Phase::Latency]
    );
    let verify = batch.steps.iter().find(|step| step.phase == Phase::Verify).unwrap();
    assert_eq!(
        verify.command,
        [
            "kubectl",
            "exec",
            "--namespace=shop",
            "deployment/a",
            "--container=scaivault-sidecar",
            "--",
            "/scaivault-agent",
            "verify"
        ]
    );
    assert_eq!(
        batch.rollback[0].command,
        ["kubectl", "apply", "--namespace=shop", "-f", "batches/01/rollback/shop-deployment-a.yaml"]
    );
}

#[test]
fn a_secret_that_is_still_used_is_not_deleted() {
    let mut migration =
        migration(vec![workload("shop", "Deployment", "a"), workload("shop", "Deployment", "b")]);
    migration.still_used.insert(("shop".to_owned(), "b".to_owned()));
    let plan = Plan::new(&migration, 10, &[]);
    let commands: Vec<_> = plan.finish.iter().map(|step| step.command.join(" ")).collect();
    assert_eq!(commands, ["kubectl delete secret --namespace=shop a"]);
}

/// Names come from untrusted manifests: they must not be read as Markdown.
#[test]
fn remaining_work_is_listed_as_text() {
    use super::super::report::{Entry, Outcome};
    let entry = Entry {
        file: "a.yaml".to_owned(),
        line: 3,
        pointer: String::new(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "x`<script>".to_owned(),
        outcome: Outcome::Left { problems: vec!["it has <b>\n# x".to_owned()], missing: BTreeSet::new() },
        rewritten: None,
        diff: None,
    };
    let report = Report { entries: vec![entry], ..Report::default() };
    let page = markdown(&Plan::new(&Migration { report, ..Migration::default() }, 10, &[]));
    assert!(
        page.contains("* `shop/deployment/x'<script>` (`a.yaml:3`)\n  * it has \\<b\\>\\\\n\\# x\n"),
        "{page}"
    );
    assert!(page.contains("No workload is migrated."));
}

#[test]
fn files_of_a_batch_stay_in_it_and_differ() {
    let plan = Plan::new(
        &migration(vec![
            workload("", "Pod", "first"),
            workload("..", "Deployment", "../../x"),
            workload("..", "Deployment", "..-..-x"),
        ]),
        10,
        &[],
    );
    let files: Vec<_> = plan
        .batches
        .iter()
        .flat_map(|batch| &batch.workloads)
        .map(|workload| workload.file.as_str())
        .collect();
    assert!(files.iter().all(|file| !file.contains('/') && !file.contains("..")), "{files:?}");
    let unique: BTreeSet<_> = files.iter().collect();
    assert_eq!(unique.len(), 3, "{files:?}");
}
