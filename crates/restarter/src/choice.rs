//! Reads the annotations about restarts: whether, when and for which secrets a workload is restarted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};
use scaivault_inject::annotations::ExactKey;

use crate::{window::Window, workload::Mode};

use names::Names;

/// The keys of the annotations, without the prefix. Their rows are in the registry.
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
    /// A new text releases the pending restart.
    pub const RELEASE: &str = ExactKey::RestartRelease.text();
}

/// The maximum length of a release, which is stored in the status.
const RELEASE_MAX: usize = 63;
/// The maximum number of names or patterns in a list.
const NAMES_MAX: usize = 64;
/// The maximum number of windows.
const WINDOWS_MAX: usize = 4;

/// The annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// The places of a setting, the strongest first.
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
    /// Whether Reloader's annotations are used where those of this product are missing.
    pub with_reloader: bool,
}

/// The settings of a workload's restarts.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Whether it is restarted.
    pub mode: Mode,
    /// Whether the workload or its template sets the mode itself. Then it is also restarted for secrets that
    /// a sidecar refreshes.
    pub is_asked: bool,
    /// The native Secrets.
    pub secrets: Selection,
    /// The classes.
    pub classes: Selection,
    /// Whether it is restarted first.
    pub is_canary: bool,
    /// The windows, if any are set.
    pub windows: Option<Arc<[Window]>>,
    /// The release; empty without.
    pub release: Box<str>,
    /// The problems of the annotations. If there are any, only a release restarts the workload.
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

/// The Secrets or classes for which a workload is restarted, among the names that its template uses. Patterns
/// are not needed any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChosenNames {
    rule: Rule,
    /// Selected names that the template uses, sorted.
    used: Vec<Arc<str>>,
    /// Selected names that it does not use, sorted.
    unused: Vec<Arc<str>>,
}

/// The annotation that a Secret or class must have.
#[derive(Clone, Copy, Debug, Default)]
enum Rule {
    #[default]
    Asks,
    Matches,
    Nothing,
}

/// The annotations of a Secret or class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// `restart: auto`: every workload that uses it is restarted.
    pub asks: bool,
    /// `restart-match: "true"`, or Reloader's.
    pub is_match: bool,
    /// `restart: off`, or Reloader's `ignore`.
    pub is_ignored: bool,
}

impl Choice {
    /// The choice of a workload whose annotations are not read.
    pub(crate) fn unread(problem: String) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

impl Candidate {
    /// Reads the annotations of a Secret or class.
    pub fn new(annotations: &Annotations, with_reloader: bool) -> Self {
        let own = |key: &str| annotations.get(&format!("{ANNOTATION_PREFIX}{key}")).map(|value| value.trim());
        let reloader = |key: &str| {
            let value = annotations.get(key).filter(|_| with_reloader);
            value.is_some_and(|value| value.trim() == "true")
        };
        let mode = own(keys::RESTART).and_then(Mode::from_word);
        Self {
            asks: mode == Some(Mode::Auto),
            is_match: own(keys::MATCH) == Some("true") || reloader(reloader::MATCH),
            is_ignored: mode == Some(Mode::Off) || reloader(reloader::IGNORE),
        }
    }
}

impl Selection {
    /// The accepted values.
    pub const ALLOWED: &'static str =
        "all, matching, none, or at most 64 names separated by commas, in which * stands for any characters";

    /// Compares its patterns with the names that a template uses, which are sorted. Patterns do not select
    /// other names, because a namespace may have any number of them.
    pub(crate) fn among(&self, used: &[Arc<str>]) -> Result<ChosenNames, String> {
        let mut unused: Vec<Arc<str>> = Vec::new();
        let (rule, covered) = match &self.which {
            Which::None => return Ok(ChosenNames::default()),
            Which::Asking => (Rule::Asks, used.iter().collect()),
            Which::Matching => (Rule::Matches, used.iter().collect()),
            Which::All => (Rule::Nothing, used.iter().collect()),
            Which::Named(names) => {
                let exact =
                    names.exact().filter(|name| used.binary_search_by(|known| (**known).cmp(name)).is_err());
                unused.extend(exact.map(Arc::from));
                (Rule::Nothing, names.among(used)?)
            }
        };
        unused.sort_unstable();
        unused.dedup();
        let excluded = self.excluded.among(used)?;
        let unused_excluded = self.excluded.among(&unused)?;
        let unused = unused.iter().filter(|name| !unused_excluded.contains(name)).cloned().collect();
        Ok(ChosenNames {
            rule,
            used: covered.difference(&excluded).map(|name| Arc::clone(name)).collect(),
            unused,
        })
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

impl ChosenNames {
    /// The selected names that the template uses.
    pub(crate) fn used<'a>(
        &'a self,
        candidate: impl Fn(&str) -> Candidate + 'a,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        self.used.iter().filter(move |name| self.admits(candidate(name)))
    }

    /// The selected names that the template does not use.
    pub(crate) fn unused<'a>(
        &'a self,
        candidate: impl Fn(&str) -> Candidate + 'a,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        self.unused.iter().filter(move |name| self.admits(candidate(name)))
    }

    fn admits(&self, Candidate { asks, is_match, is_ignored }: Candidate) -> bool {
        let is_right = match self.rule {
            Rule::Nothing => true,
            Rule::Matches => is_match || asks,
            Rule::Asks => asks,
        };
        is_right && !is_ignored
    }

    /// Whether the annotations of one of these may matter.
    pub(crate) fn has_any(&self, names: &BTreeSet<Arc<str>>) -> bool {
        self.used.iter().chain(&self.unused).any(|name| names.contains(name))
    }

    /// The size of the names that it does not share with the template, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.unused.iter().map(|name| name.len()).sum()
    }
}

/// Reads the settings of a workload's restarts. The order of precedence: the workload, its template, the
/// namespace, policies, the settings of the controller.
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
    // An invalid annotation counts as set, so Reloader's is not used instead.
    let unset = reloader::Unset {
        mode: reader.text(keys::RESTART, true).is_none() && places.policy.is_none(),
        secrets: reader.text(keys::SECRETS, true).is_none(),
        classes: reader.text(keys::CLASSES, true).is_none(),
    };
    let mut choice = Choice {
        mode: mode.or(places.policy).unwrap_or(places.default),
        is_asked,
        secrets: secrets.unwrap_or_default(),
        classes: classes.unwrap_or_default(),
        is_canary: is_canary.unwrap_or(false),
        windows: windows.map(Arc::from),
        release: release.unwrap_or_default().into(),
        problems: reader.problems,
    };
    if places.with_reloader {
        reloader::apply(places, &mut choice, unset);
    }
    choice
}

/// Whether an annotation of a workload or template is about restarts.
pub(crate) fn is_chosen_by(key: &str) -> bool {
    // `restart-match` is only read on Secrets and classes.
    let is_read = |key: &ExactKey| key.is_for_restarts() && *key != ExactKey::RestartMatch;
    let mut keys = ExactKey::ALL.iter().filter(|key| is_read(key));
    key.strip_prefix(ANNOTATION_PREFIX).is_some_and(|own| keys.any(|key| key.text() == own))
        || reloader::has_key(key)
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
    /// The value from the strongest place that has one. If it is invalid, weaker places are not read.
    fn first<T>(
        &mut self,
        key: &str,
        also_of_namespaces: bool,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.text(key, also_of_namespaces)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.push(format!("{ANNOTATION_PREFIX}{key}: {problem}"));
                None
            }
        }
    }

    /// The text from the strongest place that has one.
    fn text(&self, key: &str, also_of_namespaces: bool) -> Option<&str> {
        let key = format!("{ANNOTATION_PREFIX}{key}");
        let Places { workload, template, namespace, .. } = *self.places;
        let namespace = also_of_namespaces.then_some(namespace);
        let mut places = [Some(workload), Some(template), namespace].into_iter().flatten();
        places.find_map(|place| place.get(&key)).map(String::as_str)
    }

    fn is_set_by_workload(&self, key: &str) -> bool {
        let key = format!("{ANNOTATION_PREFIX}{key}");
        self.places.workload.contains_key(&key) || self.places.template.contains_key(&key)
    }
}

/// Annotations of Stakater's Reloader.
pub(crate) mod reloader {
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

    /// Whether a key is one of Reloader's.
    pub(crate) fn has_key(key: &str) -> bool {
        key.contains("reloader.stakater.com/")
    }

    /// What neither annotations of this product nor, for the mode, a policy set.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Unset {
        pub(super) mode: bool,
        pub(super) secrets: bool,
        pub(super) classes: bool,
    }

    /// Applies Reloader's annotations where those of this product are missing.
    pub(super) fn apply(places: &Places<'_>, choice: &mut Choice, unset: Unset) {
        // Reloader ignores the template's annotations if the workload has any.
        let source =
            if places.workload.keys().any(|key| has_key(key)) { places.workload } else { places.template };
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
            (unset.secrets, &mut choice.secrets, which(secret_names, SECRET_AUTO), secrets_excluded),
            (unset.classes, &mut choice.classes, which(class_names, CLASS_AUTO), classes_excluded),
        ] {
            if let Some(which) = which.filter(|_| is_open) {
                is_chosen |= !matches!(which, Which::None);
                *selection = Selection { which, excluded: excluded.unwrap_or_default() };
            }
        }
        // An owner who selects secrets for Reloader wants restarts, unless an annotation or a policy says
        // otherwise.
        if is_chosen && unset.mode {
            choice.mode = Mode::Auto;
        }
        choice.problems.extend(problems);
    }

    /// Names separated by commas. Each is a regular expression for the whole name.
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
