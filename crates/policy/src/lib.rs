//! `InjectionPolicy`, the custom resource: its types, the definition that the API server validates with, the same
//! validation without an API server, and the conversion into what the core compiles.
//!
//! `kubectl`, the webhook, the watch and the command line refuse the same policies with the same field and message: a test in
//! `tests/cluster` shows `tests/mistakes.json` to a real API server and to [`compile`].
//!
//! No I/O and no clock. The core does not know this crate: it gets [`scaivault_inject::PolicyParts`].
//!
//! ```text
//! Value -> schema + rules (all problems, by field) -> InjectionPolicy -> PolicyParts -> Policy
//! ```

#![expect(unreachable_pub, reason = "the derive of a schema copies each type into a function")]
#![expect(clippy::duplicated_attributes, reason = "columns of one type")]

mod allow;
mod convert;
mod date;
mod definition;
mod inject;
mod problem;
mod reference;
mod resource;
mod rules;
mod schema;
mod selector;
mod status;
mod testing;
mod text;

pub use allow::{Allow, Exception};
pub use convert::{compile, parts};
pub use date::Date;
pub use definition::definition;
pub use inject::{Dynamic, Inject, Secret, Variable};
pub use problem::{PolicyProblem, PolicyProblems};
pub use reference::markdown as fields_markdown;
pub use resource::{
    Delivery, Enforcement, InjectionPolicy, InjectionPolicySpec, KIND, MutationMode, Pattern, Reload,
    Restart, VERSION,
};
pub use rules::check_resource;
pub use selector::{Expression, LabelSelector, Operator};
pub use status::{Condition, InForce, InjectionPolicyStatus, LastRefusal, PodCounts, condition};
pub use testing::{Case, Expectation, ExpectedEffect, ExpectedOutcome, PolicyTest, TEST_KIND, TestNamespace};
