//! The part of the Kubernetes API that the injector and the CSI provider share: kinds of objects
//! that are watched and cached, and the `InjectionPolicies` in force.
//!
//! ```text
//! list + watch -> the cache of a kind (follow)
//! InjectionPolicies -> pending changes -> keep: compile what changed -> PolicySet, swapped (policies)
//! ```

mod client;
mod clock;
mod list;
pub mod policies;
mod watch;
mod watched;

pub use client::{RETRIED, from_config, is_forbidden, reason};
pub use clock::{ApiClock, unix_seconds};
pub use list::{Content, ListEnd, Page, page_of_items};
pub use watch::{Observer, follow, key};
pub use watched::Watched;
