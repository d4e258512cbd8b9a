//! Detects other products that deliver secrets to a pod or restart it, by annotations, variable
//! values and CSI volumes.

use serde::Serialize;
use serde_json::Value;

use crate::{
    container::containers,
    json::{list, metadata, text},
    volumes::csi_volumes,
};

/// A product that handles secrets, other than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Product {
    /// The Vault Agent injector.
    VaultK8s,
    /// The agent injector of `OpenBao`, a fork of vault-k8s.
    OpenBao,
    /// The webhook of Bank-Vaults.
    BankVaults,
    /// 1Password's operator and injector.
    OnePassword,
    /// Akeyless' injector.
    Akeyless,
    /// AWS Secrets Manager's sidecar injector.
    Aws,
    /// Azure Key Vault to Kubernetes.
    Akv2k8s,
    /// `CyberArk` Conjur.
    Conjur,
    /// Infisical's injector and operator.
    Infisical,
    /// Doppler's operator.
    Doppler,
    /// The Secrets Store CSI driver.
    SecretsStoreCsi,
    /// Stakater's Reloader.
    Reloader,
    /// Wave, which restarts workloads.
    Wave,
}

/// What a product does to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductKind {
    /// It delivers secrets.
    Delivers,
    /// It restarts pods whose secrets changed.
    Restarts,
}

impl Product {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VaultK8s => "vault-k8s",
            Self::OpenBao => "openbao-k8s",
            Self::BankVaults => "bank-vaults",
            Self::OnePassword => "1Password",
            Self::Akeyless => "Akeyless",
            Self::Aws => "AWS secret injector",
            Self::Akv2k8s => "akv2k8s",
            Self::Conjur => "Conjur",
            Self::Infisical => "Infisical",
            Self::Doppler => "Doppler",
            Self::SecretsStoreCsi => "Secrets Store CSI",
            Self::Reloader => "Reloader",
            Self::Wave => "Wave",
        }
    }

    /// What it does.
    pub const fn kind(self) -> ProductKind {
        match self {
            Self::Reloader | Self::Wave | Self::Doppler => ProductKind::Restarts,
            _ => ProductKind::Delivers,
        }
    }
}

/// The annotations of other products: a prefix of the key, or for Reloader the domain that follows
/// a resource type.
const ANNOTATIONS: [(&str, Product); 20] = [
    ("vault.hashicorp.com/", Product::VaultK8s),
    ("openbao.org/agent", Product::OpenBao),
    ("openbao.org/role", Product::OpenBao),
    ("vault.security.banzaicloud.io/", Product::BankVaults),
    ("vault.security.bank-vaults.io/", Product::BankVaults),
    ("secrets-webhook.security.bank-vaults.io/", Product::BankVaults),
    ("bao.security.bank-vaults.io/", Product::BankVaults),
    ("operator.1password.io/", Product::OnePassword),
    ("akeyless/", Product::Akeyless),
    ("secrets.k8s.aws/", Product::Aws),
    ("conjur.org/", Product::Conjur),
    ("org.infisical.com/", Product::Infisical),
    ("secrets.infisical.com/", Product::Infisical),
    ("secrets.doppler.com/", Product::Doppler),
    ("reloader.stakater.com/", Product::Reloader),
    ("secret.reloader.stakater.com/", Product::Reloader),
    ("configmap.reloader.stakater.com/", Product::Reloader),
    ("secretproviderclass.reloader.stakater.com/", Product::Reloader),
    ("deployment.reloader.stakater.com/", Product::Reloader),
    ("wave.pusher.com/", Product::Wave),
];

/// Prefixes of variable values that a webhook replaces when the process starts. Entries with `${`
/// may be anywhere in the value.
const VARIABLE_VALUES: [(&str, Product); 7] = [
    ("vault:", Product::BankVaults),
    (">>vault:", Product::BankVaults),
    ("${vault:", Product::BankVaults),
    ("bao:", Product::BankVaults),
    ("${bao:", Product::BankVaults),
    ("op://", Product::OnePassword),
    ("akeyless:", Product::Akeyless),
];

/// The suffix of akv2k8s variable values.
const AKV2K8S: &str = "@azurekeyvault";

/// The name of the Secrets Store CSI driver.
pub const SECRETS_STORE: &str = "secrets-store.csi.k8s.io";

/// A product that handles a pod, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherProduct {
    /// The product.
    pub product: Product,
    /// The evidence; never empty.
    pub evidence: Vec<Evidence>,
}

/// The evidence that a product handles a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Evidence {
    /// An annotation of the workload or of its pod template.
    Annotation {
        /// Its key.
        key: String,
        /// Its complete value, which may be a template of any length.
        value: String,
    },
    /// A variable whose value is a reference.
    Variable {
        /// The container.
        container: String,
        /// The variable.
        variable: String,
        /// The reference.
        value: String,
    },
    /// A CSI volume.
    Csi {
        /// The volume.
        volume: String,
        /// Its `SecretProviderClass`.
        class: Option<String>,
    },
}

/// The products that handle a pod, sorted. `object` is the workload, or the pod if it has none;
/// `pod` is the pod or its template.
pub fn other_products(object: &Value, pod: &Value) -> Vec<OtherProduct> {
    let mut found: Vec<OtherProduct> = Vec::new();
    let mut note = |product, evidence: Evidence| match found.iter_mut().find(|o| o.product == product) {
        Some(other) if other.evidence.contains(&evidence) => {}
        Some(other) => other.evidence.push(evidence),
        None => found.push(OtherProduct { product, evidence: vec![evidence] }),
    };
    for (key, value) in metadata(object, "annotations").chain(metadata(pod, "annotations")) {
        if let Some((_, product)) = ANNOTATIONS.iter().find(|(prefix, _)| key.starts_with(prefix)) {
            note(*product, Evidence::Annotation { key: key.to_owned(), value: value.to_owned() });
        }
    }
    for container in containers(pod) {
        for variable in list(container.value, "env") {
            let Some(value) = text(variable, "value") else { continue };
            if let Some(product) = of_value(value) {
                note(
                    product,
                    Evidence::Variable {
                        container: container.reference.name.clone(),
                        variable: text(variable, "name").unwrap_or_default().to_owned(),
                        value: value.to_owned(),
                    },
                );
            }
        }
    }
    for volume in csi_volumes(pod).into_iter().filter(|volume| volume.driver == SECRETS_STORE) {
        note(Product::SecretsStoreCsi, Evidence::Csi { volume: volume.volume, class: volume.class });
    }
    found.sort_by_key(|other| other.product);
    found
}

fn of_value(value: &str) -> Option<Product> {
    if value.ends_with(AKV2K8S) {
        return Some(Product::Akv2k8s);
    }
    let found = VARIABLE_VALUES.iter().find(|(pattern, _)| {
        value.starts_with(pattern) || pattern.starts_with("${") && value.contains(pattern)
    });
    found.map(|(_, product)| *product)
}

#[cfg(test)]
mod tests;
