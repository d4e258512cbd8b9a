//! The secrets that are injected.

use super::{
    AnnotationSpec, DefaultValue::None as Nothing, Key::Named, NameError, NamedKey, Setters, file_name,
    parse, secret_source,
};
use crate::{
    annotations::value::ValueKind,
    problem::{Code, Excerpt},
};
use scaivault_contract::{DeferredSecret, VariableName};

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Named(NamedKey::InjectSecret),
        value: ValueKind::SecretSource,
        default: Nothing,
        setters: Setters::Pod,
        doc: "Writes a secret, or one field of it, to the file `<name>` below the mount path. `@version` pins a \
              version. Several secrets, each as `alias=path`, become one file: in JSON and YAML with a key for each \
              alias, in the other formats with a line for each alias, in a template as `secrets.<alias>.data`.",
        examples: &[
            "environments/production/billing/database",
            "environments/production/billing/stripe#secret_key@3",
            "db=environments/production/billing/database, api=a/b#key",
        ],
        set: |draft, entry| {
            let secret = secret_source(entry)?;
            let is_taken = draft.dynamic.contains_key(entry.name);
            let name = file_name(entry.name, is_taken, NamedKey::InjectDynamic)?;
            draft.secrets.insert(name, secret);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::InjectDynamic),
        value: ValueKind::DynamicRef,
        default: Nothing,
        setters: Setters::Pod,
        doc: "Generates dynamic credentials, writes them to the file `<name>` and renews the lease while the pod runs. \
              The sidecar revokes the lease when the pod ends.",
        examples: &["engine=postgres-prod role=readonly ttl=2h", "engine=postgres-prod role=read-write"],
        set: |draft, entry| {
            let dynamic = parse(entry)?;
            let is_taken = draft.secrets.contains_key(entry.name);
            let name = file_name(entry.name, is_taken, NamedKey::InjectSecret)?;
            draft.dynamic.insert(name, dynamic);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::InjectEnv),
        value: ValueKind::FieldRef,
        default: Nothing,
        setters: Setters::Pod,
        doc: "Sets the environment variable `<VAR>` in the containers with `fileKeyRef`, so the value is in no API \
              object. Needs Kubernetes 1.35 or newer on every node. The variable is set when a container starts and \
              does not change while it runs.",
        examples: &["environments/production/billing/database#password"],
        set: |draft, entry| {
            let variable: VariableName = entry.name.parse().map_err(|_| variable_name(entry.name))?;
            let secret: DeferredSecret = parse(entry)?;
            if secret.field.is_none() {
                return Err("a variable needs a #field".into());
            }
            draft.variables.insert(variable, secret);
            Ok(())
        },
    },
];

fn variable_name(name: &str) -> NameError {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let meant: String = digit.then_some('_').into_iter().chain(name.chars().map(plain)).collect();
    let is_name = meant.parse::<VariableName>().is_ok();
    NameError {
        code: Code::InvalidValue,
        message: format!("{} cannot name a variable", Excerpt::new(name)),
        allowed: Some(VariableName::ALLOWED),
        fix: if is_name {
            format!("rename the key to {}{meant}", NamedKey::InjectEnv)
        } else {
            "shorten the name in the key".to_owned()
        },
    }
}
