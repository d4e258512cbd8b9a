//! The parameter `objects`: what is read, and which file it becomes.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use scaivault_contract::{
    DynamicRef, Encoding, Excerpt, FileMode, Format, RelativeFile, SecretRef, SecretSource, conflicts,
};
use scaivault_inject::annotations::nearest;
use scaivault_render::{Source, Style};

use crate::{attributes::Pod, failure::Failure, variables};

/// The most objects of one class.
const OBJECTS_MAX: usize = 256;

/// The keys of an object.
const KEYS: [&str; 12] = [
    "encoding", "engine", "field", "file", "format", "mode", "optional", "path", "role", "template", "ttl",
    "version",
];

/// One file of the volume.
#[derive(Debug)]
pub(crate) struct Object {
    /// What is read.
    pub(crate) source: Source,
    /// Where it is written, below the volume.
    pub(crate) file: RelativeFile,
    /// Its permission bits. Files of the driver belong to root, so the default is readable for all.
    pub(crate) mode: FileMode,
    /// Whether it is left out if what it is read from does not exist.
    pub(crate) is_optional: bool,
    /// How it is written.
    pub(crate) style: Style,
}

/// An object as it is written. Scalars stay text: `mode: 0440` must not become a number.
type Written = BTreeMap<String, String>;

/// Reads the parameter, with the variables filled for `pod`, or all that is wrong with it.
pub(crate) fn read(text: Option<&str>, pod: &Pod) -> Result<Vec<Object>, Failure> {
    let text = text.ok_or_else(|| {
        Failure::invalid(
            "the parameter objects is missing; list files in it, such as `- path: a/b` with `file: b.json`",
        )
    })?;
    let items = parse_yaml(text)?;
    if items.is_empty() {
        return Err(Failure::invalid(
            "the parameter objects is empty; list at least one object with path and file",
        ));
    }
    if items.len() > OBJECTS_MAX {
        return Err(Failure::invalid(format!(
            "the parameter objects lists {} objects; allowed: {OBJECTS_MAX}; use several SecretProviderClasses",
            items.len()
        )));
    }
    let mut problems = Vec::new();
    let mut objects = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match read_object(item, pod) {
            Ok(object) => objects.push(object),
            Err(faults) => {
                problems.extend(faults.into_iter().map(|fault| format!("objects[{index}]: {fault}")));
            }
        }
    }
    let files = objects.iter().map(|object| object.file.as_str());
    problems.extend(conflicts(files).iter().map(|conflict| format!("objects: {conflict}")));
    Failure::unless(problems)?;
    Ok(objects)
}

fn parse_yaml(text: &str) -> Result<Vec<Written>, Failure> {
    // Without the lines around a mistake: an event of the pod shows the error.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        Failure::invalid(format!("the parameter objects is not a list of objects in YAML: {error}"))
    })
}

fn read_object(written: &Written, pod: &Pod) -> Result<Object, Vec<String>> {
    let mut faults: Vec<_> =
        written.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| unknown_key(key)).collect();
    let source = read_source(written, pod);
    let file = match written.get("file") {
        Some(file) => file.parse::<RelativeFile>().map_err(|error| error.to_string()),
        None => Err(format!("file is missing; allowed: {}", RelativeFile::ALLOWED)),
    };
    let format = parse::<Format>(written, "format");
    let encoding = parse::<Encoding>(written, "encoding");
    let mode = parse::<FileMode>(written, "mode");
    let is_optional = match written.get("optional").map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!("optional is {}; allowed: true, false", Excerpt::new(other))),
    };
    match (source, file, format, encoding, mode, is_optional) {
        (Ok(source), Ok(file), Ok(format), Ok(encoding), Ok(mode), Ok(is_optional)) if faults.is_empty() => {
            let template = written.get("template").cloned();
            let style = read_style(&source, template, encoding, format).map_err(|fault| vec![fault])?;
            Ok(Object { source, file, mode: mode.unwrap_or(FileMode::DEFAULT), is_optional, style })
        }
        (source, file, format, encoding, mode, is_optional) => {
            let errors =
                [source.err(), file.err(), format.err(), encoding.err(), mode.err(), is_optional.err()];
            faults.extend(errors.into_iter().flatten());
            Err(faults)
        }
    }
}

/// The secrets of an object: `path` in the grammar of the agent's mappings, with `field` and `version` beside it.
fn read_source(written: &Written, pod: &Pod) -> Result<Source, String> {
    if ["engine", "role", "ttl"].into_iter().any(|key| written.contains_key(key)) {
        return read_lease(written, pod).map(Source::Lease);
    }
    let path =
        written.get("path").ok_or("path is missing; name a secret, such as environments/production/app")?;
    let path = variables::fill(path, pod).map_err(|fault| format!("path: {fault}"))?;
    let mut source: SecretSource = path.parse().map_err(|error| format!("path: {error}"))?;
    let (field, version) = (written.get("field"), written.get("version"));
    if field.is_none() && version.is_none() {
        return Ok(Source::Secrets(source));
    }
    let SecretSource::Single(secret) = &mut source else {
        return Err(
            "field and version belong to one secret; write alias=path#field@version in path".to_owned()
        );
    };
    if field.is_some() && secret.field.is_some() || version.is_some() && secret.version.is_some() {
        return Err("field or version is set twice: in path and beside it; remove one of them".to_owned());
    }
    if let Some(field) = field {
        secret.field = Some(field.parse().map_err(|error| format!("field: {error}"))?);
    }
    if let Some(version) = version {
        // The grammar of a version is that of a reference.
        let pinned: SecretRef =
            format!("{}@{version}", secret.path).parse().map_err(|error| format!("version: {error}"))?;
        secret.version = pinned.version;
    }
    Ok(Source::Secrets(source))
}

/// The dynamic credentials of an object.
fn read_lease(written: &Written, pod: &Pod) -> Result<DynamicRef, String> {
    if let Some(key) =
        ["path", "field", "version", "optional"].into_iter().find(|key| written.contains_key(*key))
    {
        return Err(format!("{key} and engine exclude each other; remove {key} for dynamic credentials"));
    }
    let filled = |key: &str| {
        let text = written
            .get(key)
            .ok_or_else(|| format!("{key} is missing; dynamic credentials need engine and role"))?;
        variables::fill(text, pod).map_err(|fault| format!("{key}: {fault}"))
    };
    Ok(DynamicRef {
        engine: filled("engine")?.parse().map_err(|error| format!("engine: {error}"))?,
        role: filled("role")?.parse().map_err(|error| format!("role: {error}"))?,
        ttl: parse(written, "ttl")?,
    })
}

/// How the file is written: a field as it is, and the whole secret as JSON, unless the object says something else.
fn read_style(
    source: &Source,
    template: Option<String>,
    encoding: Option<Encoding>,
    format: Option<Format>,
) -> Result<Style, String> {
    if template.is_some() && (format.is_some() || encoding.is_some()) {
        return Err("template excludes format and encoding; remove them".to_owned());
    }
    let has_field = matches!(source, Source::Secrets(SecretSource::Single(SecretRef { field: Some(_), .. })));
    let format = format.unwrap_or(if has_field { Format::Raw } else { Format::Json });
    if encoding.is_some() && format != Format::Raw {
        return Err("encoding decodes one field; set field, or format: raw".to_owned());
    }
    Style::new(source, template, encoding, Some(format)).map_err(|error| format!("template: {error}"))
}

fn parse<T: FromStr<Err: Display>>(written: &Written, key: &str) -> Result<Option<T>, String> {
    written.get(key).map(|text| text.parse().map_err(|error| format!("{key}: {error}"))).transpose()
}

fn unknown_key(key: &str) -> String {
    let known = match key {
        "objectName" | "name" | "objectAlias" => Some("file"),
        "secretPath" => Some("path"),
        "secretKey" | "key" => Some("field"),
        "filePermission" => Some("mode"),
        _ => nearest(key, KEYS),
    };
    let hint = known.map_or(String::new(), |known| format!("; did you mean {known}?"));
    format!("the key {} is not known{hint}; allowed: {}", Excerpt::new(key), KEYS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::tests::pod;

    #[track_caller]
    fn problem(text: &str) -> String {
        read(Some(text), &pod()).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_objects_of_the_published_page() {
        let text = "- path: environments/production/billing/database\n  file: db.json\n\
                    - path: environments/production/billing/stripe\n  file: stripe.json\n  field: secret_key\n";
        let objects = read(Some(text), &pod()).unwrap();
        assert_eq!(objects[0].source.to_string(), "environments/production/billing/database");
        assert!(matches!(objects[0].style, Style::Format(Format::Json)));
        assert_eq!(objects[1].source.to_string(), "environments/production/billing/stripe#secret_key");
        assert!(matches!(objects[1].style, Style::Format(Format::Raw)));
        assert_eq!(objects[1].mode.bits(), 0o444);
    }

    #[test]
    fn scalars_may_be_quoted_or_not() {
        for (mode, version, optional) in [("0440", "3", "true"), ("'0440'", "'3'", "'true'")] {
            let text =
                format!("[{{path: a/b, file: c, mode: {mode}, version: {version}, optional: {optional}}}]");
            let objects = read(Some(&text), &pod()).unwrap();
            assert_eq!((objects[0].mode.bits(), objects[0].is_optional), (0o440, true));
            assert_eq!(objects[0].source.to_string(), "a/b@3");
        }
    }

    #[test]
    fn a_template_of_several_secrets() {
        let text = "[{path: 'db=a/${POD_NAME} api=c/d#key', file: e, template: '{{ secrets.db.data.x }}'}]";
        let objects = read(Some(text), &pod()).unwrap();
        assert_eq!(objects[0].source.to_string(), "db=a/web-0 api=c/d#key");
        assert!(matches!(objects[0].style, Style::Template(_)));
    }

    #[test]
    fn dynamic_credentials() {
        let objects =
            read(Some("[{engine: postgres, role: '${namespace}', ttl: 1h, file: c}]"), &pod()).unwrap();
        assert_eq!(objects[0].source.to_string(), "engine=postgres role=billing ttl=1h");
        for (object, expected) in [
            ("engine: postgres, file: c", "role is missing"),
            ("role: x, file: c", "engine is missing"),
            ("engine: postgres, role: x, path: a/b, file: c", "path and engine exclude"),
            ("engine: postgres, role: x, file: c, optional: true", "optional and engine exclude"),
            ("engine: postgres, role: 'a/b', file: c", "role: \"a/b\" is not a name"),
        ] {
            let said = problem(&format!("[{{{object}}}]"));
            assert!(said.contains(expected), "{object}: {said}");
        }
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let said = problem("[{path: A, file: ../x, mode: 0777, format: xml}, {file: y, objectName: z}]");
        for expected in [
            "objects[0]: path: \"A\"",
            "no segment may start with ..",
            "mode: \"0777\"",
            "format: \"xml\"",
            "objects[1]: the key \"objectName\" is not known; did you mean file?",
            "objects[1]: path is missing",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for (object, expected) in [
            ("path: a/b, file: c, template: x, format: raw", "template excludes"),
            ("path: a/b, file: c, encoding: base64", "set field"),
            ("path: 'a/b#c', file: c, field: d", "set twice"),
            ("path: 'x=a/b y=c/d', file: c, field: d", "belong to one secret"),
            ("path: a/b, file: c, version: 0", "is not a version"),
            ("path: a/b, file: c, field: 'd@3'", "is not the name of a field"),
            ("path: a/b, file: c, optional: maybe", "allowed: true, false"),
            ("path: a/b, file: c, template: '{{ data.x'", "template"),
        ] {
            let said = problem(&format!("[{{{object}}}]"));
            assert!(said.contains(expected), "{object}: {said}");
        }
        assert!(problem("[{path: a/b, file: c}, {path: a/b, file: c}]").contains("written twice"));
        assert!(problem("[{path: a/b, file: c}, {path: a/b, file: c/d}]").contains("is a file itself"));
    }

    #[test]
    fn objects_are_bounded() {
        let many = "- {path: a/b, file: c}\n".repeat(10_000);
        assert!(problem(&many).contains("lists 10000 objects; allowed: 256"), "{}", problem(&many));
        assert!(problem("[]").contains("is empty"));
        assert!(problem("swordfish").contains("not a list"));
        assert!(read(None, &pod()).unwrap_err().to_string().contains("objects is missing"));
        // Aliases that multiply.
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n";
        assert!(read(Some(bomb), &pod()).is_err());
    }
}
