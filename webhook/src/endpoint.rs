//! The endpoints that the webhook configurations refer to: the path determines the question.

/// Receives pods that are created, for injection.
pub const MUTATE_PATH: &str = "/mutate";
/// Receives pods because of policies, with or without annotations. A replica without policies does
/// not serve it: if the API server depends on policies being applied, such a replica must not
/// answer.
pub const MUTATE_FOR_POLICIES_PATH: &str = "/mutate/policies";
/// Receives workloads with a `mutation-mode`, to copy the mode to their pod templates.
pub const MODE_PATH: &str = "/mode";
/// Receives workloads, to validate their annotations.
pub const VALIDATE_PATH: &str = "/validate";
/// Receives `InjectionPolicies`, to validate them.
pub const POLICY_PATH: &str = "/policy";

/// A webhook endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Pods, CREATE, mutating.
    Mutate,
    /// Workloads, CREATE and UPDATE, mutating.
    Mode,
    /// Workloads, CREATE and UPDATE, validating.
    Validate,
    /// `InjectionPolicies`, CREATE and UPDATE, validating.
    Policy,
}

impl Endpoint {
    /// Every endpoint.
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

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Mode => "mode",
            Self::Validate => "validate",
            Self::Policy => "policy",
        }
    }
}
