//! The messages that users see at `kubectl apply`.

use scaivault_inject::{
    Decision,
    workload::{Former, ValidationReason, WorkloadView, decide, validate},
};

use super::deployment;
use crate::support::{Cluster, DATABASE, cluster};

const WRONG: (&str, &str) = ("refresh-interval", "soon");

fn wrong() -> super::Workload {
    deployment().wish(WRONG.0, WRONG.1)
}

#[test]
fn a_valid_workload_is_accepted_without_warnings() {
    let validation = deployment().validated(None, &cluster());
    assert_eq!((validation.reason, validation.warnings), (ValidationReason::Valid, Vec::new()));
    assert!(validation.problems.is_empty());
}

#[test]
fn a_new_problem_is_refused_with_the_text_of_the_pods_refusal() {
    let pod = wrong().json["spec"]["template"].take();
    let refusal = cluster().refusal(&pod);
    for former in [None, Some(deployment()), Some(deployment().wish(WRONG.0, "later"))] {
        let validation = wrong().validated(former.as_ref(), &cluster());
        assert_eq!(validation.reason, ValidationReason::Problems, "{former:?}");
        assert_eq!(validation.problems.to_string(), refusal);
    }
}

/// A rejection could block a controller, or the removal of a finalizer.
#[test]
fn an_old_problem_is_a_warning() {
    let validation = wrong().spec("replicas", 9).validated(Some(&wrong()), &cluster());
    assert_eq!(validation.reason, ValidationReason::ProblemsUnchanged);
    let texts: Vec<_> = validation.problems.iter().map(ToString::to_string).collect();
    assert!(!texts.is_empty());
    assert_eq!(validation.warnings, texts);
}

#[test]
fn an_object_being_deleted_is_not_checked() {
    let validation =
        wrong().metadata("deletionTimestamp", "2026-01-01T00:00:00Z").validated(None, &cluster());
    assert_eq!((validation.reason, validation.warnings), (ValidationReason::Deleting, Vec::new()));
}

#[test]
fn an_injector_that_warns_refuses_nothing() {
    for applied in [wrong(), deployment().mode(Some("ingore")), wrong().mode(Some("ingore"))] {
        let validation = applied.validated(None, &Cluster::that_warns());
        assert_eq!(validation.reason, ValidationReason::ProblemsAllowed);
        assert_eq!(validation.problems.len(), validation.warnings.len(), "{:?}", validation.warnings);
    }
}

#[test]
fn a_misspelt_mode_is_a_problem_of_the_workload() {
    let misspelt = deployment().mode(Some("ingore"));
    let validation = misspelt.validated(None, &cluster());
    assert_eq!(validation.reason, ValidationReason::Problems);
    let text = validation.problems.to_string();
    for word in
        ["mutation-mode (of the workload)", "\"ingore\"", "did you mean \"ignore\"?", "ignore-and-detach"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let brought = misspelt.validated(Some(&deployment().mode(Some("ignore"))), &cluster());
    assert_eq!(brought.reason, ValidationReason::Problems, "the request brings it");
    let kept = misspelt.validated(Some(&misspelt), &cluster());
    assert_eq!((kept.reason, kept.warnings), (ValidationReason::ProblemsUnchanged, vec![text]));
}

#[test]
fn all_problems_are_reported_at_once() {
    let validation = wrong().mode(Some("ingore")).validated(None, &cluster());
    let text = validation.problems.to_string();
    assert!(text.contains("2 problems") && text.contains("ingore") && text.contains("soon"), "{text}");
}

#[test]
fn an_opted_out_workload_may_be_wrong() {
    for mode in ["ignore", "ignore-and-detach"] {
        let validation = wrong().mode(Some(mode)).validated(None, &cluster());
        assert_eq!((validation.reason, validation.warnings), (ValidationReason::Valid, Vec::new()), "{mode}");
    }
    let stopped = cluster().namespace("mutation-mode", "ignore");
    assert_eq!(wrong().validated(None, &stopped).reason, ValidationReason::Valid);
    let misspelt = deployment().mode(Some("ingore"));
    assert_eq!(misspelt.validated(None, &stopped).reason, ValidationReason::Problems);
}

#[test]
fn excluded_namespaces_get_no_messages() {
    let excluded = Cluster::with(scaivault_inject::InjectorConfig {
        excluded_namespaces: vec!["billing".to_owned()],
        ..crate::support::config()
    });
    let validation = wrong().mode(Some("ingore")).own("role", "x").validated(None, &excluded);
    assert_eq!((validation.reason, validation.warnings), (ValidationReason::Valid, Vec::new()));
}

#[test]
fn a_key_on_the_wrong_metadata_names_the_right_place() {
    let misplaced = deployment().own("inject-secret-new", "a/b").own("refresh-interval", "soon");
    let validation = misplaced.validated(None, &cluster());
    assert_eq!(validation.reason, ValidationReason::Valid, "it has no effect, so it is no problem");
    assert_eq!(
        validation.warnings,
        [
            "scaivault.scailabs.ai/refresh-interval has no effect on the workload itself; move it to the pod template",
            "scaivault.scailabs.ai/inject-secret-new has no effect on the workload itself; move it to the pod template",
        ]
    );
    let typing_error = deployment().own("mutaton-mode", "ignore").validated(None, &cluster());
    let problem = typing_error.problems.to_string();
    assert!(problem.contains("write scaivault.scailabs.ai/mutation-mode"), "{problem}");
    let in_both = deployment().own("inject-secret-db.json", "a/b").validated(None, &cluster());
    assert!(in_both.warnings.is_empty(), "{in_both:?}");
}

#[test]
fn the_injectors_key_by_hand_is_a_warning() {
    let by_hand = deployment().carrying(Some("ignore"));
    let validation = by_hand.validated(None, &cluster());
    assert_eq!((validation.reason, validation.warnings.len()), (ValidationReason::Valid, 1));
    assert!(validation.warnings[0].contains("workload-mutation-mode"), "{validation:?}");
    let carried = by_hand.mode(Some("ignore")).validated(None, &cluster());
    assert!(carried.warnings.is_empty(), "{carried:?}");
}

#[test]
fn without_the_former_workload_nothing_is_refused() {
    let text = wrong().json.to_string();
    let workload = WorkloadView::parse(wrong().kind, &text).unwrap();
    let validation = validate(&workload, Former::Unknown, &cluster().context());
    assert_eq!(validation.reason, ValidationReason::ProblemsUnchanged);
    assert!(!validation.warnings.is_empty());
}

#[test]
fn the_workloads_own_mode_decides_for_its_pods() {
    for (mode, outcome, reason) in [
        (None, "injected", "init"),
        (Some("ignore"), "skipped", "ignored-by-workload"),
        (Some("ignore-and-detach"), "skipped", "nothing-to-detach"),
        (Some("ingore"), "denied", "problems"),
    ] {
        let text = deployment().mode(mode).json.to_string();
        let workload = WorkloadView::parse(deployment().kind, &text).unwrap();
        let decision = decide(&workload, &cluster().context());
        assert_eq!((decision.outcome(), decision.reason()), (outcome, reason), "{mode:?}");
        assert_eq!(matches!(decision, Decision::Deny(_)), mode == Some("ingore"));
    }
}

/// A key that its author relies on is in a place where it has no effect.
#[test]
fn a_wish_on_the_workload_itself_is_a_problem_where_it_matters() {
    let bare = || deployment().without("inject-secret-db.json");
    for (applied, problem) in [
        (bare().own("inject-secret-db.json", DATABASE), "move it to the pod template"),
        (bare().own("inject-secert-db.json", DATABASE), "inject-secret-db.json on the pod template"),
        (deployment().own("inject", "false"), "write scaivault.scailabs.ai/mutation-mode: ignore"),
        (deployment().own("injct", "false"), "write scaivault.scailabs.ai/mutation-mode: ignore"),
        (deployment().own("mutation_mode", "ignore"), "write scaivault.scailabs.ai/mutation-mode"),
    ] {
        let former = deployment().own("inject", "true");
        for former in [None, Some(former)] {
            let validation = applied.validated(former.as_ref(), &cluster());
            assert_eq!(validation.reason, ValidationReason::Problems, "{validation:?}");
            assert!(validation.problems.to_string().contains(problem), "{validation:?}");
        }
        // A controller that writes the workload again introduces nothing.
        let again = applied.validated(Some(&applied), &cluster());
        assert_eq!(again.reason, ValidationReason::ProblemsUnchanged);
    }
    for applied in [
        deployment().own("inject-secret-other.json", DATABASE),
        bare().own("inject", "false"),
        deployment().wish("inject", "false").own("inject", "false"),
        deployment().mode(Some("ignore")).own("inject", "false"),
    ] {
        let validation = applied.validated(None, &cluster());
        assert_eq!(validation.reason, ValidationReason::Valid, "{validation:?}");
    }
}
