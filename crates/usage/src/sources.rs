//! Objects of other products that write native Secrets.

use serde::Serialize;
use serde_json::Value;

use crate::json::{group, list_at, text, text_at};

/// A native Secret that another object writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretSource {
    /// The namespace of the Secret; `None` if the object writes it to several.
    pub namespace: Option<String>,
    /// The Secret's name.
    pub secret: String,
    /// The kind of the object that writes it.
    pub kind: SourceKind,
    /// The object's name.
    pub name: String,
    /// The remote secrets of its values, as far as the object names them.
    pub remote: Vec<RemoteRef>,
}

/// The remote secret from which values of a native Secret come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteRef {
    /// The Secret's key; `None` for all fields of the remote secret.
    pub key: Option<String>,
    /// The remote secret.
    pub path: String,
    /// Its field; `None` for the whole secret.
    pub property: Option<String>,
}

/// The kinds of objects that write native Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum SourceKind {
    /// External Secrets Operator, and its predecessor.
    ExternalSecret,
    /// External Secrets Operator, for several namespaces.
    ClusterExternalSecret,
    /// Vault Secrets Operator.
    VaultStaticSecret,
    /// Vault Secrets Operator.
    VaultDynamicSecret,
    /// Vault Secrets Operator.
    VaultPKISecret,
    /// Vault Secrets Operator, from HCP.
    HCPVaultSecretsApp,
    /// The Secrets Store CSI driver, with `secretObjects`.
    SecretProviderClass,
    /// Sealed Secrets.
    SealedSecret,
    /// Infisical's operator.
    InfisicalSecret,
    /// Doppler's operator.
    DopplerSecret,
    /// 1Password's operator.
    OnePasswordItem,
    /// The vault-secrets-operator of ricoberger, and that of Red Hat's community of practice.
    VaultSecret,
    /// The sops-secrets-operator.
    SopsSecret,
    /// cert-manager.
    Certificate,
}

/// API group, kind, and the function that finds the names of the Secrets.
const KINDS: [(&str, &str, SourceKind, Targets); 16] = [
    ("external-secrets.io", "ExternalSecret", SourceKind::ExternalSecret, external_secret),
    ("kubernetes-client.io", "ExternalSecret", SourceKind::ExternalSecret, own_name),
    (
        "external-secrets.io",
        "ClusterExternalSecret",
        SourceKind::ClusterExternalSecret,
        cluster_external_secret,
    ),
    ("secrets.hashicorp.com", "VaultStaticSecret", SourceKind::VaultStaticSecret, destination),
    ("secrets.hashicorp.com", "VaultDynamicSecret", SourceKind::VaultDynamicSecret, destination),
    ("secrets.hashicorp.com", "VaultPKISecret", SourceKind::VaultPKISecret, destination),
    ("secrets.hashicorp.com", "HCPVaultSecretsApp", SourceKind::HCPVaultSecretsApp, destination),
    ("secrets-store.csi.x-k8s.io", "SecretProviderClass", SourceKind::SecretProviderClass, secret_objects),
    ("bitnami.com", "SealedSecret", SourceKind::SealedSecret, sealed_secret),
    ("secrets.infisical.com", "InfisicalSecret", SourceKind::InfisicalSecret, infisical_secret),
    ("secrets.doppler.com", "DopplerSecret", SourceKind::DopplerSecret, doppler_secret),
    ("onepassword.com", "OnePasswordItem", SourceKind::OnePasswordItem, own_name),
    ("ricoberger.de", "VaultSecret", SourceKind::VaultSecret, own_name),
    ("redhatcop.redhat.io", "VaultSecret", SourceKind::VaultSecret, output_name),
    ("isindir.github.com", "SopsSecret", SourceKind::SopsSecret, sops_secret),
    ("cert-manager.io", "Certificate", SourceKind::Certificate, secret_name),
];

type Targets = fn(&Value) -> Vec<Target>;

/// A Secret that an object writes. Without a namespace, it is in the object's own.
struct Target {
    namespace: Option<String>,
    secret: String,
}

impl SourceKind {
    /// API group and kind of every object type that is read.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        KINDS.iter().map(|(group, kind, _, _)| (*group, *kind))
    }

    /// The kind as written in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExternalSecret => "ExternalSecret",
            Self::ClusterExternalSecret => "ClusterExternalSecret",
            Self::VaultStaticSecret => "VaultStaticSecret",
            Self::VaultDynamicSecret => "VaultDynamicSecret",
            Self::VaultPKISecret => "VaultPKISecret",
            Self::HCPVaultSecretsApp => "HCPVaultSecretsApp",
            Self::SecretProviderClass => "SecretProviderClass",
            Self::SealedSecret => "SealedSecret",
            Self::InfisicalSecret => "InfisicalSecret",
            Self::DopplerSecret => "DopplerSecret",
            Self::OnePasswordItem => "OnePasswordItem",
            Self::VaultSecret => "VaultSecret",
            Self::SopsSecret => "SopsSecret",
            Self::Certificate => "Certificate",
        }
    }
}

/// The native Secrets that an object writes; empty for objects of other kinds.
pub fn secret_sources(object: &Value) -> Vec<SecretSource> {
    let (object_group, object_kind) = (group(object), text(object, "kind").unwrap_or_default());
    let row = KINDS.iter().find(|(group, kind, _, _)| *group == object_group && *kind == object_kind);
    let Some((_, _, kind, targets)) = row else { return Vec::new() };
    let own_namespace = text_at(object, "/metadata/namespace").unwrap_or_default();
    let sources = targets(object).into_iter().map(|Target { namespace, secret }| SecretSource {
        namespace: match kind {
            SourceKind::ClusterExternalSecret => None,
            _ => Some(namespace.unwrap_or_else(|| own_namespace.to_owned())),
        },
        secret,
        kind: *kind,
        name: text_at(object, "/metadata/name").unwrap_or_default().to_owned(),
        remote: remote_refs(object, *kind),
    });
    sources.collect()
}

fn target(found: Option<&str>) -> Vec<Target> {
    found.map(|secret| Target { namespace: None, secret: secret.to_owned() }).into_iter().collect()
}

fn own_name(object: &Value) -> Vec<Target> {
    target(text_at(object, "/metadata/name"))
}

fn external_secret(object: &Value) -> Vec<Target> {
    target(text_at(object, "/spec/target/name").or_else(|| text_at(object, "/metadata/name")))
}

fn cluster_external_secret(object: &Value) -> Vec<Target> {
    const NAMES: [&str; 3] =
        ["/spec/externalSecretSpec/target/name", "/spec/externalSecretName", "/metadata/name"];
    target(NAMES.into_iter().find_map(|pointer| text_at(object, pointer)))
}

fn destination(object: &Value) -> Vec<Target> {
    target(text_at(object, "/spec/destination/name"))
}

fn output_name(object: &Value) -> Vec<Target> {
    target(text_at(object, "/spec/output/name"))
}

fn secret_name(object: &Value) -> Vec<Target> {
    target(text_at(object, "/spec/secretName"))
}

fn secret_objects(object: &Value) -> Vec<Target> {
    list_at(object, "/spec/secretObjects").iter().flat_map(|item| target(text(item, "secretName"))).collect()
}

fn sops_secret(object: &Value) -> Vec<Target> {
    list_at(object, "/spec/secretTemplates").iter().flat_map(|item| target(text(item, "name"))).collect()
}

fn sealed_secret(object: &Value) -> Vec<Target> {
    target(text_at(object, "/spec/template/metadata/name").or_else(|| text_at(object, "/metadata/name")))
}

fn infisical_secret(object: &Value) -> Vec<Target> {
    let one = object.pointer("/spec/managedSecretReference");
    let references = one.into_iter().chain(list_at(object, "/spec/managedKubeSecretReferences"));
    references.filter_map(|reference| in_namespace(reference, "secretName", "secretNamespace")).collect()
}

fn doppler_secret(object: &Value) -> Vec<Target> {
    let reference = object.pointer("/spec/managedSecret");
    reference.and_then(|reference| in_namespace(reference, "name", "namespace")).into_iter().collect()
}

fn in_namespace(reference: &Value, name: &str, namespace: &str) -> Option<Target> {
    let secret = text(reference, name)?.to_owned();
    Some(Target { namespace: text(reference, namespace).map(str::to_owned), secret })
}

fn remote_refs(object: &Value, kind: SourceKind) -> Vec<RemoteRef> {
    match kind {
        SourceKind::ExternalSecret => external_refs(object, "/spec"),
        SourceKind::ClusterExternalSecret => external_refs(object, "/spec/externalSecretSpec"),
        SourceKind::VaultStaticSecret | SourceKind::VaultDynamicSecret => {
            let path = text_at(object, "/spec/path").map(|path| {
                text_at(object, "/spec/mount")
                    .map_or_else(|| path.to_owned(), |mount| format!("{mount}/{path}"))
            });
            path.map(|path| RemoteRef { key: None, path, property: None }).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn external_refs(object: &Value, spec: &str) -> Vec<RemoteRef> {
    let data = list_at(object, &format!("{spec}/data")).iter().filter_map(|item| {
        // The predecessor of the External Secrets Operator used the fields `key` and `name`.
        let old = item.get("remoteRef").is_none().then_some(item);
        let reference = old.or_else(|| item.get("remoteRef"))?;
        Some(RemoteRef {
            key: text(item, "secretKey").or_else(|| text(item, "name")).map(str::to_owned),
            path: text(reference, "key")?.to_owned(),
            property: text(reference, "property").map(str::to_owned),
        })
    });
    let whole = list_at(object, &format!("{spec}/dataFrom")).iter().filter_map(|item| {
        let path = text_at(item, "/extract/key").or_else(|| text(item, "key"))?;
        let property = text_at(item, "/extract/property").map(str::to_owned);
        Some(RemoteRef { key: None, path: path.to_owned(), property })
    });
    data.chain(whole).collect()
}

#[cfg(test)]
mod tests;
