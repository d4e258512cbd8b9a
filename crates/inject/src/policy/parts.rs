//! What a policy is compiled from.

use std::collections::BTreeMap;

/// A policy as its author wrote it. Texts are as annotations write them, with variables (`${namespace}`) not yet filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyParts {
    /// The object's name, unique in the cluster.
    pub name: String,
    /// The object's `metadata.generation`; 0 where it is not known (a file).
    pub generation: i64,
    /// The higher is the stronger; of equal ones, the name that sorts first.
    pub priority: i32,
    /// The namespaces that it selects; an empty selector selects all.
    pub namespaces: Selector,
    /// The pods that it selects there.
    pub pods: Selector,
    /// Names of service accounts, globs allowed; none selects the pods of all.
    pub service_accounts: Vec<String>,
    /// The environment of the namespaces that it selects, whichever pods it selects there.
    pub environment: Option<String>,
    /// Annotation keys, without the prefix, and values that selected pods get: `inject-secret-<name>` and the like, the
    /// options of files, `containers`, `init-containers`.
    pub inject: Vec<(String, String)>,
    /// Annotation keys, without the prefix, and values: any key that a namespace may set, but `mutation-mode`.
    pub defaults: Vec<(String, String)>,
    /// What pods, service accounts and namespaces may ask for.
    pub allow: Allow,
    /// Whether selected pods are injected at all; none says nothing, and then they are.
    pub mutation_mode: Option<PolicyMode>,
    /// Whether a pod, workload or namespace may decide otherwise; the default follows from the mode.
    pub pods_may_override: Option<bool>,
    /// What happens where the policy is violated.
    pub enforcement: Enforcement,
    /// Where more is allowed, until a date.
    pub exceptions: Vec<Exception>,
}

/// A label selector, as Kubernetes defines it. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Labels that must have these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements; all must hold.
    pub match_expressions: Vec<Expression>,
}

/// One requirement of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// The values of `In` and `NotIn`; none otherwise.
    pub values: Vec<String>,
}

/// How an [`Expression`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// What may be asked for, a list for each field. `None`: the policy does not limit the field. An empty list allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Globs of secret paths.
    pub paths: Option<Vec<String>>,
    /// Globs of `engine/role`.
    pub dynamic: Option<Vec<String>>,
    /// Globs of the annotation `role`.
    pub roles: Option<Vec<String>>,
    /// URLs, as in the injector's `allowedUrls`, in whose place they stand.
    pub urls: Option<Vec<String>>,
    /// Images, as in the injector's `allowedImages`, in whose place they stand.
    pub images: Option<Vec<String>>,
    /// Users: `1000`, `1000-1999`, `unset`.
    pub uids: Option<Vec<String>>,
    /// Globs of names of `ConfigMap`s with authorities.
    pub ca_configmaps: Option<Vec<String>>,
    /// Globs of names of Secrets with client credentials.
    pub client_credentials_secrets: Option<Vec<String>>,
}

/// More that is allowed to some of the selected pods, until a date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Its name, unique in the policy.
    pub name: String,
    /// Globs of names of namespaces; none means all that the policy selects.
    pub namespaces: Vec<String>,
    /// Globs of names of service accounts; none means all that the policy selects.
    pub service_accounts: Vec<String>,
    /// The pods.
    pub pods: Selector,
    /// What they may ask for besides.
    pub allow: Allow,
    /// Who answers for it.
    pub owner: String,
    /// Why it was made.
    pub reason: String,
    /// From when on it is over, Unix seconds.
    pub expires: i64,
}

/// Whether selected pods are injected at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// They are.
    #[default]
    Inject,
    /// They are left as they are.
    Ignore,
    /// What was injected is taken out.
    IgnoreAndDetach,
}

impl PolicyMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Inject, Self::Ignore, Self::IgnoreAndDetach];

    /// The mode's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Ignore => "ignore",
            Self::IgnoreAndDetach => "ignore-and-detach",
        }
    }
}

/// What happens where a policy is violated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Enforcement {
    /// The policy changes nothing; what it would have done is reported.
    Audit,
    /// The policy injects; what it does not allow goes through with a warning.
    Warn,
    /// The pod is refused.
    #[default]
    Enforce,
}

impl Enforcement {
    /// Every enforcement, from lax to strict.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Warn, Self::Enforce];

    /// The enforcement's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}
