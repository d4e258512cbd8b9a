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
        doc: "Where the file stands below the mount path, for names that an annotation key cannot hold.",
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
        doc: "How the file is written: the `data` object as JSON, one field as it is, or a file of all fields: `env` for \
              shells and systemd, `dotenv` for Node, Compose and dotenv libraries, YAML or Java properties.",
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
        doc: "Renders the file by a minijinja template over `data`, `version` and `path`; of several secrets over \
              `secrets.<alias>`, each with these three. In a URL, write the filter `urlencode` behind each value. Excludes \
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
        doc: "The file's mode, octal. The file belongs to the agent's user.",
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
        doc: "How the field's text is encoded. `base64`: the file gets the decoded \
              bytes, as keystores (PKCS#12, JKS) need. Needs a `#field`.",
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
        doc: "`true`: the application starts without this file if the secret, or one of several, does not exist. It is \
              written when the secret appears. Any other failure is treated as for every secret.",
        examples: &["true", "false"],
        set: |draft, entry| {
            file(draft, entry).optional = Some(value::boolean(entry.value)?);
            Ok(())
        },
    },
];
