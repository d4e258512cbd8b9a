//! `--explain`: where each setting of a pod was written.

use scaivault_inject::{Context, Layer, PodView};

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// The annotation without its prefix.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
    /// Where it was written.
    pub(crate) layer: Layer,
}

/// All settings of a pod with their origin.
pub(crate) fn explain(_pod: &PodView<'_>, _context: &Context<'_>) -> Vec<Explanation> {
    Vec::new()
}
