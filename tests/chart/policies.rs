//! The `CustomResourceDefinition` of policies in the chart.

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
fn the_definition_can_be_left_out() {
    for off in ["policies.enabled=false", "policies.installCrd=false"] {
        assert!(template(&["--set", off]).unwrap().of_kind(KIND).is_empty(), "{off}");
    }
}
