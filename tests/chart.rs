//! The Helm charts, rendered by helm from `KUBEBUILDER_ASSETS`, else from `PATH`.
//!
//! A chart renders the same for helm, `kubectl apply` and Argo CD: it uses no lookups, no random
//! values and no hooks. It sets no field that the injector writes (`data` of the CA's Secret,
//! `caBundle` of the webhook configurations), so an upgrade does not overwrite them.
//!
//! After an intended change:
//! `INSTA_UPDATE=always cargo test --features cluster-tests --test chart`, then review the diff.

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
