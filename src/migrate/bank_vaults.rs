//! Variables whose values are references of the Bank-Vaults webhook: `vault:secret/data/mysql#password`.

use std::collections::BTreeMap;

use scaivault_contract::SecretRef;
use scaivault_usage::{Evidence, Product};
use serde_json::Value;

use super::{
    map::{LookupError, MissingEntry, PathMap, VaultTarget},
    wants::{VariableWant, Wants, containers},
};

/// Adds the variables that a pod (template) gets from that webhook. `object` is the workload.
pub(super) fn add(object: &Value, pod: &Value, namespace: &str, map: &PathMap, wants: &mut Wants) {
    let products = scaivault_usage::other_products(object, pod);
    let Some(product) = products.iter().find(|other| other.product == Product::BankVaults) else { return };
    let mut annotations: BTreeMap<&str, &str> = BTreeMap::new();
    for evidence in &product.evidence {
        if let Evidence::Annotation { key, value } = evidence {
            annotations.insert(key, value);
        }
    }
    let mut has_variables = false;
    for (container, pointer, value) in containers(pod) {
        let env = value.get("env").and_then(Value::as_array);
        for (index, variable) in env.into_iter().flatten().enumerate() {
            let text = |key| variable.get(key).and_then(Value::as_str).unwrap_or_default();
            let (name, value) = (text("name"), text("value"));
            if !is_reference(value) {
                continue;
            }
            has_variables = true;
            match source(value, namespace, map) {
                Ok(Some(source)) => {
                    wants.variables.push(VariableWant {
                        name: name.to_owned(),
                        source: source.to_string(),
                        container: container.clone(),
                    });
                    wants.removals.insert(format!("{pointer}/env/{index}"));
                }
                Ok(None) => {
                    wants.missing.insert(MissingEntry::Vault(reference_path(value).to_owned()));
                }
                Err(reason) => wants
                    .problems
                    .push(format!("the variable {name} of the container {}: {reason}", container.name)),
            }
        }
    }
    if !has_variables {
        return;
    }
    let unusual = annotations.keys().filter(|key| {
        let key = key.rsplit('/').next().unwrap_or_default();
        ["vault-from-path", "vault-env-from-path", "vault-agent", "vault-ct-configmap", "mutate-configmap"]
            .contains(&key)
    });
    for key in unusual {
        wants.problems.push(format!(
            "{key}: it selects secrets that no variable names; write them as annotations of \
             ScaiVault by hand"
        ));
    }
    let role = annotations.iter().find(|(key, _)| key.ends_with("/vault-role")).map(|(_, role)| *role);
    if let Some(identity) = role.and_then(|role| map.role(role)) {
        wants.settings.insert("role", identity.to_owned());
    }
    let own = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    for (key, _) in own.into_iter().flatten().filter(|(key, _)| annotations.contains_key(key.as_str())) {
        wants.removals.insert(super::rewrite::annotation_pointer(key));
    }
}

fn is_reference(value: &str) -> bool {
    ["vault:", ">>vault:", "bao:"].iter().any(|start| value.starts_with(start))
        || ["${vault:", "${bao:"].iter().any(|inner| value.contains(inner))
}

/// The path of a reference.
fn reference_path(value: &str) -> &str {
    let path = value.split_once(':').map_or(value, |(_, rest)| rest);
    path.split('#').next().unwrap_or_default()
}

/// The value of `inject-env-`; `None` if the map has no entry.
fn source(value: &str, namespace: &str, map: &PathMap) -> Result<Option<SecretRef>, String> {
    const SIMPLE: &str = "expected vault:path#field or vault:path#field#version";
    let Some(reference) = value.strip_prefix("vault:").or_else(|| value.strip_prefix("bao:")) else {
        return Err(format!(
            "a reference inside other text, or one that writes to Vault, is not translated; \
             {SIMPLE}"
        ));
    };
    let mut parts = reference.split('#');
    let (path, field, version) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let field = field.filter(|field| !field.is_empty() && !field.contains(['{', '$'])).ok_or(SIMPLE)?;
    if parts.next().is_some() || path.is_empty() {
        return Err(SIMPLE.to_owned());
    }
    let target = match map.vault(None, path, namespace) {
        Ok(target) => target,
        Err(LookupError::Missing) => return Ok(None),
        Err(LookupError::Rule(reason)) => return Err(format!("{path}: {reason}")),
    };
    let new = target.field(field).parse().map_err(|error| format!("{error}"))?;
    match target {
        VaultTarget::Secret { secret, .. } => {
            let pinned = version.map(|version| version.parse().map_err(|_| SIMPLE)).transpose()?;
            Ok(Some(SecretRef { path: secret.path, field: Some(new), version: pinned.or(secret.version) }))
        }
        VaultTarget::Dynamic { .. } => {
            Err("dynamic credentials can only become files; let the application read the file of \
             inject-dynamic"
                .to_owned())
        }
    }
}
