//! What owners choose by annotations: whether, when and for which secrets a workload is restarted.

use std::{collections::BTreeMap, sync::Arc};

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};
use scaivault_inject::annotations::ExactKey;

use crate::{window::Window, workload::Mode};

use names::Names;

/// The annotations that are read, without the prefix. Their rows are in the registry.
pub mod keys {
    use super::ExactKey;

    /// `auto`, `manual` or `off`.
    pub const RESTART: &str = ExactKey::Restart.text();
    /// The native Secrets that the workload is restarted for.
    pub const SECRETS: &str = ExactKey::RestartSecrets.text();
    /// The `SecretProviderClass`es that the workload is restarted for.
    pub const CLASSES: &str = ExactKey::RestartClasses.text();
    /// On a native Secret: workloads with `restart-secrets: matching` are restarted for it.
    pub const MATCH: &str = ExactKey::RestartMatch.text();
    /// The workload is the first of those that share a secret.
    pub const CANARY: &str = ExactKey::RestartCanary.text();
    /// Maintenance windows, separated by `;`.
    pub const WINDOWS: &str = ExactKey::RestartWindows.text();
    /// A new text releases the restart that waits.
    pub const RELEASE: &str = ExactKey::RestartRelease.text();
}

/// The longest release. It is kept in the status.
const RELEASE_MAX: usize = 63;
/// The most names or patterns of a list.
const NAMES_MAX: usize = 64;
/// The most windows.
const WINDOWS_MAX: usize = 4;

/// Annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// The places where something may be chosen, the strongest first.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The workload's own metadata.
    pub workload: &'a Annotations,
    /// Its pod template's.
    pub template: &'a Annotations,
    /// The namespace's.
    pub namespace: &'a Annotations,
    /// `spec.restart` of the strongest policy that selects the pods and has one.
    pub policy: Option<Mode>,
    /// The mode of the controller's settings.
    pub default: Mode,
    /// Reloader's annotations are read where those of this product are missing.
    pub with_reloader: bool,
}

/// What is chosen for a workload.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Whether it is restarted.
    pub mode: Mode,
    /// The workload or its template says so itself: then also for what a sidecar delivers.
    pub is_asked: bool,
    /// The native Secrets.
    pub secrets: Selection,
    /// The classes.
    pub classes: Selection,
    /// It goes first.
    pub is_canary: bool,
    /// The windows, if there are any.
    pub windows: Option<Arc<[Window]>>,
    /// The release; empty without.
    pub release: Box<str>,
    /// All that is wrong with the annotations. Then nothing is restarted without a release.
    pub problems: Vec<String>,
}

/// Which Secrets or classes a workload is restarted for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    which: Which,
    excluded: Names,
}

#[derive(Clone, Debug, Default)]
enum Which {
    #[default]
    Asking,
    None,
    All,
    Matching,
    Named(Names),
}

/// A selection that names are looked up in.
#[derive(Debug)]
pub(crate) struct Lookup<'a> {
    which: &'a Which,
    named: Option<names::Lookup<'a>>,
    excluded: names::Lookup<'a>,
}

/// What the annotations of a Secret or class say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is said")]
pub struct Candidate {
    /// The workload's template uses it.
    pub is_used: bool,
    /// `restart: auto`: every workload that uses it is restarted.
    pub asks: bool,
    /// `restart-match: "true"`, or Reloader's.
    pub is_match: bool,
    /// `restart: off`, or Reloader's `ignore`.
    pub is_ignored: bool,
}

impl Candidate {
    /// Reads the annotations of a Secret or class.
    pub fn new(annotations: &Annotations, with_reloader: bool) -> Self {
        let ours =
            |key: &str| annotations.get(&format!("{ANNOTATION_PREFIX}{key}")).map(|value| value.trim());
        let reloader = |key: &str| {
            let value = annotations.get(key).filter(|_| with_reloader);
            value.is_some_and(|value| value.trim() == "true")
        };
        let mode = ours(keys::RESTART).and_then(Mode::from_word);
        Self {
            is_used: false,
            asks: mode == Some(Mode::Auto),
            is_match: ours(keys::MATCH) == Some("true") || reloader(reloader::MATCH),
            is_ignored: mode == Some(Mode::Off) || reloader(reloader::IGNORE),
        }
    }
}

impl Selection {
    /// What may stand there.
    pub const ALLOWED: &'static str =
        "all, matching, none, or at most 64 names separated by commas, in which * stands for any characters";

    /// For names to be looked up in it.
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        let named = match &self.which {
            Which::Named(names) => Some(names.lookup()),
            Which::Asking | Which::None | Which::All | Which::Matching => None,
        };
        Lookup { which: &self.which, named, excluded: self.excluded.lookup() }
    }

    /// Whether it may include what the template does not use.
    pub(crate) fn has_names(&self) -> bool {
        matches!(self.which, Which::Named(_))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let which = match text.trim() {
            "all" => Which::All,
            "none" => Which::None,
            "matching" => Which::Matching,
            list => {
                let names: Vec<&str> = list.split(',').map(str::trim).collect();
                let is_name = |name: &&str| {
                    let is_allowed = |byte: u8| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.*".contains(&byte)
                    };
                    (1..=253).contains(&name.len()) && name.bytes().all(is_allowed)
                };
                if names.len() > NAMES_MAX || !names.iter().all(is_name) {
                    return Err(format!(
                        "{} is not a selection; allowed: {}",
                        Excerpt::new(text),
                        Self::ALLOWED
                    ));
                }
                Which::Named(Names::from_globs(names))
            }
        };
        Ok(Self { which, excluded: Names::default() })
    }
}

impl Lookup<'_> {
    /// Whether a workload is restarted for a Secret or class.
    pub(crate) fn includes(&self, name: &str, candidate: Candidate) -> bool {
        let Candidate { is_used, asks, is_match, is_ignored } = candidate;
        if is_ignored || self.excluded.covers(name) {
            return false;
        }
        match self.which {
            Which::Named(_) => self.named.as_ref().is_some_and(|names| names.covers(name)),
            Which::None => false,
            Which::All => is_used,
            Which::Matching => is_used && (is_match || asks),
            Which::Asking => is_used && asks,
        }
    }
}

/// Reads what is chosen for a workload. What the workload says itself wins, then its template, then the namespace, then policies,
/// then the settings.
pub fn choose(places: &Places<'_>) -> Choice {
    let mut reader = Reader { places, problems: Vec::new() };
    let mode = reader.first(keys::RESTART, true, |text| {
        let mode = Mode::from_word(text.trim());
        mode.ok_or_else(|| format!("{} is not a mode; allowed: {}", Excerpt::new(text), Mode::ALLOWED))
    });
    let secrets = reader.first(keys::SECRETS, true, Selection::parse);
    let classes = reader.first(keys::CLASSES, true, Selection::parse);
    let is_canary = reader.first(keys::CANARY, false, |text| match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{} is not a boolean; allowed: true, false", Excerpt::new(other))),
    });
    let windows = reader.first(keys::WINDOWS, true, parse_windows);
    let release = places.workload.get(&format!("{ANNOTATION_PREFIX}{}", keys::RELEASE));
    let release = release.map(|text| text.chars().take(RELEASE_MAX).collect::<String>());
    let is_asked = reader.is_set_by_workload(keys::RESTART) && mode.is_some();
    let mut choice = Choice {
        mode: mode.or(places.policy).unwrap_or(places.default),
        is_asked,
        secrets: secrets.clone().unwrap_or_default(),
        classes: classes.clone().unwrap_or_default(),
        is_canary: is_canary.unwrap_or(false),
        windows: windows.map(Arc::from),
        release: release.unwrap_or_default().into(),
        problems: reader.problems,
    };
    if places.with_reloader {
        reloader::apply(places, &mut choice, secrets.is_none(), classes.is_none());
    }
    choice
}

fn parse_windows(text: &str) -> Result<Vec<Window>, String> {
    let texts: Vec<&str> = text.split(';').map(str::trim).filter(|text| !text.is_empty()).collect();
    if texts.is_empty() || texts.len() > WINDOWS_MAX {
        return Err(format!("has {} windows; allowed: 1 to {WINDOWS_MAX}, separated by ;", texts.len()));
    }
    texts.into_iter().map(|text| text.parse::<Window>().map_err(|error| error.to_string())).collect()
}

struct Reader<'a> {
    places: &'a Places<'a>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// The value of the strongest place that has one. What is wrong there is a problem, and weaker places are not read.
    fn first<T>(
        &mut self,
        key: &str,
        also_of_namespaces: bool,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let key = format!("{ANNOTATION_PREFIX}{key}");
        let Places { workload, template, namespace, .. } = *self.places;
        let namespace = also_of_namespaces.then_some(namespace);
        let text = [Some(workload), Some(template), namespace]
            .into_iter()
            .flatten()
            .find_map(|place| place.get(&key))?;
        match read(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.push(format!("{key}: {problem}"));
                None
            }
        }
    }

    fn is_set_by_workload(&self, key: &str) -> bool {
        let key = format!("{ANNOTATION_PREFIX}{key}");
        self.places.workload.contains_key(&key) || self.places.template.contains_key(&key)
    }
}

/// Annotations of Stakater's Reloader.
mod reloader {
    use super::{Choice, Mode, NAMES_MAX, Names, Places, Selection, Which};

    pub(super) const IGNORE: &str = "reloader.stakater.com/ignore";
    pub(super) const MATCH: &str = "reloader.stakater.com/match";
    const SEARCH: &str = "reloader.stakater.com/search";
    const AUTO: &str = "reloader.stakater.com/auto";
    const SECRET_AUTO: &str = "secret.reloader.stakater.com/auto";
    const CLASS_AUTO: &str = "secretproviderclass.reloader.stakater.com/auto";
    const SECRET_NAMES: &str = "secret.reloader.stakater.com/reload";
    const CLASS_NAMES: &str = "secretproviderclass.reloader.stakater.com/reload";
    const SECRETS_EXCLUDED: &str = "secrets.exclude.reloader.stakater.com/reload";
    const CLASSES_EXCLUDED: &str = "secretproviderclasses.exclude.reloader.stakater.com/reload";

    /// Fills in what Reloader would do where this product's annotations are missing.
    pub(super) fn apply(places: &Places<'_>, choice: &mut Choice, for_secrets: bool, for_classes: bool) {
        let is_of_reloader = |key: &str| key.contains("reloader.stakater.com/");
        // The template's count only if the workload has none.
        let source = if places.workload.keys().any(|key| is_of_reloader(key)) {
            places.workload
        } else {
            places.template
        };
        let get = |key: &str| source.get(key).map(|value| value.trim());
        let mut problems = Vec::new();
        let mut names = |key: &str| get(key).map(|list| read_names(key, list, &mut problems));
        let lists = [names(SECRET_NAMES), names(CLASS_NAMES)];
        let excluded = [names(SECRETS_EXCLUDED), names(CLASSES_EXCLUDED)];
        let [secret_names, class_names] = lists;
        let [secrets_excluded, classes_excluded] = excluded;
        let which = |names: Option<Names>, own_auto: &str| {
            if let Some(names) = names {
                return Some(Which::Named(names));
            }
            if get(SEARCH) == Some("true") {
                return Some(Which::Matching);
            }
            let auto = get(own_auto).or_else(|| get(AUTO))?;
            Some(if auto == "true" { Which::All } else { Which::None })
        };
        let mut is_chosen = false;
        for (is_open, selection, which, excluded) in [
            (for_secrets, &mut choice.secrets, which(secret_names, SECRET_AUTO), secrets_excluded),
            (for_classes, &mut choice.classes, which(class_names, CLASS_AUTO), classes_excluded),
        ] {
            if let Some(which) = which.filter(|_| is_open) {
                is_chosen |= !matches!(which, Which::None);
                *selection = Selection { which, excluded: excluded.unwrap_or_default() };
            }
        }
        // An owner who has asked Reloader for restarts wants them where only the settings say otherwise.
        if is_chosen && places.policy.is_none() && choice.mode == places.default && !choice.is_asked {
            choice.mode = Mode::Auto;
        }
        choice.problems.extend(problems);
    }

    /// Names separated by commas, each a regular expression for the whole name.
    fn read_names(key: &str, list: &str, problems: &mut Vec<String>) -> Names {
        let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if names.len() > NAMES_MAX {
            problems.push(format!("{key}: has {} names; allowed: {NAMES_MAX}", names.len()));
            return Names::default();
        }
        Names::from_expressions(names).unwrap_or_else(|wrong| {
            problems.extend(wrong.into_iter().map(|problem| format!("{key}: {problem}")));
            Names::default()
        })
    }
}

mod names;

#[cfg(test)]
mod tests;
