//! Who the agent is for ScaiVault.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value, Words},
    Key::Exact,
    Layers, parse,
};
use crate::annotations::value::{self, ValueKind};
use scaivault_contract::TrustPolicy;

/// The shortest life of a projected token (Kubernetes API validation).
const LEAST_TOKEN_SECONDS: u64 = 600;
/// The longest life of a projected token (Kubernetes API validation: 2^32).
const MOST_TOKEN_SECONDS: u64 = 1 << 32;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("url"),
        value: ValueKind::Url,
        default: Value("https://scaivault.scailabs.ai"),
        layers: Layers::ANY,
        doc: "ScaiVault's address. From pods and namespaces only what the injector's `allowedUrls` cover.",
        example: "https://scaivault.scailabs.ai",
        set: |draft, entry| {
            draft.url = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("role"),
        value: ValueKind::Line,
        default: Words("the service account's annotation `scaikey.scailabs.ai/role`"),
        layers: Layers::ANY,
        doc: "The ScaiKey identity to take when the token is exchanged.",
        example: "sa:billing-prod",
        set: |draft, entry| {
            draft.role = Some(value::line(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("audience"),
        value: ValueKind::Line,
        default: Value("scaivault"),
        layers: Layers::ANY,
        doc: "The audience of the projected service-account token.",
        example: "scaivault",
        set: |draft, entry| {
            draft.audience = value::line(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("token-expiration-seconds"),
        value: ValueKind::Number { least: LEAST_TOKEN_SECONDS, most: MOST_TOKEN_SECONDS },
        default: Value("3600"),
        layers: Layers::ANY,
        doc: "Life of the projected token, in seconds. The kubelet renews it.",
        example: "3600",
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
        key: Exact("client-credentials-secret"),
        value: ValueKind::ObjectName,
        default: Nothing,
        layers: Layers::ANY,
        doc: "A Secret of the pod's namespace with client id and client secret: the fallback where ScaiKey does not trust the \
              cluster's tokens. Replaces the projected token.",
        example: "billing-scaikey",
        set: |draft, entry| {
            draft.client_credentials_secret = Some(value::object_name(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("client-credentials-id-key"),
        value: ValueKind::ObjectKey,
        default: Value("client_id"),
        layers: Layers::ANY,
        doc: "The key of `client-credentials-secret` that holds the client id.",
        example: "clientId",
        set: |draft, entry| {
            draft.client_credentials_id_key = value::object_key(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("client-credentials-secret-key"),
        value: ValueKind::ObjectKey,
        default: Value("client_secret"),
        layers: Layers::ANY,
        doc: "The key of `client-credentials-secret` that holds the client secret.",
        example: "clientSecret",
        set: |draft, entry| {
            draft.client_credentials_secret_key = value::object_key(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("ca-configmap"),
        value: ValueKind::ObjectName,
        default: Nothing,
        layers: Layers::ANY,
        doc: "A ConfigMap of the pod's namespace with the authorities (PEM) that sign ScaiVault's certificate.",
        example: "scaivault-ca",
        set: |draft, entry| {
            draft.ca_configmap = Some(value::object_name(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("ca-configmap-key"),
        value: ValueKind::ObjectKey,
        default: Value("ca.crt"),
        layers: Layers::ANY,
        doc: "The key of `ca-configmap` that holds the authorities, such as `ca-bundle.crt` or `service-ca.crt` on OpenShift.",
        example: "ca-bundle.crt",
        set: |draft, entry| {
            draft.ca_configmap_key = value::object_key(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("ca-trust"),
        value: ValueKind::Choice(TrustPolicy::NAMES),
        default: Words("`private` with a `ca-configmap`, else `public`"),
        layers: Layers::ANY,
        doc: "Which authorities may sign ScaiVault's certificate: those of `ca-configmap`, the public ones, or both.",
        example: "both",
        set: |draft, entry| {
            draft.ca_trust = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("scaikey-trust"),
        value: ValueKind::Choice(TrustPolicy::NAMES),
        default: Words("the same as `ca-trust`"),
        layers: Layers::ANY,
        doc: "The same for ScaiKey's token endpoint, which is used with `client-credentials-secret`.",
        example: "public",
        set: |draft, entry| {
            draft.scaikey_trust = Some(parse(entry)?);
            Ok(())
        },
    },
];
