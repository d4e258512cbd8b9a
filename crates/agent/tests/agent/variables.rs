//! `${pod}` and `${node}` in mappings, replaced by the agent at start.

use scaivault_devserver::Route;

use crate::support::{Pod, Sidecar, data};

const SEED: &str = r#"
policies:
  pods: [{path_pattern: "pods/**", permissions: [read]}, {path_pattern: "nodes/**", permissions: [read]}]
identities:
  - {id: sa:billing, service_accounts: [billing/web], policies: [pods], dynamic: [postgres/web-0]}
secrets:
  pods/web-0/key: {data: {key: "of web-0"}}
  pods/web-1/key: {data: {key: "of web-1"}}
  nodes/node-a: {data: {zone: "a"}}
engines:
  postgres: {roles: {web-0: {default_ttl: 1h, max_ttl: 24h}}}
"#;

#[tokio::test]
async fn each_pod_of_one_template_reads_its_own_secret() {
    let pod = Pod::with(SEED).await;
    let secrets = pod.mapping(&[
        ("pods/${pod}/key#key", "key"),
        ("own=pods/${pod}/key node=nodes/${node}", "both.json template=\"{{ secrets.node.path }} ${pod}\""),
    ]);
    for name in ["web-0", "web-1"] {
        let variables = [("SECRETS", &*secrets), ("SCAIVAULT_POD", name), ("SCAIVAULT_NODE", "node-a")];
        pod.run("init", &variables).await.check(0, &["secrets written"]);
        assert_eq!(pod.secret("key").unwrap(), format!("of {name}"));
        // Placeholders in a template are not replaced.
        assert_eq!(pod.secret("both.json").unwrap(), "nodes/node-a ${pod}");
    }
}

#[tokio::test]
async fn a_sidecar_watches_the_sources_of_its_variables() {
    let pod = Pod::with(SEED).await;
    let watch = pod.mapping(&[("pods/${pod}/key#key", "key")]);
    let dynamic = pod.mapping(&[("engine=postgres role=${pod}", "db.json")]);
    let variables = [
        ("WATCH_PATHS", &*watch),
        ("DYNAMIC", &*dynamic),
        ("REFRESH_INTERVAL", "1s"),
        ("SCAIVAULT_POD", "web-0"),
    ];
    let sidecar = Sidecar::start(&pod, &variables);
    crate::support::until_exists(&pod.path("secrets/db.json")).await;
    crate::support::until(|| pod.secret("key").as_deref() == Some("of web-0")).await;
    pod.vault.rotate(&"pods/web-0/key".parse().unwrap(), data("rotated"));
    crate::support::until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    sidecar.end().await.check(0, &[]);
}

/// Before any request: no login, no read of another path.
#[tokio::test]
async fn variables_that_cannot_be_filled_end_the_agent() {
    let pod = Pod::with(SEED).await;
    let secrets = pod.mapping(&[("pods/${pod}/key", "key"), ("nodes/${node}", "node")]);
    for (name, node, said) in [
        ("", "node-a", "SCAIVAULT_POD is not set; set it from the field metadata.name"),
        ("web-0", "", "SCAIVAULT_NODE is not set; set it from the field spec.nodeName"),
        ("../web-1", "node-a", "it is not the name of a pod or a node"),
        ("web-0/../web-1", "node-a", "it is not the name of a pod or a node"),
        ("${pod}", "node-a", "it is not the name of a pod or a node"),
        ("web-0\n", "node-a", "it is not the name of a pod or a node"),
        ("web-0", "ip-10-0-0-1.eu-west-1", "it has the character '.'"),
    ] {
        let variables = [("SECRETS", &*secrets), ("SCAIVAULT_POD", name), ("SCAIVAULT_NODE", node)];
        pod.run("init", &variables).await.check(5, &[said]);
        pod.run("wait", &[("WATCH_PATHS", &*secrets), variables[1], variables[2]]).await.check(5, &[said]);
    }
    let unknown = pod.mapping(&[("pods/${namespace}/key", "key")]);
    pod.run("init", &[("SECRETS", &unknown)]).await.check(5, &["the agent fills ${pod} and ${node}"]);
    assert_eq!((pod.vault.requests(Route::Exchange), pod.vault.requests(Route::Read)), (0, 0));
    assert_eq!(pod.secret("key"), None);
}
