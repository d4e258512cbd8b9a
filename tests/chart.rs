//! The Helm charts, rendered by the real helm, which is looked for in `KUBEBUILDER_ASSETS` and then in `PATH`.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test --features cluster-tests --test chart`, then read the difference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod server;

mod chart {
    pub(crate) mod helm;

    mod csi;
    mod escaped_templates;
    mod monitoring;
    mod names;
    mod objects;
    mod policies;
    mod refusals;
    mod releases;
    mod renderings;
    mod schema;
}
