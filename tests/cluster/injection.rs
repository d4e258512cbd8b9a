//! Injection of a team's pods by an installed chart.

mod applied;
mod calls;
mod defaults;
mod examples;
mod golden;
mod kinds;
mod migration;
mod neighbouring_webhook;
mod node_versions;
mod patterns;
mod pod_security;
mod quotas;
mod rollouts;
mod safety_net;
mod team;
mod untouched;
