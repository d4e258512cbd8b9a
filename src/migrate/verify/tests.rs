use super::*;

#[test]
fn names_of_jobs_are_short_and_differ() {
    let long = "a".repeat(80);
    let (one, two) = (name(&long), name(&format!("{long}b")));
    assert!(one.len() <= MAX_NAME && one != two, "{one} {two}");
    assert_eq!(name("billing"), "scaivault-verify-billing");
    assert_eq!(name("billing.v1"), "scaivault-verify-billing-v1");
    assert_eq!(name(""), "scaivault-verify-workload");
}
