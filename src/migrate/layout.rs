//! Chooses where the files go: the injector has one volume per pod, which all readers mount at the
//! same path.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_usage::ContainerRef;

use super::{
    args::AcceptedChange,
    wants::{Content, FileWant, VariableWant, Wants},
};

/// The maximum length of a name after `inject-secret-`: a key has 63 characters after its slash,
/// and `secret-template-` takes 16.
const MAX_NAME: usize = 47;

/// Directories in which every image has its own files.
const SYSTEM: &[&str] = &[
    "/app",
    "/bin",
    "/boot",
    "/config",
    "/data",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
    "/usr/src/app",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/opt",
    "/var/run",
    "/var/tmp",
    "/work",
    "/workspace",
];

/// Names of directories that only contain secrets.
const FOR_SECRETS: &[&str] = &["secret", "secrets", "credential", "credentials", "creds"];

/// Files and variables without duplicates, and the containers that read them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// `None` without files.
    pub(super) mount_path: Option<String>,
    pub(super) files: Vec<PlacedFile>,
    /// Name and source.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) readers: BTreeSet<ContainerRef>,
}

/// A file below the mount path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlacedFile {
    /// Its name in annotation keys.
    pub(super) name: String,
    /// The path relative to the mount path.
    pub(super) file: String,
    pub(super) want: FileWant,
}

/// Lays out everything that a pod needs, or reports all problems.
pub(super) fn lay_out(wants: &mut Wants, accepted: &[AcceptedChange]) -> Option<Layout> {
    let mut problems = Vec::new();
    let files = merge_files(&wants.files, &mut problems);
    let variables = merge_variables(&wants.variables, &mut problems);
    let readers = readers(wants);
    if !accepted.contains(&AcceptedChange::WiderAccess) {
        problems.extend(wider_access(wants, &readers));
    }
    let mount_path =
        mount_path(wants, &files, accepted).map_err(|problem| problems.push(problem)).unwrap_or_default();
    let directory = mount_path.as_ref().map(|mount_path| mount_path.directory.clone());
    let files = place(files, directory.as_deref().unwrap_or_default());
    if !problems.is_empty() {
        wants.problems.extend(problems);
        return None;
    }
    if let Some(MountAt { directory, hides_image: true }) = mount_path {
        wants.warnings.push(format!("the mount at {directory} hides what the image has there"));
    }
    Some(Layout { mount_path: directory, files, variables, readers })
}

fn merge_files<'a>(files: &'a [FileWant], problems: &mut Vec<String>) -> BTreeMap<&'a str, &'a FileWant> {
    let mut merged: BTreeMap<&str, &FileWant> = BTreeMap::new();
    for want in files {
        match merged.get(want.path.as_str()) {
            None => {
                merged.insert(&want.path, want);
            }
            Some(other) if other.content == want.content && other.mode == want.mode => {}
            Some(other) => problems.push(format!(
                "{} is another file in the container {} than in {}, and all readers see the same files; give one of them another path",
                want.path, want.container.name, other.container.name
            )),
        }
    }
    merged
}

fn merge_variables(variables: &[VariableWant], problems: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut merged: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for VariableWant { name, source, container } in variables {
        match merged.get(name) {
            None => {
                merged.insert(name.clone(), (source, &container.name));
            }
            Some((other, _)) if other == source => {}
            Some((other, first)) => problems.push(format!(
                "the variable {name} is {source} in the container {} and {other} in {first}, and all readers get the same; rename one",
                container.name
            )),
        }
    }
    merged.into_iter().map(|(name, (source, _))| (name, source.to_owned())).collect()
}

fn readers(wants: &Wants) -> BTreeSet<ContainerRef> {
    let files = wants.files.iter().map(|want| &want.container);
    files.chain(wants.variables.iter().map(|want| &want.container)).cloned().collect()
}

/// A problem if containers use different secrets today.
fn wider_access(wants: &Wants, readers: &BTreeSet<ContainerRef>) -> Option<String> {
    let of = |reader: &ContainerRef| -> BTreeSet<String> {
        let files = wants.files.iter().filter(|want| want.container == *reader).map(|want| want.path.clone());
        let variables = wants.variables.iter().filter(|want| want.container == *reader);
        files.chain(variables.map(|want| format!("${}", want.name))).collect()
    };
    let all: BTreeSet<String> = readers.iter().flat_map(of).collect();
    let lacking =
        readers.iter().find_map(|reader| Some((reader, all.difference(&of(reader)).next()?.clone())));
    lacking.map(|(reader, what)| {
        format!(
            "the container {} does not have {what} today, and every container that gets secrets gets all of them; split the workload, or pass --accept wider-access",
            reader.name
        )
    })
}

/// The mount path of the volume.
struct MountAt {
    directory: String,
    /// No secrets are mounted there today, so it hides files of the image.
    hides_image: bool,
}

/// The common directory of all files.
fn mount_path(
    wants: &Wants,
    files: &BTreeMap<&str, &FileWant>,
    accepted: &[AcceptedChange],
) -> Result<Option<MountAt>, String> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut directories: Vec<&str> = files.keys().map(|path| parent(path)).collect();
    directories.extend(
        wants
            .directories
            .iter()
            .filter(|directory| files.keys().any(|path| is_below(path, directory)))
            .map(String::as_str),
    );
    let common = common_directory(&directories);
    let owner =
        wants.directories.iter().find(|directory| is_below(&common, directory) || **directory == common);
    let directory = owner.cloned().unwrap_or_else(|| common.clone());
    if owner.is_some() {
        return Ok(Some(MountAt { directory, hides_image: false }));
    }
    if directory == "/" || SYSTEM.contains(&directory.as_str()) {
        return Err(format!(
            "the files are in {}, and the injector has one mount for each pod: at {directory} it would hide files of the image; let the application read all of them below one directory of their own, such as /run/secrets",
            listed(&directories)
        ));
    }
    let is_for_secrets = FOR_SECRETS.iter().any(|name| directory.rsplit('/').next() == Some(name));
    if !is_for_secrets && !accepted.contains(&AcceptedChange::CommonDirectory) {
        return Err(format!(
            "the files are in {}, and the injector has one mount for each pod: at {directory} it hides what the image has there; if that is nothing, pass --accept common-directory, else let the application read them below one directory of their own",
            listed(&directories)
        ));
    }
    Ok(Some(MountAt { directory, hides_image: true }))
}

fn listed(directories: &[&str]) -> String {
    let unique: BTreeSet<&str> = directories.iter().copied().collect();
    unique
        .into_iter()
        .map(|directory| if directory.is_empty() { "/" } else { directory })
        .collect::<Vec<_>>()
        .join(" and ")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn common_directory(directories: &[&str]) -> String {
    let mut common: Option<Vec<&str>> = None;
    for directory in directories {
        let levels: Vec<&str> = directory.split('/').collect();
        common = Some(match common {
            None => levels,
            Some(common) => common.iter().zip(&levels).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect(),
        });
    }
    let common = common.unwrap_or_default().join("/");
    if common.is_empty() { "/".to_owned() } else { common }
}

/// Names each file after its path below the mount path, as allowed in an annotation key.
fn place(files: BTreeMap<&str, &FileWant>, directory: &str) -> Vec<PlacedFile> {
    let mut taken = BTreeSet::new();
    let placed = files.into_iter().map(|(path, want)| {
        let file = path.strip_prefix(directory).unwrap_or(path).trim_start_matches('/').to_owned();
        let name = unique_name(&file, &mut taken);
        PlacedFile { name, file, want: want.clone() }
    });
    placed.collect()
}

fn unique_name(file: &str, taken: &mut BTreeSet<String>) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = file.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    let is_edge = |c: char| !c.is_ascii_alphanumeric();
    let short = |limit: usize| {
        let text = text.trim_matches(is_edge);
        text[..text.len().min(limit)].trim_end_matches(is_edge).to_owned()
    };
    let first = Some(short(MAX_NAME)).filter(|name| !name.is_empty()).unwrap_or_else(|| "file".to_owned());
    let numbered = (2..).map(|number| format!("{}-{number}", short(MAX_NAME - 6)));
    let name = std::iter::once(first).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// The annotations of a file, by key without the prefix.
pub(super) fn annotations(placed: &PlacedFile) -> Vec<(String, String)> {
    let PlacedFile { name, file, want } = placed;
    let mut found = Vec::new();
    let mut add = |start: &str, value: &str| found.push((format!("{start}{name}"), value.to_owned()));
    match &want.content {
        Content::Secret { source, is_base64 } => {
            add("inject-secret-", source);
            if *is_base64 {
                add("secret-encoding-", "base64");
            }
        }
        Content::Formatted { source, format } => {
            add("inject-secret-", source);
            if format != "json" {
                add("secret-format-", format);
            }
        }
        Content::Template { source, template } => {
            add("inject-secret-", source);
            add("secret-template-", template);
        }
        Content::Dynamic { source, template } => {
            add("inject-dynamic-", source);
            if let Some(template) = template {
                add("secret-template-", template);
            }
        }
    }
    if name != file {
        add("secret-file-", file);
    }
    if let Some(mode) = want.mode {
        add("secret-mode-", &format!("{mode:04o}"));
    }
    if want.optional {
        add("secret-optional-", "true");
    }
    found
}

#[cfg(test)]
mod tests;
