//! The entries of the webhook configurations: what is asked, by the path it is posted to.

/// Where pods that are created are posted to, to be injected.
pub const MUTATE_PATH: &str = "/mutate";
/// Where pods are posted to because of policies, whatever they say. A replica without policies does not have it: where the API server
/// relies on its answer, it must not pass for one.
pub const MUTATE_FOR_POLICIES_PATH: &str = "/mutate/policies";
/// Where workloads with a `mutation-mode` are posted to, for their pod templates to carry it.
pub const MODE_PATH: &str = "/mode";
/// Where workloads are posted to, for their annotations to be checked.
pub const VALIDATE_PATH: &str = "/validate";
/// Where `InjectionPolicies` are posted to, to be checked.
pub const POLICY_PATH: &str = "/policy";

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Pods, CREATE, mutating.
    Mutate,
    /// Workloads, CREATE and UPDATE, mutating.
    Mode,
    /// Workloads, CREATE and UPDATE, validating.
    Validate,
    /// `InjectionPolicies`, CREATE and UPDATE, validating.
    Policy,
}

impl Entry {
    /// Every entry.
    pub const ALL: [Self; 4] = [Self::Mutate, Self::Mode, Self::Validate, Self::Policy];

    /// The path on the admission port.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Mutate => MUTATE_PATH,
            Self::Mode => MODE_PATH,
            Self::Validate => VALIDATE_PATH,
            Self::Policy => POLICY_PATH,
        }
    }

    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Mode => "mode",
            Self::Validate => "validate",
            Self::Policy => "policy",
        }
    }
}
