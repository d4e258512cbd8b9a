//! Policies on volumes of the CSI driver.

use scaivault_inject::{
    Ask, AskKind, Enforcement, Namespace, PodView, PolicyEffect, PolicySet, VariablePlace, VolumeContext,
    VolumeRefusal, VolumeReview,
};
use serde_json::{Value, json};

use super::support::{Draft, NOW, named, policy};

/// A pod of the service account `web` in `billing`, and the cluster's policies.
struct Cluster {
    policies: PolicySet,
    namespace: Namespace,
    pod: Value,
}

fn cluster<const N: usize>(policies: [Draft; N]) -> Cluster {
    let policies = policies.into_iter().map(Draft::compiled).collect();
    let labels = [("team".to_owned(), "billing".to_owned())].into();
    Cluster {
        policies: PolicySet::new(policies),
        namespace: Namespace { name: "billing".to_owned(), labels, ..Namespace::default() },
        pod: json!({
            "metadata": {"labels": {"app": "invoices"}, "annotations": {"tier": "gold"}},
            "spec": {"serviceAccountName": "web"},
        }),
    }
}

impl Cluster {
    /// Reviews a volume with these requests, after filling their variables.
    fn review(&self, asks: &[(AskKind, &str)]) -> VolumeReview<Vec<String>, String> {
        let pod = self.pod.to_string();
        let pod = PodView::parse(&pod).unwrap();
        let names = scaivault_contract::PodValues {
            pod: Some("web-0".parse().unwrap()),
            node: Some("node-a".parse().unwrap()),
        };
        let context = VolumeContext {
            pod: &pod,
            namespace: &self.namespace,
            names: &names,
            policies: &self.policies,
            now: NOW,
        };
        context.review(|variables| {
            let filled = asks.iter().enumerate().map(|(index, (kind, text))| {
                let place = match kind {
                    AskKind::Dynamic => VariablePlace::DynamicName,
                    _ => VariablePlace::Secrets,
                };
                let value = variables.fill(text, place)?.into_owned();
                Ok(Ask { kind: *kind, place: format!("objects[{index}]"), value })
            });
            let asks: Vec<Ask> = filled.collect::<Result<_, String>>()?;
            Ok((asks.iter().map(|ask| ask.value.clone()).collect(), asks))
        })
    }

    fn paths(&self, paths: &[&str]) -> VolumeReview<Vec<String>, String> {
        self.review(&paths.iter().map(|path| (AskKind::Path, *path)).collect::<Vec<_>>())
    }

    #[track_caller]
    fn refused(&self, asks: &[(AskKind, &str)]) -> Vec<String> {
        match self.review(asks).answer {
            Err(VolumeRefusal::Policies(refusals)) => refusals,
            other => panic!("not refused by policies: {other:?}"),
        }
    }
}

fn allowing<const N: usize>(name: &str, paths: [&str; N]) -> Draft {
    let list = named(paths);
    policy(name).allow(|allow| allow.paths = list)
}

#[test]
fn without_policies_everything_is_read() {
    let answer = cluster([]).paths(&["a/b", "pods/${pod}/${node}/${label:app}/${annotation:tier}"]).answer;
    assert_eq!(answer.unwrap(), ["a/b", "pods/web-0/node-a/invoices/gold"]);
}

#[test]
fn a_volume_outside_of_all_lists_is_refused_by_name() {
    let cluster = cluster([allowing("billing", ["environments/production/billing/**"])]);
    assert!(cluster.paths(&["environments/production/billing/db"]).answer.is_ok());
    let refusals = cluster.refused(&[
        (AskKind::Path, "environments/production/billing/db"),
        (AskKind::Path, "environments/production/shop/db"),
        (AskKind::Path, "other"),
    ]);
    assert_eq!(
        refusals,
        [
            "objects[1]: \"environments/production/shop/db\": policy billing does not allow this path; allowed: \
             environments/production/billing/**; to fix: name another path, or have it added to allow.paths of the policy or to \
             an exception [policy-limit]",
            "objects[2]: \"other\": policy billing does not allow this path; allowed: environments/production/billing/**; to \
             fix: name another path, or have it added to allow.paths of the policy or to an exception [policy-limit]",
        ]
    );
}

#[test]
fn each_kind_has_its_list() {
    let cluster = cluster([policy("limits").allow(|allow| {
        allow.dynamic = named(["postgres/readonly-*"]);
        allow.roles = named(["sa:billing-*"]);
        allow.urls = named(["https://vault.example"]);
    })]);
    let good = [
        (AskKind::Dynamic, "postgres/readonly-x"),
        (AskKind::Role, "sa:billing-x"),
        (AskKind::Url, "https://vault.example/eu"),
        (AskKind::Path, "any/path"),
    ];
    assert!(cluster.review(&good).answer.is_ok());
    for (kind, value, said) in [
        (AskKind::Dynamic, "postgres/admin", "does not allow this engine and role"),
        (AskKind::Role, "sa:admin", "does not allow this role"),
        (AskKind::Url, "https://vault.example.evil", "does not allow this URL"),
    ] {
        let refusals = cluster.refused(&[(kind, value)]);
        assert!(refusals.len() == 1 && refusals[0].contains(said), "{refusals:?}");
    }
}

/// A tenant who puts another path into a label or an annotation, or into a pod's name.
#[test]
fn a_value_of_a_variable_opens_no_other_path() {
    let mut cluster = cluster([allowing("own", ["environments/production/${namespace}/*"])]);
    for value in ["../shop", "shop/db", "a b", "x,y=z", "*", "**", "a#b", "", "${namespace}", &"x".repeat(64)]
    {
        cluster.pod["metadata"]["labels"]["app"] = json!(value);
        cluster.pod["metadata"]["annotations"]["tier"] = json!(value);
        for path in
            ["environments/production/billing/${label:app}", "environments/${annotation:tier}/billing/db"]
        {
            assert!(cluster.paths(&[path]).answer.is_err(), "{path} with {value:?}");
        }
    }
    cluster.pod["metadata"]["labels"]["app"] = json!("shop");
    let refusals = cluster.refused(&[(AskKind::Path, "environments/production/${label:app}/db")]);
    assert!(refusals[0].contains("\"environments/production/shop/db\": policy own"), "{refusals:?}");
}

#[test]
fn names_of_pod_and_node_are_known_in_lists_too() {
    let cluster = cluster([allowing("own", ["pods/${pod}/*", "nodes/${node}"])]);
    assert!(cluster.paths(&["pods/${pod}/db", "pods/web-0/db", "nodes/${node}"]).answer.is_ok());
    assert_eq!(cluster.refused(&[(AskKind::Path, "pods/web-1/db")]).len(), 1);
}

#[test]
fn selectors_decide_which_pods_are_limited() {
    let limits = |draft: Draft| draft.allow(|allow| allow.paths = named([]));
    for (policy, is_limited) in [
        (limits(policy("p")).select_pods("app", "invoices"), true),
        (limits(policy("p")).select_pods("app", "shop"), false),
        (limits(policy("p")).select_namespaces("team", "billing"), true),
        (limits(policy("p")).select_namespaces("team", "shop"), false),
        (limits(policy("p")).service_account("we?"), true),
        (limits(policy("p")).service_account("api"), false),
    ] {
        let review = cluster([policy]).paths(&["a/b"]);
        assert_eq!(review.answer.is_err(), is_limited, "{review:?}");
        assert_eq!(review.report.uses.len(), usize::from(is_limited));
    }
    let refusals = cluster([limits(policy("p"))]).refused(&[(AskKind::Path, "a/b")]);
    assert!(refusals[0].contains("policy p allows no path"), "{refusals:?}");
}

#[test]
fn warn_and_audit_refuse_nothing() {
    let review = cluster([allowing("w", ["x/*"]).enforcement(Enforcement::Warn)]).paths(&["a/b"]);
    assert!(review.answer.is_ok() && review.warnings[0].contains("policy w does not allow"), "{review:?}");
    assert_eq!(review.report.uses[0].effect, PolicyEffect::Warned);

    let review = cluster([allowing("a", ["x/*"]).enforcement(Enforcement::Audit)]).paths(&["a/b"]);
    assert!(review.answer.is_ok() && review.warnings.is_empty(), "{review:?}");
    let used = &review.report.uses[0];
    assert_eq!(used.effect, PolicyEffect::Audited);
    assert!(used.message.as_ref().unwrap().starts_with("would refuse: \"a/b\": policy a"), "{used:?}");

    // A policy that only warns does not allow anything, even with a higher priority.
    let warns = allowing("w", ["a/*"]).enforcement(Enforcement::Warn).priority(9);
    let review = cluster([allowing("e", ["x/*"]), warns]).paths(&["a/b", "c/d"]);
    assert!(matches!(&review.answer, Err(VolumeRefusal::Policies(all)) if all.len() == 1), "{review:?}");
}

#[test]
fn an_exception_ends_with_its_date() {
    for (expires, is_allowed) in [(NOW + 1, true), (NOW, false)] {
        let draft = allowing("p", ["x/*"]).exception(|exception| {
            exception.service_accounts = vec!["web".to_owned()];
            exception.allow.paths = named(["a/b"]);
            exception.expires = expires;
        });
        assert_eq!(cluster([draft]).paths(&["a/b"]).answer.is_ok(), is_allowed);
    }
}

#[test]
fn the_environment_of_the_namespace_is_filled() {
    let path = "environments/${environment}/db";
    let one = cluster([policy("p").environment("production")]);
    assert_eq!(one.paths(&[path]).answer.unwrap(), ["environments/production/db"]);
    let elsewhere = cluster([policy("p").environment("production").select_pods("app", "shop")]);
    assert!(
        elsewhere.paths(&[path]).answer.is_ok(),
        "it is the namespace's, whatever pods the policy selects"
    );
    let VolumeReview { answer, .. } = cluster([]).paths(&[path]);
    let Err(VolumeRefusal::Unreadable(said)) = answer else { panic!("{answer:?}") };
    assert!(
        said.contains("${environment} has no value: no policy gives the namespace an environment"),
        "{said}"
    );

    let two = [policy("p").environment("production"), policy("q").environment("staging")];
    let contested = cluster(two.clone());
    assert!(matches!(contested.paths(&[path]).answer, Err(VolumeRefusal::Unreadable(_))));
    let refusals = contested.refused(&[(AskKind::Path, "a/b")]);
    assert!(refusals[0].contains("policy p gives the namespace the environment production"), "{refusals:?}");
    let [p, q] = two.map(|draft| draft.select_pods("app", "shop"));
    assert!(cluster([p, q]).paths(&["a/b"]).answer.is_ok(), "neither of them selects the pod");
}

#[test]
fn injections_and_opting_out_do_not_affect_volumes() {
    let draft = allowing("p", ["a/*"])
        .inject("inject-secret-db.json", "other/path")
        .mode(scaivault_inject::PolicyMode::Ignore);
    let mut cluster = cluster([draft]);
    cluster.pod["metadata"]["annotations"]["scaivault.scailabs.ai/mutation-mode"] = json!("ignore");
    assert_eq!(cluster.paths(&["a/b"]).answer.unwrap(), ["a/b"]);
    assert_eq!(cluster.refused(&[(AskKind::Path, "other/path")]).len(), 1);
}

#[test]
fn a_volume_is_bounded_where_policies_limit_it() {
    let cluster = cluster([allowing("p", ["a/*"])]);
    let refusals = cluster.refused(&vec![(AskKind::Path, "b"); 1_025]);
    assert!(refusals.len() == 1 && refusals[0].contains("1025 secrets in one volume"), "{refusals:?}");
    let refusals = cluster.refused(&vec![(AskKind::Path, "b"); 1_024]);
    assert_eq!((refusals.len(), &*refusals[32]), (33, "992 more problems are not shown"));
}
