//! The custom resource `InjectionPolicy`: its types, the definition with the API server's
//! validation, the same validation without an API server, and the conversion into the input of the
//! core's compiler.
//!
//! `kubectl`, the webhook, the watch and the command line reject the same policies with the same field and
//! message: a test in `tests/cluster` checks `tests/mistakes.json` both with a real API server and with
//! [`compile`].
//!
//! No I/O and no clock. The core does not depend on this crate: it gets
//! [`scaivault_inject::PolicyParts`].
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
pub use definition::{definition, forbid_null};
pub use inject::{Dynamic, Inject, Secret, Variable};
pub use problem::{PolicyProblem, PolicyProblems};
pub use reference::fields_of;
pub use resource::{
    Delivery, Enforcement, InjectionPolicy, InjectionPolicySpec, KIND, MutationMode, Pattern, Reload,
    Restart, VERSION,
};
pub use rules::check_resource;
pub use selector::{Expression, LabelSelector, Operator};
pub use status::{Condition, InForce, InjectionPolicyStatus, LastRefusal, PodCounts, condition};
pub use testing::{Case, Expectation, ExpectedEffect, ExpectedOutcome, PolicyTest, TEST_KIND, TestNamespace};
