//! What is injected.

use std::borrow::Cow;

use super::{
    AnnotationSpec, DefaultValue::None as Nothing, Key::Named, Layers, file_name, parse, secret_source,
};
use crate::annotations::value::ValueKind;
use scaivault_contract::{SecretRef, VariableName};

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Named("inject-secret-"),
        value: ValueKind::SecretSource,
        default: Nothing,
        layers: Layers::POD,
        doc: "Writes a secret, or one field of it, into the file `<name>` below the mount path. `@version` pins a version. \
              Several secrets, each as `alias=path`, become one file: JSON or YAML by alias, one line for each alias in the \
              other formats, `secrets.<alias>.data` in a template.",
        example: "environments/production/billing/database",
        set: |draft, entry| {
            let secret = secret_source(entry)?;
            let name = file_name(entry.name, draft.dynamic.contains_key(entry.name), "inject-dynamic-")?;
            draft.secrets.insert(name, secret);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("inject-dynamic-"),
        value: ValueKind::DynamicRef,
        default: Nothing,
        layers: Layers::POD,
        doc: "Issues dynamic credentials, writes them into the file `<name>` and keeps the lease alive for the pod's life. \
              The sidecar revokes the lease when the pod ends.",
        example: "engine=postgres-prod role=readonly ttl=2h",
        set: |draft, entry| {
            let dynamic = parse(entry)?;
            let name = file_name(entry.name, draft.secrets.contains_key(entry.name), "inject-secret-")?;
            draft.dynamic.insert(name, dynamic);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("inject-env-"),
        value: ValueKind::FieldRef,
        default: Nothing,
        layers: Layers::POD,
        doc: "Sets the variable `<VAR>` in the containers by `fileKeyRef`: the value stands in no API object. \
              Needs Kubernetes 1.35 on every node. Read when a container starts, not refreshed in it.",
        example: "environments/production/billing/stripe#secret_key",
        set: |draft, entry| {
            let variable: VariableName = entry
                .name
                .parse()
                .map_err(|_| Cow::<str>::Owned(format!("{} cannot name a variable", entry.name)))?;
            let secret: SecretRef = parse(entry)?;
            if secret.field.is_none() {
                return Err("a variable needs a #field".into());
            }
            draft.variables.insert(variable, secret);
            Ok(())
        },
    },
];
