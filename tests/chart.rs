//! The Helm charts, rendered by the real helm, which is looked for in `KUBEBUILDER_ASSETS` and then in `PATH`.
//!
//! A chart renders the same for helm, `kubectl apply` and Argo CD: it looks nothing up, has nothing random and needs no hook.
//! It names no field that the injector writes (`data` of the CA's Secret, `caBundle` of the webhook configurations), so an
//! upgrade leaves those alone.
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
