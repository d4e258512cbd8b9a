//! The agent's identity at ScaiVault.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value, Words},
    ExactKey,
    Key::Exact,
    Setters, parse,
};
use crate::annotations::value::{self, ValueKind};
use scaivault_contract::{
    TrustPolicy, defaults,
    names::{CA_FILE, CLIENT_ID_FILE, CLIENT_SECRET_FILE},
};

/// The shortest lifetime of a projected token in seconds (Kubernetes API validation).
const LEAST_TOKEN_SECONDS: u64 = 600;
/// The longest lifetime of a projected token in seconds (Kubernetes API validation: 2^32).
const MOST_TOKEN_SECONDS: u64 = 1 << 32;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Url),
        value: ValueKind::Url,
        default: Value(defaults::URL),
        setters: Setters::PodAndDefaults,
        doc: "Address of ScaiVault. On pods and namespaces, only addresses that the injector's `allowedUrls` cover.",
        examples: &["https://scaivault.scailabs.ai", "https://scaivault.example"],
        set: |draft, entry| {
            draft.url = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::Role),
        value: ValueKind::Line,
        default: Words("the service account's annotation `scaikey.scailabs.ai/role`"),
        setters: Setters::PodServiceAccountAndDefaults,
        doc: "The ScaiKey identity to request when the token is exchanged.",
        examples: &["sa:billing-prod", "billing"],
        set: |draft, entry| {
            draft.role = Some(value::line(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::Audience),
        value: ValueKind::Line,
        default: Value(defaults::AUDIENCE),
        setters: Setters::PodAndDefaults,
        doc: "The audience of the projected service-account token.",
        examples: &["scaivault", "vault.example"],
        set: |draft, entry| {
            draft.audience = value::line(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::TokenExpirationSeconds),
        value: ValueKind::Number { least: LEAST_TOKEN_SECONDS, most: MOST_TOKEN_SECONDS },
        default: Value("3600"),
        setters: Setters::PodAndDefaults,
        doc: "Lifetime of the projected token in seconds. The kubelet renews it.",
        examples: &["3600", "600", "7200"],
        set: |draft, entry| {
            let seconds: i64 = entry.value.parse().map_err(|_| "not a number")?;
            if !u64::try_from(seconds).is_ok_and(|s| (LEAST_TOKEN_SECONDS..=MOST_TOKEN_SECONDS).contains(&s))
            {
                return Err("out of bounds".into());
            }
            draft.token_expiration_seconds = seconds;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ClientCredentialsSecret),
        value: ValueKind::ObjectName,
        default: Nothing,
        setters: Setters::PodAndDefaults,
        doc: "A Secret in the pod's namespace with a client id and client secret. Use it if ScaiKey does not trust the \
              cluster's tokens. Replaces the projected token.",
        examples: &["billing-scaikey"],
        set: |draft, entry| {
            draft.client_credentials_secret = Some(value::object_name(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ClientCredentialsIdKey),
        value: ValueKind::ObjectKey,
        default: Value(CLIENT_ID_FILE),
        setters: Setters::PodAndDefaults,
        doc: "The key of `client-credentials-secret` with the client id.",
        examples: &["clientId", "client_id"],
        set: |draft, entry| {
            draft.client_credentials_id_key = value::object_key(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ClientCredentialsSecretKey),
        value: ValueKind::ObjectKey,
        default: Value(CLIENT_SECRET_FILE),
        setters: Setters::PodAndDefaults,
        doc: "The key of `client-credentials-secret` with the client secret.",
        examples: &["clientSecret", "client-secret"],
        set: |draft, entry| {
            draft.client_credentials_secret_key = value::object_key(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::CaConfigmap),
        value: ValueKind::ObjectName,
        default: Nothing,
        setters: Setters::PodAndDefaults,
        doc: "A ConfigMap in the pod's namespace with the certificate authorities (PEM) that sign ScaiVault's \
              certificate.",
        examples: &["scaivault-ca"],
        set: |draft, entry| {
            draft.ca_configmap = Some(value::object_name(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::CaConfigmapKey),
        value: ValueKind::ObjectKey,
        default: Value(CA_FILE),
        setters: Setters::PodAndDefaults,
        doc: "The key of `ca-configmap` with the authorities, such as `ca-bundle.crt`, or `service-ca.crt` on \
              OpenShift.",
        examples: &["ca-bundle.crt", "ca.crt"],
        set: |draft, entry| {
            draft.ca_configmap_key = value::object_key(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::CaTrust),
        value: ValueKind::Choice(TrustPolicy::NAMES),
        default: Words("`private` with a `ca-configmap`, else `public`"),
        setters: Setters::PodAndDefaults,
        doc: "Which authorities are trusted for ScaiVault: those of `ca-configmap` (`private`), the public ones, or \
              both.",
        examples: &["both", "public", "private"],
        set: |draft, entry| {
            draft.ca_trust = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ScaikeyTrust),
        value: ValueKind::Choice(TrustPolicy::NAMES),
        default: Words("the same as `ca-trust`"),
        setters: Setters::PodAndDefaults,
        doc: "The same as `ca-trust` for ScaiKey's token endpoint, which is used with `client-credentials-secret`.",
        examples: &["public", "both"],
        set: |draft, entry| {
            draft.scaikey_trust = Some(parse(entry)?);
            Ok(())
        },
    },
];
