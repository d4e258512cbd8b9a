//! Options of a file.

use scaivault_contract::RelativeFile;

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Words},
    Key::Named,
    NamedKey, Setters, file, parse,
};
use crate::annotations::value::{self, ValueKind};

pub(super) static ROWS: &[AnnotationSpec] = &[
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
