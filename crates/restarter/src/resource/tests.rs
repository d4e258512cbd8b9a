use kube_core::CustomResourceExt as _;
use serde_json::Value;

use super::*;
use crate::ledger::Wait;

fn ledger(sources: &mut Sources) -> Ledger {
    let vault = sources.intern("team", &SourceRef::new(SourceKind::ScaiVault, "a/b"));
    let native = sources.intern("team", &SourceRef::new(SourceKind::Secret, "db"));
    let class = sources.intern("team", &SourceRef::new(SourceKind::Class, "files"));
    let mut ledger = Ledger {
        pending: Some(PendingRestart {
            since: 1_790_000_000,
            is_manual: true,
            was_healthy: true,
            versions: vec![(vault, Version::Numbered { time: 1_790_000_000, number: 8 })],
        }),
        restarts: vec![1_780_000_000, 1_785_000_000],
        rollout: Some(RolloutRecord {
            outcome: Outcome::Failed(Failure::PodsFailing),
            ..RolloutRecord::new(1_785_000_000, Start::Scheduled, true)
        }),
        released: "then".into(),
        phase: Phase::Waiting(Wait::Release),
        ..Ledger::default()
    };
    for (source, version) in [
        (vault, Version::Numbered { time: 1_780_000_000, number: 7 }),
        (native, Version::Numbered { time: 1_770_000_000, number: 0 }),
        (class, Version::Label(0xfeed)),
    ] {
        ledger.accept(AcceptedVersion {
            source,
            version,
            trial: if source == vault { Trial::Failed { is_scheduled: true } } else { Trial::None },
        });
    }
    ledger
}

#[test]
fn a_ledger_is_read_as_it_was_written() {
    let mut sources = Sources::default();
    for (outcome, start, is_scheduled) in [
        (Outcome::Running, Start::Scheduled, true),
        (Outcome::Succeeded { at: 1_785_000_050 }, Start::Released, false),
        (Outcome::Failed(Failure::Paused), Start::Adopted, true),
    ] {
        let mut ledger = ledger(&mut sources);
        let (progressed, well_since) = (1_785_000_040, is_scheduled.then_some(1_785_000_045));
        let rollout = RolloutRecord::new(1_785_000_000, start, false);
        ledger.rollout = Some(RolloutRecord { outcome, replaced: 2, progressed, well_since, ..rollout });
        let trials = [Trial::Failed { is_scheduled }, Trial::Running, Trial::Ended];
        for (accepted, trial) in ledger.accepted.iter_mut().zip(trials) {
            accepted.trial = trial;
        }
        let status = RotationRolloutStatus::new(&ledger, &sources, 1_790_000_000, &[]);
        let json = serde_json::to_value(&status).unwrap();
        let read: RotationRolloutStatus = serde_json::from_value(json).unwrap();
        ledger.phase = Phase::default();
        assert_eq!(read.ledger("team", &mut sources), ledger);
    }
}

#[test]
fn a_status_has_the_pending_restart_and_its_reason() {
    let mut sources = Sources::default();
    let ledger = ledger(&mut sources);
    let status = RotationRolloutStatus::new(&ledger, &sources, 1_790_000_000, &[]);
    assert_eq!((status.phase.as_str(), status.reason.as_str()), ("Waiting", "NotReleased"));
    assert!(status.message.ends_with("; pending: scaivault:a/b"), "{}", status.message);
    let again = RotationRolloutStatus::new(&ledger, &sources, 1_790_000_900, &status.condition_states());
    assert_eq!(again, status, "times of conditions that hold are kept");
    let words: Vec<_> =
        status.conditions.iter().map(|found| (&*found.type_, &*found.status, &*found.reason)).collect();
    assert_eq!(words, [("UpToDate", "False", "NotReleased"), ("Succeeded", "False", "PodsFailing")]);
}

#[test]
fn a_status_fits_its_definition() {
    let ledger = Ledger {
        restarts: (0..5000).collect(),
        phase: Phase::Waiting(Wait::Invalid("é".repeat(9000).into())),
        ..Ledger::default()
    };
    let status = RotationRolloutStatus::new(&ledger, &Sources::default(), 1_790_000_000, &[]);
    assert_eq!(status.message.chars().count(), 4096);
    assert_eq!(status.conditions[0].message, status.message);
    assert_eq!((status.restarts.len(), &*status.restarts[1023]), (1024, &*text::time(4999)));
}

#[test]
fn a_forged_status_is_harmless() {
    let status: RotationRolloutStatus = serde_json::from_value(serde_json::json!({
        "accepted": [{"kind": "Pod", "name": "a", "version": "@1"}, {"kind": "Secret", "name": "a", "version": "x"}],
        "restarts": ["yesterday", "2026-11-27T00:00:00Z"],
        "pending": {"since": "soon"},
        "rollout": {"since": "2026-11-27T00:00:00Z", "failure": "Sorrow"},
    }))
    .unwrap();
    let ledger = status.ledger("team", &mut Sources::default());
    assert_eq!(ledger, Ledger { restarts: vec![1_795_737_600], ..Ledger::default() });
}

#[test]
fn objects_are_named_after_their_workloads() {
    let key =
        |name: &str| WorkloadKey { namespace: "team".into(), kind: Kind::StatefulSet, name: name.into() };
    assert_eq!(object_name(&key("db")), "statefulset-db");
    assert_eq!(workload_of("team", "statefulset-db"), Some(key("db")));
    assert_eq!(workload_of("team", "job-db"), None);
    let long = object_name(&key(&"x.".repeat(126)));
    assert!(long.len() <= 253 && !long.contains(".-"), "{long}");
    assert_ne!(long, object_name(&key(&format!("{}y", "x.".repeat(125)))));
    let spec = RotationRolloutSpec { kind: "StatefulSet".into(), name: "db".into() };
    let mut object = RotationRollout::new("statefulset-db", spec);
    object.metadata.namespace = Some("team".into());
    assert_eq!(object.workload(), Some(key("db")));
    object.metadata.name = Some("mine".into());
    assert_eq!(object.workload(), None, "an object of another writer");
}

#[test]
fn every_text_and_list_of_the_definition_is_bounded() {
    let definition = serde_json::to_value(RotationRollout::crd()).unwrap();
    let mut unbounded = Vec::new();
    collect(
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"],
        "",
        &mut unbounded,
    );
    assert!(unbounded.is_empty(), "{unbounded:?}");
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
    assert_eq!(columns.len(), 7);
}

fn collect(properties: &Value, path: &str, unbounded: &mut Vec<String>) {
    for (name, schema) in properties.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let bound = match schema["type"].as_str() {
            Some("string") if schema["enum"].is_array() || schema["format"].is_string() => None,
            Some("string") => Some("maxLength"),
            Some("array") => Some("maxItems"),
            _ => None,
        };
        // Times in a list have no format.
        if bound.is_some_and(|bound| !schema[bound].is_number()) {
            unbounded.push(path.clone());
        }
        collect(&schema["properties"], &path, unbounded);
        collect(&schema["items"]["properties"], &path, unbounded);
    }
}
