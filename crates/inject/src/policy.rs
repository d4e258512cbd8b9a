//! Policies of the platform: which pods get which secrets without annotations, and what pods may ask for.
//!
//! A [`Policy`] is compiled from [`PolicyParts`], which are the texts of an `InjectionPolicy` as its author wrote them.
//! A [`PolicySet`] holds all policies of a cluster; [`crate::decide_with_policies`] evaluates those that select a pod.

mod compiled;
mod parts;
mod report;
mod set;
pub(crate) mod variables;

pub use compiled::Policy;
pub use parts::{Allow, Enforcement, Exception, Expression, Operator, PolicyMode, PolicyParts, Selector};
pub use report::{PolicyEffect, PolicyReport, PolicyUse};
pub use set::{PolicyConflict, PolicySet};
