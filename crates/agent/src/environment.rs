//! The process's environment, limited to the variables in the contract's table.

use std::{collections::BTreeMap, env, ffi::OsString, fmt};

use scaivault_contract::{
    env::{
        ENVIRONMENT, SCAIKEY_TOKEN_URL, SCAIVAULT_CA_FILE, SCAIVAULT_CREDENTIALS_DIR, SCAIVAULT_TOKEN_FILE,
        SCAIVAULT_URL,
    },
    write_errors,
};
use thiserror::Error;

/// The values of the contract's variables, and of those for the proxy and the API server. An empty
/// value counts as not set, because manifest templates write it so. If that would be dangerous, it
/// is an error ([`NEVER_EMPTY`]).
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    values: BTreeMap<&'static str, String>,
    /// Values that cannot be used, regardless of their variable.
    pub(crate) problems: Vec<VariableProblem>,
}

/// If these were empty, the default would log in at another server, use other credentials, or trust
/// more than intended. An empty value comes from a template that was not filled.
const NEVER_EMPTY: [&str; 5] =
    [SCAIVAULT_URL, SCAIVAULT_TOKEN_FILE, SCAIVAULT_CA_FILE, SCAIVAULT_CREDENTIALS_DIR, SCAIKEY_TOKEN_URL];
/// Variables that other programs read, too, so they are not in the contract's table.
const OTHER_VARIABLES: [&str; 8] = [
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    KUBERNETES_SERVICE_HOST,
    KUBERNETES_SERVICE_PORT,
];

/// The API server's host, which Kubernetes sets in every container.
pub(crate) const KUBERNETES_SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// The API server's port, which Kubernetes sets in every container.
pub(crate) const KUBERNETES_SERVICE_PORT: &str = "KUBERNETES_SERVICE_PORT";

impl Environment {
    /// Reads the variables of this process.
    pub(crate) fn from_process() -> Self {
        let mut environment = Self::default();
        for spec in ENVIRONMENT {
            match variable(spec.name).map(OsString::into_string) {
                None => {}
                Some(Ok(value)) => environment.set(spec.name, value),
                Some(Err(_)) => {
                    environment.problems.push(VariableProblem::new(spec.name, "its value is not UTF-8"));
                }
            }
        }
        for name in OTHER_VARIABLES {
            if let Some(Ok(value)) = variable(name).map(OsString::into_string) {
                environment.set(name, value);
            }
        }
        environment
    }

    /// The value, or else the table's default; empty if there is neither.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.given(name).unwrap_or_else(|| default(name))
    }

    /// The value, if it is set.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(crate) fn set(&mut self, name: &'static str, value: String) {
        if !value.is_empty() {
            self.values.insert(name, value);
        } else if NEVER_EMPTY.contains(&name) {
            self.problems
                .push(VariableProblem::new(name, "it is set but empty; give it a value or remove it"));
        }
    }
}

/// A variable's default in the contract's table.
pub(crate) fn default(name: &str) -> &'static str {
    ENVIRONMENT.iter().find(|spec| spec.name == name).map_or("", |spec| spec.default)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment is the agent's interface, and this its one reader"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

#[cfg(test)]
impl<const N: usize> From<[(&'static str, &str); N]> for Environment {
    fn from(pairs: [(&'static str, &str); N]) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            environment.set(name, value.to_owned());
        }
        environment
    }
}

/// The maximum number of problems that are listed, because the kubelet truncates termination
/// messages at 4 KiB.
const PROBLEMS_SHOWN: usize = 16;

/// A malformed variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VariableProblem {
    variable: &'static str,
    what: String,
}

impl VariableProblem {
    /// `what` describes the problem and the fix.
    pub(crate) fn new(variable: &'static str, what: impl fmt::Display) -> Self {
        Self { variable, what: what.to_string() }
    }
}

impl fmt::Display for VariableProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)
    }
}

/// All problems in the environment; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) struct EnvironmentProblems(Vec<VariableProblem>);

impl EnvironmentProblems {
    /// `value` if there are no problems.
    pub(crate) fn or<T>(problems: Vec<VariableProblem>, value: T) -> Result<T, Self> {
        if problems.is_empty() { Ok(value) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for EnvironmentProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        let heading = format_args!("the environment has {} mistakes:", problems.len());
        write_errors(f, heading, problems, PROBLEMS_SHOWN, 0)
    }
}

#[cfg(test)]
mod tests {
    use scaivault_contract::env::Containers;

    use super::*;

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../../../docs/agent.md");
        for spec in ENVIRONMENT {
            let containers = match spec.containers {
                Containers::Init => "init",
                Containers::Sidecar => "sidecar",
                Containers::Both => "both",
                Containers::SyncSecret => "sync-secret",
            };
            let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
            let doc = spec.doc.replace('|', "\\|");
            let row = format!("| `{}` | {containers} | {default} | {doc} |", spec.name);
            assert!(page.lines().any(|line| line == row), "docs/agent.md needs the row:\n{row}");
        }
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let environment = Environment::from([(scaivault_contract::env::LOG_LEVEL, "")]);
        assert_eq!(environment.given("LOG_LEVEL"), None);
        assert_eq!(environment.value("LOG_LEVEL"), "info");
    }
}
