//! The parameter `objects`: the secrets and their files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
};

use scaivault_contract::{
    Duration, DynamicRef, Encoding, Excerpt, FileMode, Format, RelativeFile, SecretRef, SecretSource, Source,
    TemplateWarning, check_template, conflicts,
};
use scaivault_inject::{VariablePlace, annotations::nearest};

use crate::{ATTRIBUTES_MAX_BYTES, Fault};

/// The maximum number of objects of a class.
pub const OBJECTS_MAX: usize = 256;

/// The maximum number of dynamic credentials of a pod. Each one is a separate user in a database.
pub const LEASES_MAX: usize = 16;

/// The minimum term of dynamic credentials. The driver calls about every minute, and an expired lease would
/// be replaced at each call.
const TTL_MIN: Duration = Duration::from_secs(60);

/// The maximum size of the values in `objects`, where each alias counts with its value.
const TEXT_MAX_BYTES: usize = 2 * ATTRIBUTES_MAX_BYTES;

/// The maximum number of values in `objects`, far more than [`OBJECTS_MAX`] objects have.
const NODES_MAX: usize = 64 * 1024;

/// The keys of an object.
pub const OBJECT_KEYS: [&str; 12] = [
    "encoding", "engine", "field", "file", "format", "mode", "optional", "path", "role", "template", "ttl",
    "version",
];

/// One file of the volume.
#[derive(Debug)]
pub struct Object {
    /// The secrets or the dynamic credentials.
    pub source: Source,
    /// The path below the volume.
    pub file: RelativeFile,
    /// The permission bits. Files of the driver belong to root, so the default is readable for all.
    pub mode: FileMode,
    /// Whether the file is omitted if its secret does not exist.
    pub is_optional: bool,
    /// The template, which excludes `encoding`. It compiles and only uses names that exist.
    pub template: Option<String>,
    /// How the field is decoded.
    pub encoding: Option<Encoding>,
    /// The format, if there is no template and no encoding.
    pub format: Format,
    /// Warnings about the template.
    pub warnings: Vec<TemplateWarning>,
}

/// An object as written. Scalars remain text, because `mode: 0440` must not become a number.
type Written = BTreeMap<String, String>;

/// Fills in the variables of a text, or returns an error.
pub type Fill<'a> = &'a dyn Fn(&str, VariablePlace) -> Result<String, String>;

/// Parses the parameter, with variables filled in by `fill`, or returns all problems.
pub fn read_objects(text: Option<&str>, fill: Fill<'_>) -> Result<Vec<Object>, Vec<Fault>> {
    let text = text.ok_or_else(|| {
        vec![Fault::whole(
            "the parameter objects is missing; list files in it, such as `- path: a/b` with `file: b.json`",
        )]
    })?;
    let items = parse_yaml(text).map_err(|fault| vec![fault])?;
    if items.is_empty() {
        return Err(vec![Fault::whole(
            "the parameter objects is empty; list at least one object with path and file",
        )]);
    }
    if items.len() > OBJECTS_MAX {
        return Err(vec![Fault::whole(format!(
            "the parameter objects lists {} objects; allowed: {OBJECTS_MAX}; use several SecretProviderClasses",
            items.len()
        ))]);
    }
    let mut faults = Vec::new();
    let mut objects = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match read_object(item, fill) {
            Ok(object) => objects.push(object),
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| Fault { object: Some(index), ..fault }));
            }
        }
    }
    let leases = objects.iter().filter_map(|object| object.source.lease()).collect::<BTreeSet<_>>().len();
    if leases > LEASES_MAX {
        faults.push(Fault::whole(format!(
            "the parameter objects lists {leases} dynamic credentials; allowed: {LEASES_MAX} for all volumes of a pod; use the same \
             engine, role and ttl for several files"
        )));
    }
    let files = objects.iter().map(|object| object.file.as_str());
    faults.extend(conflicts(files).iter().map(|conflict| Fault::whole(format!("objects: {conflict}"))));
    if faults.is_empty() { Ok(objects) } else { Err(faults) }
}

fn parse_yaml(text: &str) -> Result<Vec<Written>, Fault> {
    let budget = serde_saphyr::budget! {
        max_nodes: NODES_MAX,
        max_recorded_anchor_bytes: TEXT_MAX_BYTES,
        max_total_scalar_bytes: TEXT_MAX_BYTES,
    };
    // Without an excerpt of the YAML, because the error is shown in an event of the pod.
    let options = serde_saphyr::options! { budget: budget, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Fault {
        line: error.location().and_then(|location| usize::try_from(location.line()).ok()),
        ..Fault::whole(format!("the parameter objects is not a list of objects in YAML: {error}"))
    })
}

fn read_object(written: &Written, substitute: Fill<'_>) -> Result<Object, Vec<Fault>> {
    let unknown = written.keys().filter(|key| !OBJECT_KEYS.contains(&key.as_str()));
    let mut faults: Vec<_> = unknown.map(|key| unknown_key(key)).collect();
    let source = read_source(written, substitute);
    let file = match written.get("file") {
        Some(file) => file.parse::<RelativeFile>().map_err(|error| Fault::for_key("file", error)),
        None => Err(Fault::at_key("file", format!("file is missing; allowed: {}", RelativeFile::ALLOWED))),
    };
    let format = parse::<Format>(written, "format");
    let encoding = parse::<Encoding>(written, "encoding");
    let mode = parse::<FileMode>(written, "mode");
    let is_optional = match written.get("optional").map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Fault::for_key(
            "optional",
            format!("{} is not a boolean; allowed: true, false", Excerpt::new(other)),
        )),
    };
    match (source, file, format, encoding, mode, is_optional) {
        (Ok(source), Ok(file), Ok(format), Ok(encoding), Ok(mode), Ok(is_optional)) if faults.is_empty() => {
            let template = written.get("template").cloned();
            let (format, warnings) =
                check_style(&source, template.as_deref(), encoding, format).map_err(|fault| vec![fault])?;
            let mode = mode.unwrap_or(FileMode::DEFAULT);
            Ok(Object { source, file, mode, is_optional, template, encoding, format, warnings })
        }
        (source, file, format, encoding, mode, is_optional) => {
            let errors =
                [source.err(), file.err(), format.err(), encoding.err(), mode.err(), is_optional.err()];
            faults.extend(errors.into_iter().flatten());
            Err(faults)
        }
    }
}

/// The secrets of an object: `path` in the grammar of the agent's mappings, and `field` and `version`.
fn read_source(written: &Written, fill: Fill<'_>) -> Result<Source, Fault> {
    if ["engine", "role", "ttl"].into_iter().any(|key| written.contains_key(key)) {
        return read_lease(written, fill).map(Source::Lease);
    }
    let path = written.get("path").ok_or_else(|| {
        Fault::at_key("path", "path is missing; name a secret, such as environments/production/app")
    })?;
    let path = fill(path, VariablePlace::Secrets).map_err(|fault| Fault::for_key("path", fault))?;
    let mut source: SecretSource = path.parse().map_err(|error| Fault::for_key("path", error))?;
    let (field, version) = (written.get("field"), written.get("version"));
    if field.is_none() && version.is_none() {
        return Ok(Source::Secrets(source));
    }
    let key = if field.is_some() { "field" } else { "version" };
    let SecretSource::Single(secret) = &mut source else {
        return Err(Fault::at_key(
            key,
            "field and version do not apply to several secrets; write alias=path#field@version in path",
        ));
    };
    if field.is_some() && secret.field.is_some() || version.is_some() && secret.version.is_some() {
        return Err(Fault::at_key(
            key,
            "field or version is set twice: in path and as a key; remove one of them",
        ));
    }
    if let Some(field) = field {
        secret.field = Some(field.parse().map_err(|error| Fault::for_key("field", error))?);
    }
    if let Some(version) = version {
        // The grammar of a version is that of a reference.
        let pinned = format!("{}@{version}", secret.path).parse::<SecretRef>();
        secret.version = pinned.map_err(|error| Fault::for_key("version", error))?.version;
    }
    Ok(Source::Secrets(source))
}

/// The dynamic credentials of an object.
fn read_lease(written: &Written, fill: Fill<'_>) -> Result<DynamicRef, Fault> {
    if let Some(key) =
        ["path", "field", "version", "optional"].into_iter().find(|key| written.contains_key(*key))
    {
        return Err(Fault::at_key(
            key,
            format!(
                "{key} is not allowed together with engine, role or ttl; remove {key} for dynamic credentials"
            ),
        ));
    }
    let filled = |key: &'static str| {
        let text = written.get(key).ok_or_else(|| {
            Fault::at_key(key, format!("{key} is missing; dynamic credentials need engine and role"))
        })?;
        fill(text, VariablePlace::DynamicName).map_err(|fault| Fault::for_key(key, fault))
    };
    let ttl = parse::<Duration>(written, "ttl")?;
    if let Some(short) = ttl.filter(|ttl| *ttl < TTL_MIN) {
        return Err(Fault::for_key(
            "ttl",
            format!(
                "\"{short}\" is too short; allowed: {TTL_MIN} or longer, because the driver calls about every minute"
            ),
        ));
    }
    Ok(DynamicRef {
        engine: filled("engine")?.parse().map_err(|error| Fault::for_key("engine", error))?,
        role: filled("role")?.parse().map_err(|error| Fault::for_key("role", error))?,
        ttl,
    })
}

/// The format of an object (by default `raw` for a field and JSON for a whole secret), and the warnings of
/// its template.
fn check_style(
    source: &Source,
    template: Option<&str>,
    encoding: Option<Encoding>,
    format: Option<Format>,
) -> Result<(Format, Vec<TemplateWarning>), Fault> {
    if template.is_some() && (format.is_some() || encoding.is_some()) {
        return Err(Fault::at_key(
            "template",
            "format and encoding are not allowed together with template; remove them",
        ));
    }
    let has_field = matches!(source, Source::Secrets(SecretSource::Single(SecretRef { field: Some(_), .. })));
    let format = format.unwrap_or(if has_field { Format::Raw } else { Format::Json });
    if encoding.is_some() && format != Format::Raw {
        return Err(Fault::at_key("encoding", "encoding decodes one field; set field, or format: raw"));
    }
    let warnings = match template {
        Some(template) => {
            let checked = check_template(template, &source.template_names());
            checked.map_err(|error| Fault::for_key("template", error))?.warnings
        }
        None => Vec::new(),
    };
    Ok((format, warnings))
}

fn parse<T: FromStr<Err: Display>>(written: &Written, key: &'static str) -> Result<Option<T>, Fault> {
    written.get(key).map(|text| text.parse().map_err(|error| Fault::for_key(key, error))).transpose()
}

fn unknown_key(key: &str) -> Fault {
    let known = match key {
        "objectName" | "name" | "objectAlias" => Some("file"),
        "secretPath" => Some("path"),
        "secretKey" | "key" => Some("field"),
        "filePermission" => Some("mode"),
        _ => nearest(key, OBJECT_KEYS),
    };
    Fault::unknown("key", key, known, &OBJECT_KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills two variables, as the provider does for a pod.
    fn read(text: Option<&str>) -> Result<Vec<Object>, Vec<Fault>> {
        read_objects(text, &|text, _| {
            Ok(text.replace("${POD_NAME}", "web-0").replace("${namespace}", "billing"))
        })
    }

    #[track_caller]
    fn problem(text: &str) -> String {
        let faults: Vec<_> = read(Some(text)).unwrap_err().iter().map(ToString::to_string).collect();
        faults.join("; ")
    }

    #[test]
    fn reads_the_objects_of_the_published_page() {
        let text = "- path: environments/production/billing/database\n  file: db.json\n\
                    - path: environments/production/billing/stripe\n  file: stripe.json\n  field: secret_key\n";
        let objects = read(Some(text)).unwrap();
        assert_eq!(objects[0].source.to_string(), "environments/production/billing/database");
        assert_eq!(objects[0].format, Format::Json);
        assert_eq!(objects[1].source.to_string(), "environments/production/billing/stripe#secret_key");
        assert_eq!(objects[1].format, Format::Raw);
        assert_eq!(objects[1].mode.bits(), 0o444);
    }

    #[test]
    fn scalars_may_be_quoted_or_not() {
        for (mode, version, optional) in [("0440", "3", "true"), ("'0440'", "'3'", "'true'")] {
            let text =
                format!("[{{path: a/b, file: c, mode: {mode}, version: {version}, optional: {optional}}}]");
            let objects = read(Some(&text)).unwrap();
            assert_eq!((objects[0].mode.bits(), objects[0].is_optional), (0o440, true));
            assert_eq!(objects[0].source.to_string(), "a/b@3");
        }
    }

    #[test]
    fn aliases_cannot_multiply_text() {
        let shared = |template: &str| {
            let first = format!("- {{path: a/b, file: f-0, template: &t '{template}{{{{ data.x }}}}'}}\n");
            let others = (1..60).map(|index| format!("- {{path: a/b, file: f-{index}, template: *t}}\n"));
            first + &others.collect::<String>()
        };
        assert_eq!(read(Some(&shared("x"))).unwrap().len(), 60);
        // 30 KB as they are written, and 1.8 MB with the aliases resolved.
        let said = problem(&shared(&"x".repeat(30_000)));
        assert!(said.contains("not a list of objects in YAML"), "{said}");
    }

    #[test]
    fn a_template_of_several_secrets() {
        let text = "[{path: 'db=a/${POD_NAME} api=c/d#key', file: e, template: '{{ secrets.db.data.x }}'}]";
        let objects = read(Some(text)).unwrap();
        assert_eq!(objects[0].source.to_string(), "db=a/web-0 api=c/d#key");
        assert!(objects[0].template.is_some());
    }

    #[test]
    fn dynamic_credentials() {
        let objects = read(Some("[{engine: postgres, role: '${namespace}', ttl: 1h, file: c}]")).unwrap();
        assert_eq!(objects[0].source.to_string(), "engine=postgres role=billing ttl=1h");
        for (object, expected) in [
            ("engine: postgres, file: c", "role is missing"),
            ("role: x, file: c", "engine is missing"),
            ("engine: postgres, role: x, path: a/b, file: c", "path is not allowed together with engine"),
            (
                "engine: postgres, role: x, file: c, optional: true",
                "optional is not allowed together with engine",
            ),
            ("engine: postgres, role: 'a/b', file: c", "role: \"a/b\" is not a name"),
            (
                "engine: postgres, role: x, ttl: 59s, file: c",
                "ttl: \"59s\" is too short; allowed: 1m or longer",
            ),
        ] {
            let said = problem(&format!("[{{{object}}}]"));
            assert!(said.contains(expected), "{object}: {said}");
        }
    }

    #[test]
    fn dynamic_credentials_are_bounded() {
        let object =
            |role: usize, file: usize| format!("{{engine: postgres, role: r-{role}, file: f-{file}}}");
        let files =
            |roles: usize| (0..20).map(|file| object(file % roles, file)).collect::<Vec<_>>().join(", ");
        assert!(read(Some(&format!("[{}]", files(16)))).is_ok());
        let said = problem(&format!("[{}]", files(17)));
        assert!(said.contains("lists 17 dynamic credentials; allowed: 16"), "{said}");
    }

    #[test]
    fn all_problems_are_reported_at_once() {
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
            ("path: a/b, file: c, template: x, format: raw", "not allowed together with template"),
            ("path: a/b, file: c, encoding: base64", "set field"),
            ("path: 'a/b#c', file: c, field: d", "set twice"),
            ("path: 'x=a/b y=c/d', file: c, field: d", "do not apply to several secrets"),
            ("path: a/b, file: c, version: 0", "is not a version"),
            ("path: a/b, file: c, field: 'd@3'", "is not the name of a field"),
            ("path: a/b, file: c, optional: maybe", "allowed: true, false"),
            ("path: a/b, file: c, template: '{{ data.x'", "template"),
        ] {
            let said = problem(&format!("[{{{object}}}]"));
            assert!(said.contains(expected), "{object}: {said}");
        }
        assert!(problem("[{path: a/b, file: c}, {path: a/b, file: c}]").contains("written twice"));
        assert!(problem("[{path: a/b, file: c}, {path: a/b, file: c/d}]").contains("is also a file"));
    }

    #[test]
    fn objects_are_bounded() {
        let many = "- {path: a/b, file: c}\n".repeat(10_000);
        assert!(problem(&many).contains("lists 10000 objects; allowed: 256"), "{}", problem(&many));
        assert!(problem("[]").contains("is empty"));
        assert!(problem("swordfish").contains("not a list"));
        assert!(read(None).unwrap_err()[0].to_string().contains("objects is missing"));
        // Aliases that multiply.
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n";
        assert!(read(Some(bomb)).is_err());
    }

    #[test]
    fn a_fault_has_its_place() {
        let faults =
            read(Some("[{path: a/b, file: c}, {path: a/b, file: d, mode: 0777, fild: e}]")).unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| (fault.object, fault.key.as_deref())).collect();
        assert_eq!(places, [(Some(1), Some("fild")), (Some(1), Some("mode"))]);
        let faults = read(Some("- path: a/b\n  file: [1]\n")).unwrap_err();
        assert_eq!(faults[0].line, Some(2), "{}", faults[0]);
    }
}
