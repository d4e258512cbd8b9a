//! The stages of a workload's migration from native Secrets to the injector.

use serde::Serialize;

use crate::model::{Verdict, Workload};

/// The stage of a workload's migration from native Secrets to the injector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The injector delivers all of its secrets.
    Moved,
    /// The injector delivers some of its secrets; others come from native Secrets or another
    /// product.
    Mixed,
    /// It asks the injector for secrets and is rejected.
    Refused,
    /// Its containers read native Secrets.
    Native,
    /// Another product delivers its secrets.
    OtherProduct,
    /// Its containers use no secrets.
    None,
}

impl Stage {
    /// All stages, in the order in which reports show them.
    pub const ALL: [Self; 6] =
        [Self::Moved, Self::Mixed, Self::Refused, Self::Native, Self::OtherProduct, Self::None];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Mixed => "mixed",
            Self::Refused => "refused",
            Self::Native => "native Secrets",
            Self::OtherProduct => "other product",
            Self::None => "no secrets",
        }
    }

    /// Its name in CSS classes and element identifiers.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Mixed => "mixed",
            Self::Refused => "refused",
            Self::Native => "native",
            Self::OtherProduct => "other-product",
            Self::None => "none",
        }
    }

    /// Its meaning, as the end of a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Moved => "gets its secrets from the injector alone",
            Self::Mixed => {
                "gets secrets from the injector, and others from native Secrets or another product"
            }
            Self::Refused => "asks the injector for secrets and is refused, or runs without them",
            Self::Native => "reads native Secrets",
            Self::OtherProduct => "gets its secrets from another product",
            Self::None => "uses no secrets",
        }
    }

    /// Computes the stage from the workload's other fields; the field `stage` is ignored.
    pub(crate) fn from_workload(workload: &Workload) -> Self {
        let is_native = !workload.native_secrets.is_empty();
        let has_product = workload.delivering_products().next().is_some();
        match workload.becomes.verdict {
            Verdict::Injected if is_native || has_product => Self::Mixed,
            Verdict::Injected => Self::Moved,
            Verdict::Refused => Self::Refused,
            Verdict::NotCovered if is_native => Self::Native,
            Verdict::NotCovered if has_product => Self::OtherProduct,
            Verdict::NotCovered => Self::None,
        }
    }
}
