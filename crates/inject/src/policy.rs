//! The platform's policies: which pods get which secrets without annotations, and what pods may
//! request.
//!
//! A [`Policy`] is compiled from [`PolicyParts`], the texts of an `InjectionPolicy` as its author
//! wrote them. A [`PolicySet`] holds all policies of a cluster; [`crate::decide_with_policies`]
//! evaluates those that select a pod.

mod applied;
mod compile;
mod compiled;
mod conflicts;
mod evaluate;
mod glob;
mod index;
mod labels;
mod limits;
mod mode;
mod parts;
mod report;
mod set;
pub(crate) mod variables;
mod volume;

pub use compiled::Policy;
pub use conflicts::PolicyConflict;
pub use parts::{
    Allow, Enforcement, Exception, Expression, Operator, PolicyMode, PolicyParts, PolicyRestart, Selector,
};
pub use report::{PolicyEffect, PolicyReport, PolicyUse};
pub use set::PolicySet;
pub use volume::{
    Ask, AskKind, VariablePlace, VolumeContext, VolumeRefusal, VolumeReview, VolumeVariables,
    sample_volume_text,
};

pub(crate) use applied::AppliedPolicies;
pub(crate) use conflicts::check as check_conflicts;
pub(crate) use evaluate::{evaluate, with_applied};
pub(crate) use labels::PodLabels;
pub(crate) use limits::{ReplacedLists, check as check_limits};
pub(crate) use mode::{Mode, mode};
pub(crate) use report::Notes;
