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
        doc: "How the file is written: the `data` object as JSON, one field as it is, or a dotenv, YAML or Java \
              properties file of all fields.",
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
        doc: "Renders the file by a minijinja template over `data`, `version` and `path`. Excludes `secret-format-<name>`.",
        example: "postgres://{{ data.username }}:{{ data.password }}@db:5432/billing",
        set: |draft, entry| {
            file(draft, entry).template = Some(value::template(entry.value)?);
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
];
