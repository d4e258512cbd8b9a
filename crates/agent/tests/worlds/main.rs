//! The built agent in environments that misbehave: servers that lag, answer in other formats or not
//! at all, network addresses that do not respond, volumes of two users, memory limits, and killed
//! processes. Each file covers one kind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod answers;
mod application;
mod generations;
mod lag;
mod memory;
mod names;
mod network;
mod outage;
mod site;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod trust;
mod users;
mod values;
