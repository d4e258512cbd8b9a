//! What the injector and the CSI provider share of the Kubernetes API: kinds of objects that are watched into memory, and the
//! `InjectionPolicies` in force.
//!
//! ```text
//! list + watch -> the memory of a kind (follow)
//! InjectionPolicies -> pending changes -> keep: compile what changed -> PolicySet, swapped (policies)
//! ```

mod client;
mod clock;
mod list;
pub mod policies;
mod watch;
mod watched;

pub use client::{from_config, is_forbidden, reason};
pub use clock::{ApiClock, unix_seconds};
pub use list::{Content, ListEnd, Page, page_of_items};
pub use watch::{Observer, follow, key};
pub use watched::Watched;
