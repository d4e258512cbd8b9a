//! The definitions of custom resources in the chart, policies' and `RotationRollouts`'.

use super::helm::template;

const KIND: &str = "CustomResourceDefinition";

#[test]
fn the_definition_is_that_of_the_program_and_stays() {
    let rendered = template(&[]).unwrap().only(KIND);
    assert_eq!(rendered["spec"], scaivault_policy::definition()["spec"]);
    let metadata = &rendered["metadata"];
    assert_eq!(metadata["name"], "injectionpolicies.scaivault.scailabs.ai");
    assert_eq!(metadata["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "scaivault-injector");
}

#[test]
fn the_definition_of_rollouts_needs_the_restarter() {
    let definitions = |set: &str| template(&["--set", set]).unwrap().of_kind(KIND);
    let rendered = definitions("restarter.enabled=true,policies.installCrd=false");
    assert_eq!(rendered.len(), 1);
    assert_eq!(rendered[0]["spec"], scaivault_restarter::definition()["spec"]);
    assert_eq!(rendered[0]["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    for off in ["restarter.enabled=false", "restarter.enabled=true,restarter.installCrd=false"] {
        assert!(definitions(&format!("{off},policies.installCrd=false")).is_empty(), "{off}");
    }
}

#[test]
fn the_definition_can_be_omitted() {
    for off in ["policies.enabled=false", "policies.installCrd=false"] {
        assert!(template(&["--set", off]).unwrap().of_kind(KIND).is_empty(), "{off}");
    }
}
