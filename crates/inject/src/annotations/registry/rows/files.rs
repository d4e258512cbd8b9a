//! How a file looks.

use scaivault_contract::RelativeFile;

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Words},
    Key::Named,
    Layers, file, parse,
};
use crate::annotations::value::{self, ValueKind};

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Named("secret-file-"),
        value: ValueKind::RelativeFile,
        default: Words("`<name>`"),
        layers: Layers::POD,
        doc: "Where the file stands below the mount path, for names that an annotation key cannot hold.",
        example: "config/db.json",
        set: |draft, entry| {
            file(draft, entry).file = Some(parse::<RelativeFile>(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-format-"),
        value: ValueKind::Format,
        default: Words("`json`; `raw` with a `#field`"),
        layers: Layers::POD,
        doc: "How the file is written: the `data` object as JSON, one field as it is, or a file of all fields: `env` for \
              shells and systemd, `dotenv` for Node, Compose and dotenv libraries, YAML or Java properties.",
        example: "env",
        set: |draft, entry| {
            file(draft, entry).format = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-template-"),
        value: ValueKind::Template,
        default: Nothing,
        layers: Layers::POD,
        doc: "Renders the file by a minijinja template over `data`, `version` and `path`; of several secrets over \
              `secrets.<alias>`, each with these three. In a URL, write the filter `urlencode` behind each value. Excludes \
              `secret-format-<name>`.",
        example: "postgres://{{ data.username|urlencode }}:{{ data.password|urlencode }}@db:5432/billing",
        set: |draft, entry| {
            file(draft, entry).template = Some(entry.value.to_owned());
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-mode-"),
        value: ValueKind::FileMode,
        default: Words("`0444`; `0400` when the agent and every reader share one uid"),
        layers: Layers::POD,
        doc: "The file's mode, octal. The file belongs to the agent's user.",
        example: "0440",
        set: |draft, entry| {
            file(draft, entry).mode = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-encoding-"),
        value: ValueKind::Encoding,
        default: Nothing,
        layers: Layers::POD,
        doc: "How the field's text is encoded. `base64`: the file gets the decoded \
              bytes, as keystores (PKCS#12, JKS) need. Needs a `#field`.",
        example: "base64",
        set: |draft, entry| {
            file(draft, entry).encoding = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-optional-"),
        value: ValueKind::Bool,
        default: Words("`false`"),
        layers: Layers::POD,
        doc: "`true`: the application starts without this file if the secret, or one of several, does not exist. It is \
              written when the secret appears. Any other failure is treated as for every secret.",
        example: "true",
        set: |draft, entry| {
            file(draft, entry).optional = Some(value::boolean(entry.value)?);
            Ok(())
        },
    },
];
