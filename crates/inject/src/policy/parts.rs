//! The source form of a policy.

use std::collections::BTreeMap;

/// A policy as its author wrote it. Texts have the form of annotations, with unfilled variables
/// (`${namespace}`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyParts {
    /// The object's name, unique in the cluster.
    pub name: String,
    /// The object's `metadata.generation`; 0 if unknown (in a file).
    pub generation: i64,
    /// A higher priority takes precedence; if equal, the alphabetically first name.
    pub priority: i32,
    /// The namespaces that it selects; an empty selector selects all.
    pub namespaces: Selector,
    /// The pods that it selects in these namespaces.
    pub pods: Selector,
    /// Globs of service account names; empty selects the pods of all service accounts.
    pub service_accounts: Vec<String>,
    /// The environment of the selected namespaces; it does not depend on the selected pods.
    pub environment: Option<String>,
    /// Annotation keys, without the prefix, and values that selected pods get:
    /// `inject-secret-<name>` and the like, options of files, `containers`, `init-containers`.
    pub inject: Vec<(String, String)>,
    /// Annotation keys, without the prefix, and values: any key that a namespace may set, except
    /// `mutation-mode`.
    pub defaults: Vec<(String, String)>,
    /// The values that pods, service accounts and namespaces may request.
    pub allow: Allow,
    /// Whether selected pods are injected at all; `None` if the policy does not decide, which means
    /// that they are.
    pub mutation_mode: Option<PolicyMode>,
    /// Whether workloads of the selected pods are restarted when their secrets change; `None` if the
    /// policy does not decide. Only the restart controller uses it.
    pub restart: Option<PolicyRestart>,
    /// Whether a pod, workload or namespace may override the mode; the default depends on the mode.
    pub pods_may_override: Option<bool>,
    /// What happens if the policy is violated.
    pub enforcement: Enforcement,
    /// Additional permissions that expire.
    pub exceptions: Vec<Exception>,
}

/// Whether workloads are restarted when their secrets change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyRestart {
    /// They are restarted.
    Auto,
    /// They are restarted when their owners release the restart.
    Manual,
    /// They are not restarted.
    Off,
}

/// A label selector with Kubernetes' semantics. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Labels that must have these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements; all must be met.
    pub match_expressions: Vec<Expression>,
}

/// A requirement of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The label's key.
    pub key: String,
    /// The comparison.
    pub operator: Operator,
    /// The values of `In` and `NotIn`; empty for other operators.
    pub values: Vec<String>,
}

/// The comparison of an [`Expression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// The allowed values, one list per field. `None` means that the policy does not limit the field;
/// an empty list allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Globs of secret paths.
    pub paths: Option<Vec<String>>,
    /// Globs of `engine/role`.
    pub dynamic: Option<Vec<String>>,
    /// Globs of the annotation `role`.
    pub roles: Option<Vec<String>>,
    /// URLs, as in the injector's `allowedUrls`, which they replace.
    pub urls: Option<Vec<String>>,
    /// Images, as in the injector's `allowedImages`, which they replace.
    pub images: Option<Vec<String>>,
    /// Users: `1000`, `1000-1999`, `unset`.
    pub uids: Option<Vec<String>>,
    /// Globs of names of `ConfigMap`s with certificate authorities.
    pub ca_configmaps: Option<Vec<String>>,
    /// Globs of names of Secrets with client credentials.
    pub client_credentials_secrets: Option<Vec<String>>,
}

/// Additional permissions for some of the selected pods, which expire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Its name, unique in the policy.
    pub name: String,
    /// Globs of namespace names; empty means all that the policy selects.
    pub namespaces: Vec<String>,
    /// Globs of service account names; empty means all that the policy selects.
    pub service_accounts: Vec<String>,
    /// The pods that it applies to.
    pub pods: Selector,
    /// What they may request in addition.
    pub allow: Allow,
    /// The person or team responsible for it.
    pub owner: String,
    /// The reason for it.
    pub reason: String,
    /// When it expires, in Unix seconds.
    pub expires: i64,
}

/// Whether selected pods are injected at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// They are injected.
    #[default]
    Inject,
    /// They are not injected.
    Ignore,
    /// They are not injected, and an existing injection is removed.
    IgnoreAndDetach,
}

impl PolicyMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Inject, Self::Ignore, Self::IgnoreAndDetach];

    /// The name of the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Ignore => "ignore",
            Self::IgnoreAndDetach => "ignore-and-detach",
        }
    }
}

/// What happens if a policy is violated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Enforcement {
    /// Nothing; what the policy would have done is reported.
    Audit,
    /// The policy injects, and violations only cause a warning.
    Warn,
    /// The pod is rejected.
    #[default]
    Enforce,
}

impl Enforcement {
    /// Every enforcement, from lenient to strict.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Warn, Self::Enforce];

    /// The name of the enforcement.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}
