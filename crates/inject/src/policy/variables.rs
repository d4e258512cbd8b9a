//! Variables in paths, dynamic engines and roles: `${namespace}`, `${label:app}`.

#![expect(dead_code, reason = "called when policies are evaluated")]

use std::borrow::Cow;

use crate::{Namespace, pod::PodView};

/// What variables are filled from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) pod: &'a PodView<'a>,
    pub(crate) namespace: &'a Namespace,
    /// The environment of the namespace, if the policies that select it agree on one.
    pub(crate) environment: Option<&'a str>,
}

/// A text whose variables are filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filled<'t> {
    pub(crate) text: Cow<'t, str>,
    /// Whether there was a variable in it: what it became is checked like what a pod says.
    pub(crate) has_variables: bool,
}

/// Why a text cannot be filled: lower case, no full stop, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VariableFault {
    pub(crate) message: Cow<'static, str>,
    pub(crate) cure: Cow<'static, str>,
}

/// Fills the variables of a text.
pub(crate) fn fill<'t>(text: &'t str, values: &Values<'_>) -> Result<Filled<'t>, VariableFault> {
    let _ = values;
    Ok(Filled { text: Cow::Borrowed(text), has_variables: false })
}

/// A text with a plain value in place of each variable, for checks while no pod is known.
pub(crate) fn sample(text: &str) -> Result<Filled<'_>, VariableFault> {
    Ok(Filled { text: Cow::Borrowed(text), has_variables: false })
}
