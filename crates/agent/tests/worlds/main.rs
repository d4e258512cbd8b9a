//! The built agent in worlds that misbehave: servers that lag, answer in other shapes or not at all, networks with dead
//! ends, volumes of two users, memory limits, and processes that die. Each file is about one kind.
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
