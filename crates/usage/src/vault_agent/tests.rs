use serde_json::json;

use super::*;

#[test]
fn keys_are_grouped_by_the_secrets_name() {
    let pod = json!({"metadata": {"annotations": {
        "vault.hashicorp.com/agent-inject": "true",
        "vault.hashicorp.com/role": "billing",
        "vault.hashicorp.com/agent-pre-populate-only": "1",
        "vault.hashicorp.com/secret-volume-path": "/run/app",
        "vault.hashicorp.com/agent-inject-secret-Db": "database/creds/app",
        "vault.hashicorp.com/agent-inject-template-Db": "{{ with secret }}",
        "vault.hashicorp.com/agent-inject-perms-Db": "0400",
        "vault.hashicorp.com/agent-inject-command-Db": "kill -HUP 1",
        "vault.hashicorp.com/secret-volume-path-Db": "/run/db",
        "vault.hashicorp.com/agent-inject-secret-api": "secret/data/api",
        "vault.hashicorp.com/agent-inject-file-api": "keys/api.txt",
        "vault.hashicorp.com/agent-inject-template-file-only": "/etc/only.tpl",
        "vault.hashicorp.com/agent-inject-perms-nothing": "0400",
        "vault.hashicorp.com/tls-skip-verify": "true",
        "other.example.com/role": "x",
    }}});
    let agent = vault_agent(&pod).unwrap();
    assert!(agent.enabled && agent.pre_populate_only);
    assert_eq!((agent.role.as_deref(), agent.volume_path.as_deref()), (Some("billing"), Some("/run/app")));
    let names: Vec<_> = agent.secrets.iter().map(|s| (s.name.as_str(), s.file.as_str())).collect();
    assert_eq!(names, [("Db", "db"), ("api", "keys/api.txt"), ("only", "only")]);
    let db = &agent.secrets[0];
    assert_eq!((db.path.as_deref(), db.permissions.as_deref()), (Some("database/creds/app"), Some("0400")));
    assert_eq!((db.volume_path.as_deref(), db.command.as_deref()), (Some("/run/db"), Some("kill -HUP 1")));
    assert_eq!(agent.secrets[2].template_file.as_deref(), Some("/etc/only.tpl"));
    assert_eq!(agent.others.keys().collect::<Vec<_>>(), ["tls-skip-verify"]);
}

#[test]
fn the_case_of_a_file_name_is_kept_on_request() {
    for key in ["preserve-secret-case", "preserve-secret-case-Db"] {
        let pod = json!({"metadata": {"annotations": {
            format!("vault.hashicorp.com/{key}"): "true",
            "vault.hashicorp.com/agent-inject-secret-Db": "a",
        }}});
        assert_eq!(vault_agent(&pod).unwrap().secrets[0].file, "Db", "{key}");
    }
}

#[test]
fn openbao_has_the_same_keys() {
    let pod = json!({"metadata": {"annotations": {"openbao.org/agent-inject": "false", "openbao.org/agent-inject-secret-a": "p"}}});
    let agent = vault_agent(&pod).unwrap();
    assert_eq!((agent.prefix, agent.enabled, agent.secrets.len()), ("openbao.org/", false, 1));
    assert_eq!(vault_agent(&json!({"metadata": {"annotations": {"a": "b"}}})), None);
    assert_eq!(vault_agent(&json!({"metadata": {"annotations": {"vault.hashicorp.com/role": 1}}})), None);
}
