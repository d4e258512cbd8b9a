//! Variables in paths, dynamic engines and roles: `${namespace}`, `${label:app}`.
//!
//! A text is split once, into literals and variables. Values are inserted as they are and never
//! parsed again, and they have no character that is special in a path, a list or a glob. So a
//! filled text has the levels, fields and aliases that were written, whatever value a pod's author
//! gives a label. `${pod}` and `${node}` are left for the agent, because a controller's pod has
//! neither name nor node when it is admitted. The CSI provider knows both and fills them here.

mod position;

use std::{borrow::Cow, fmt};

use scaivault_contract::{PodValues, PodVariable, TextPart, VariableFault as SyntaxFault, text_parts};

use super::conflicts::EnvironmentConflict;
use crate::{
    Namespace,
    annotations::{AnnotationSpec, ExactKey, Key, ValueKind, nearest},
    pod::PodView,
    problem::Excerpt,
};
use position::Position;

/// Maximum length of a value in characters: that of a label value and of a namespace name.
const VALUE_CHARS: usize = 63;
/// Maximum number of variables in one text. A path has ten levels, and a file at most sixteen
/// secrets.
const VARIABLES: usize = 64;
/// Maximum number of errors that are reported for one text.
const FAULTS_SHOWN: usize = 4;

/// The values of variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) pod: &'a PodView<'a>,
    pub(crate) labels: &'a dyn Texts,
    pub(crate) namespace: &'a Namespace,
    pub(crate) environment: Environment<'a>,
    /// The names of the pod and its node; `None` if the agent fills them.
    pub(crate) names: Option<&'a PodValues>,
}

/// The environment that policies set for a namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Environment<'a> {
    /// No policy sets one.
    Unknown,
    /// All policies agree.
    Known(&'a str),
    /// Policies contradict each other, so the variable has no value.
    Contested(EnvironmentConflict<'a>),
}

/// A map of texts by key.
pub(crate) trait Texts: fmt::Debug {
    fn get(&self, key: &str) -> Option<&str>;
}

/// The kind of a text, which determines where it may contain variables and which characters their
/// values may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `path[#field][@version]`, or several with aliases.
    Secrets,
    /// `engine=E role=R [ttl=D]`.
    Dynamic,
    /// A single engine or role of dynamic credentials.
    DynamicName,
    /// The name of a ScaiKey identity.
    Role,
    /// A glob of paths.
    PathGlob,
    /// A glob of `engine/role`.
    DynamicGlob,
    /// A glob of identities.
    RoleGlob,
}

impl Place {
    /// The kind of text of an annotation's value; `None` if it may not contain variables.
    pub(crate) fn for_key(spec: &AnnotationSpec) -> Option<Self> {
        match spec.value {
            ValueKind::SecretSource | ValueKind::FieldRef => Some(Self::Secrets),
            ValueKind::DynamicRef => Some(Self::Dynamic),
            _ if spec.key == Key::Exact(ExactKey::Role) => Some(Self::Role),
            _ => None,
        }
    }

    const fn is_glob(self) -> bool {
        matches!(self, Self::PathGlob | Self::DynamicGlob | Self::RoleGlob)
    }

    /// Whether variables that the agent fills are allowed in the text.
    const fn takes_pod_variables(self) -> bool {
        !matches!(self, Self::Role | Self::RoleGlob)
    }

    /// Whether a value may contain this character.
    fn allows(self, c: char) -> bool {
        match self {
            Self::Secrets | Self::PathGlob => matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'),
            Self::Dynamic | Self::DynamicName | Self::DynamicGlob => {
                c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
            }
            Self::Role | Self::RoleGlob => c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
        }
    }

    const fn allowed(self) -> &'static str {
        match self {
            Self::Secrets | Self::PathGlob => "1 to 63 of a-z, 0-9, - and _",
            Self::Dynamic | Self::DynamicName | Self::DynamicGlob => "1 to 63 of A-Z, a-z, 0-9, - and _",
            Self::Role | Self::RoleGlob => "1 to 63 of A-Z, a-z, 0-9, -, _ and .",
        }
    }
}

/// A text with filled variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilledText<'t> {
    pub(crate) text: Cow<'t, str>,
    /// Whether the text had a variable; then its value is checked like one from the pod.
    pub(crate) has_variables: bool,
}

/// Why a text cannot be filled, in lower case without a full stop, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VariableFault {
    pub(crate) message: Cow<'static, str>,
    pub(crate) fix: Cow<'static, str>,
    /// Whether the only error is a label or annotation that the pod does not have. A controller may
    /// set it on the pods that it creates.
    pub(crate) is_absent: bool,
}

impl VariableFault {
    fn new(message: impl Into<Cow<'static, str>>, fix: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), fix: fix.into(), is_absent: false }
    }

    /// Combines several errors into one, in their order.
    fn all(faults: Vec<Self>) -> Option<Self> {
        let is_absent = faults.iter().all(|fault| fault.is_absent);
        let mut shown = faults.into_iter();
        let mut all = Self { is_absent, ..shown.next()? };
        for fault in shown.by_ref().take(FAULTS_SHOWN - 1) {
            all.message = format!("{}; {}", all.message, fault.message).into();
            if !all.fix.contains(&*fault.fix) {
                all.fix = format!("{}; {}", all.fix, fault.fix).into();
            }
        }
        match shown.count() {
            0 => Some(all),
            more => Some(Self { message: format!("{}; and {more} more", all.message).into(), ..all }),
        }
    }
}

/// Fills the variables of a text.
pub(crate) fn fill<'t>(
    text: &'t str,
    place: Place,
    values: &Values<'_>,
) -> Result<FilledText<'t>, VariableFault> {
    match Template::parse(text, place)? {
        None => Ok(FilledText { text: Cow::Borrowed(text), has_variables: false }),
        Some(template) => Ok(FilledText { text: template.fill(values)?.into(), has_variables: true }),
    }
}

/// Fills the variables that are the same for all pods of a namespace. Others remain unfilled.
pub(super) fn fill_in_namespace<'t>(
    text: &'t str,
    place: Place,
    namespace: &str,
    environment: Environment<'_>,
) -> Cow<'t, str> {
    let Ok(Some(template)) = Template::parse(text, place) else { return Cow::Borrowed(text) };
    let filled = template.join(|variable| match (variable, environment) {
        (Variable::Namespace, _) => Cow::Borrowed(namespace),
        (Variable::Environment, Environment::Known(environment)) => Cow::Borrowed(environment),
        _ => Cow::Owned(variable.to_string()),
    });
    filled.into()
}

/// Fills each variable with a sample value, for validation without a pod. Also rejects a text that
/// can become the same path for two pods although none of their values are the same.
pub(crate) fn sample(text: &str, place: Place) -> Result<FilledText<'_>, VariableFault> {
    match Template::parse(text, place)? {
        None => Ok(FilledText { text: Cow::Borrowed(text), has_variables: false }),
        Some(template) => match template.ambiguity() {
            Some(fault) => Err(fault),
            None => Ok(FilledText { text: template.join(sample_value).into(), has_variables: true }),
        },
    }
}

/// Fills each variable with a sample value, including the pod's name, as a volume's text may be
/// filled for some pod.
pub(super) fn sample_for_volume(text: &str, place: Place) -> Result<Cow<'_, str>, VariableFault> {
    Ok(match Template::parse(text, place)? {
        None => Cow::Borrowed(text),
        Some(template) => template.join(|_| Cow::Borrowed("x")).into(),
    })
}

fn sample_value<'v>(variable: Variable<'_>) -> Cow<'v, str> {
    match variable {
        Variable::Pod(_) => left_to_the_agent(variable),
        _ => Cow::Borrowed("x"),
    }
}

fn left_to_the_agent<'v>(variable: Variable<'_>) -> Cow<'v, str> {
    Cow::Owned(variable.to_string())
}

/// A text with at least one variable, split into parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template<'t> {
    parts: Vec<Part<'t>>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'t> {
    Literal(&'t str),
    Variable(Variable<'t>),
}

/// The text between `${` and `}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable<'t> {
    Namespace,
    ServiceAccount,
    Environment,
    /// The value of a pod's label.
    Label(&'t str),
    /// The value of a pod's annotation.
    Annotation(&'t str),
    /// Filled by the agent.
    Pod(PodVariable),
}

/// The variables as written, and their values in words, for hints, for lists of allowed variables
/// and for documentation.
pub(crate) const KNOWN: [(&str, &str); 7] = [
    ("namespace", "the pod's namespace"),
    ("service-account", "the name of the pod's service account"),
    ("environment", "the environment that a policy gives the namespace"),
    ("label:KEY", "the pod's label `KEY`, such as `${label:app.kubernetes.io/name}`"),
    ("annotation:KEY", "the pod's annotation `KEY`, of any prefix"),
    ("pod", "the pod's name; filled by the agent, not in roles"),
    ("node", "the name of the pod's node; filled by the agent, not in roles"),
];

impl<'t> Variable<'t> {
    fn parse(name: &'t str) -> Result<Self, VariableFault> {
        let keyed = name.split_once(':').map_or((name, None), |(name, key)| (name, Some(key)));
        match keyed {
            ("namespace", None) => Ok(Self::Namespace),
            ("service-account", None) => Ok(Self::ServiceAccount),
            ("environment", None) => Ok(Self::Environment),
            ("label", Some(key)) if is_key(key) => Ok(Self::Label(key)),
            ("annotation", Some(key)) if is_key(key) => Ok(Self::Annotation(key)),
            ("label" | "annotation", _) => Err(VariableFault::new(
                format!("{} names no key", shown(name)),
                format!("write ${{{}:KEY}} with the key of one of the pod's {0}s", keyed.0),
            )),
            _ => match PodVariable::ALL.into_iter().find(|variable| variable.name() == name) {
                Some(variable) => Ok(Self::Pod(variable)),
                None => Err(unknown(name)),
            },
        }
    }

    /// Whether its value may contain a character. Kubernetes allows fewer in names of objects than
    /// in labels.
    fn may_have(self, c: char, place: Place) -> bool {
        let is_name = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
        place.allows(c)
            && match self {
                Self::Namespace | Self::ServiceAccount | Self::Pod(_) => is_name(c),
                Self::Environment | Self::Label(_) | Self::Annotation(_) => true,
            }
    }

    /// Its value, or why it has none.
    fn value<'v>(self, values: &Values<'v>) -> Result<Cow<'v, str>, VariableFault> {
        let Values { pod, labels, namespace, environment, names } = *values;
        let absent =
            |what: String, fix: &'static str| VariableFault::new(format!("{self} has no value: {what}"), fix);
        match self {
            Self::Namespace if namespace.name.is_empty() => Err(absent(
                "the namespace is not known".to_owned(),
                "set metadata.namespace, or offline --namespace",
            )),
            Self::Namespace => Ok(Cow::Borrowed(&*namespace.name)),
            Self::ServiceAccount => Ok(Cow::Borrowed(pod.service_account())),
            Self::Environment => match environment {
                Environment::Known(environment) => Ok(Cow::Borrowed(environment)),
                Environment::Unknown => Err(absent(
                    "no policy gives the namespace an environment".to_owned(),
                    "set environment in the policy that selects the namespace, or write the path without the variable",
                )),
                Environment::Contested(conflict) => {
                    Err(absent(conflict.to_string(), EnvironmentConflict::FIX))
                }
            },
            Self::Label(key) => labels.get(key).map(Cow::Borrowed).ok_or_else(|| VariableFault {
                is_absent: true,
                ..absent(format!("the pod has no label {key}"), "set it in the pod template's labels")
            }),
            Self::Annotation(key) => pod.any_annotation(key).ok_or_else(|| VariableFault {
                is_absent: true,
                ..absent(
                    format!("the pod has no annotation {key}"),
                    "set it in the pod template's annotations",
                )
            }),
            Self::Pod(variable) => names
                .and_then(|names| names.get(variable))
                .map(|name| Cow::Borrowed(name.as_str()))
                .ok_or_else(|| {
                    absent("its name is not known".to_owned(), "write the path without the variable")
                }),
        }
    }

    /// Its value, if it is valid in this kind of text.
    fn fitting<'v>(self, place: Place, values: &Values<'v>) -> Result<Cow<'v, str>, VariableFault> {
        let value = self.value(values)?;
        if value.is_empty() {
            let what = format!("{self} has an empty value");
            return Err(VariableFault::new(what, "give it a value, or write the path without the variable"));
        }
        // Names of pods and nodes may be longer; the resulting path is validated as a whole.
        let is_short = value.len() <= VALUE_CHARS || matches!(self, Self::Pod(_));
        let fits = value.chars().all(|c| place.allows(c)) && is_short;
        if fits {
            return Ok(value);
        }
        let allowed = place.allowed();
        Err(VariableFault::new(
            format!("{self} has the value {}, and allowed is {allowed}", Excerpt::new(&value)),
            "change the value, or write the path without the variable",
        ))
    }
}

impl fmt::Display for Variable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace => f.write_str("${namespace}"),
            Self::ServiceAccount => f.write_str("${service-account}"),
            Self::Environment => f.write_str("${environment}"),
            Self::Label(key) => write!(f, "${{label:{key}}}"),
            Self::Annotation(key) => write!(f, "${{annotation:{key}}}"),
            Self::Pod(variable) => variable.fmt(f),
        }
    }
}

impl<'t> Template<'t> {
    /// `None` if the text has no variable.
    fn parse(text: &'t str, place: Place) -> Result<Option<Self>, VariableFault> {
        // A role may be any line of text, so a single `$` is not an error.
        let marker = if matches!(place, Place::Role | Place::RoleGlob) { "${" } else { "$" };
        if !text.contains(marker) {
            return Ok(None);
        }
        let parts = text_parts(text).map_err(|fault| syntax(&fault))?;
        let (mut faults, mut variables) = (Vec::new(), 0);
        let mut position = Position::new(place);
        let mut read = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                TextPart::Literal(literal) => {
                    faults.extend(position.pass(literal));
                    read.push(Part::Literal(literal));
                }
                TextPart::Variable(name) => {
                    variables += 1;
                    match Variable::parse(name).and_then(|variable| position.at(variable)) {
                        Ok(variable) => read.push(Part::Variable(variable)),
                        Err(fault) if variables <= VARIABLES => faults.push(fault),
                        Err(_) => {}
                    }
                }
            }
        }
        if variables > VARIABLES {
            let what = format!("it has {variables} variables, and at most {VARIABLES} are filled");
            return Err(VariableFault::new(what, "write the path without some of them"));
        }
        match VariableFault::all(faults) {
            Some(fault) => Err(fault),
            None => Ok(Some(Self { parts: read, place })),
        }
    }

    fn fill(&self, values: &Values<'_>) -> Result<String, VariableFault> {
        let mut faults = Vec::new();
        let filled = self.join(|variable| {
            if matches!(variable, Variable::Pod(_)) && values.names.is_none() {
                return left_to_the_agent(variable);
            }
            variable.fitting(self.place, values).unwrap_or_else(|fault| {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
                Cow::Borrowed("")
            })
        });
        VariableFault::all(faults).map_or(Ok(filled), Err)
    }

    /// The text with each variable replaced.
    fn join<'v>(&self, mut value: impl FnMut(Variable<'t>) -> Cow<'v, str>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(variable) => text.push_str(&value(*variable)),
            }
        }
        text
    }

    /// Finds two values in one level without a separator that ends the first:
    /// `${namespace}-${service-account}` is the same for `a-b` with `c` and for `a` with `b-c`. In
    /// a glob, a wildcard counts as a value.
    fn ambiguity(&self) -> Option<VariableFault> {
        let Self { parts, place } = self;
        // The values of the level, `None` for a wildcard, each with the text before it.
        let mut level: Vec<(Option<Variable<'_>>, String)> = Vec::new();
        let mut literal = String::new();
        for part in parts {
            match part {
                Part::Variable(variable) => level.push((Some(*variable), std::mem::take(&mut literal))),
                Part::Literal(text) => {
                    for c in text.chars() {
                        if ends_level(c, *place) {
                            if let Some(fault) = ambiguous_pair(&level, *place) {
                                return Some(fault);
                            }
                            level.clear();
                            literal.clear();
                        } else if place.is_glob() && matches!(c, '*' | '?') {
                            level.push((None, std::mem::take(&mut literal)));
                        } else {
                            literal.push(c);
                        }
                    }
                }
            }
        }
        ambiguous_pair(&level, *place)
    }
}

/// The first two neighbours in a level that cannot be distinguished.
fn ambiguous_pair(level: &[(Option<Variable<'_>>, String)], place: Place) -> Option<VariableFault> {
    let ends = |value: Option<Variable<'_>>, c| value.is_some_and(|variable| !variable.may_have(c, place));
    let pairs = level.windows(2).enumerate();
    let mut pairs = pairs.filter_map(|(at, pair)| match pair {
        [(None, _), (None, _)] => None,
        [(left, _), (right, between)] => {
            // A character that the right value cannot have marks where it starts, unless another
            // value follows that may have it.
            let is_last = at + 2 == level.len();
            let is_clear = between.chars().any(|c| ends(*left, c) || is_last && ends(*right, c));
            (!is_clear).then(|| ambiguous(*left, *right, between))
        }
        _ => None,
    });
    pairs.next()
}

fn ends_level(c: char, place: Place) -> bool {
    match place {
        Place::Role | Place::RoleGlob => c == '/',
        _ => c == '/' || c == ',' || c == '=' || c.is_ascii_whitespace(),
    }
}

fn ambiguous(left: Option<Variable<'_>>, right: Option<Variable<'_>>, between: &str) -> VariableFault {
    let shown =
        |value: Option<Variable<'_>>| value.map_or("a wildcard".to_owned(), |variable| variable.to_string());
    let with = if between.is_empty() { "nothing".to_owned() } else { Excerpt::new(between).to_string() };
    VariableFault::new(
        format!(
            "{} and {} are in one level with {with} between, so pods with different values could \
             get the same path",
            shown(left),
            shown(right)
        ),
        "put a / between them, or a character that the value cannot have, such as _ behind ${namespace}",
    )
}

/// The error for a variable where variables are not supported.
pub(crate) fn not_here() -> VariableFault {
    VariableFault::new(
        "variables are not filled here",
        "use it in a policy, or in annotations of pods and namespaces",
    )
}

/// Whether a text is the key of a label or annotation: `[prefix/]name`.
fn is_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    (1..=317).contains(&key.len()) && key.bytes().all(is_allowed) && key.split('/').count() <= 2
}

fn unknown(name: &str) -> VariableFault {
    let meant = name.to_ascii_lowercase().replace('_', "-");
    let meant = meant.trim();
    let names = KNOWN.map(|(name, _)| name);
    let hint = names.into_iter().find(|known| *known == meant).or_else(|| nearest(meant, names));
    let known = names.map(|known| format!("${{{known}}}")).join(", ");
    VariableFault::new(
        format!("{} is not a variable; these are {known}", shown(name)),
        match hint {
            Some(hint) => format!("did you mean ${{{hint}}}?"),
            None => "write one of them, or the path itself".to_owned(),
        },
    )
}

fn syntax(fault: &SyntaxFault) -> VariableFault {
    match fault {
        SyntaxFault::Bare => VariableFault::new(
            "a $ only starts a variable",
            "write for example ${namespace}, or remove the $",
        ),
        SyntaxFault::Unclosed => VariableFault::new("a variable starts with ${ and has no }", "add the }"),
        other => VariableFault::new(other.to_string(), "name one variable between ${ and }"),
    }
}

/// A variable in a form that is safe to quote in a problem.
fn shown(name: &str) -> String {
    Excerpt::new(&format!("${{{name}}}")).to_string()
}

#[cfg(test)]
mod tests;
