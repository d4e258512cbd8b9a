//! The secrets that are injected, and the options of their files.

use scaivault_contract::{DeferredSecret, RelativeFile, VariableName};

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Words},
    Key::Named,
    NameError, NamedKey, Setters, file, file_name, parse, secret_source,
};
use crate::{
    annotations::value::{self, ValueKind},
    problem::{Code, Excerpt},
};

pub(super) static SECRETS: &[AnnotationSpec] = &[
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

pub(super) static FILES: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Named(NamedKey::SecretFile),
        value: ValueKind::RelativeFile,
        default: Words("`<name>`"),
        setters: Setters::Pod,
        doc: "Path of the file below the mount path, for names that an annotation key cannot contain.",
        examples: &["config/db.json", "deep/er/key", "with space", "ünï"],
        set: |draft, entry| {
            file(draft, entry).file = Some(parse::<RelativeFile>(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::SecretFormat),
        value: ValueKind::Format,
        default: Words("`json`; `raw` with a `#field`"),
        setters: Setters::Pod,
        doc: "Format of the file. `json`: the `data` object; `raw`: the text of one field; `env`: all fields, for \
              shells and systemd; `dotenv`: all fields, for Node, Compose and dotenv libraries; `yaml`, `properties` \
              (Java): all fields.",
        examples: &["env", "json", "dotenv", "yaml", "properties", "raw"],
        set: |draft, entry| {
            file(draft, entry).format = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::SecretTemplate),
        value: ValueKind::Template,
        default: Nothing,
        setters: Setters::Pod,
        doc: "A minijinja template for the file, over `data`, `version` and `path`; with several secrets over \
              `secrets.<alias>`, each with these three. In a URL, apply the filter `urlencode` to each value. Excludes \
              `secret-format-<name>`.",
        examples: &[
            "postgres://{{ data.username|urlencode }}:{{ data.password|urlencode }}@db:5432/billing",
            "{{ data.user }}:{{ data.password }}\n",
            "$(HOME) {{ version }} -> \"x\"",
            "{{ path }}",
        ],
        set: |draft, entry| {
            file(draft, entry).template = Some(entry.value.to_owned());
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::SecretMode),
        value: ValueKind::FileMode,
        default: Words("`0444`; `0400` when the agent and every reader share one uid"),
        setters: Setters::Pod,
        doc: "Mode of the file, octal. The file belongs to the agent's user.",
        examples: &["0440", "0400", "0640", "444"],
        set: |draft, entry| {
            file(draft, entry).mode = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::SecretEncoding),
        value: ValueKind::Encoding,
        default: Nothing,
        setters: Setters::Pod,
        doc: "Encoding of the field. `base64`: the decoded bytes are written, for keystores (PKCS#12, JKS) and other \
              binary files. Needs a `#field`.",
        examples: &["base64"],
        set: |draft, entry| {
            file(draft, entry).encoding = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named(NamedKey::SecretOptional),
        value: ValueKind::Bool,
        default: Words("`false`"),
        setters: Setters::Pod,
        doc: "`true`: if the secret (or one of several) does not exist, the application starts without this file. The \
              sidecar writes the file when the secret is created. Any other error is handled as for other secrets.",
        examples: &["true", "false"],
        set: |draft, entry| {
            file(draft, entry).optional = Some(value::boolean(entry.value)?);
            Ok(())
        },
    },
];
