//! The built agent over many changes and many ends: its files under constant reading, the processes
//! that it signals, what a process of the same user can see of it, and what remains when it is
//! killed or stopped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod application;
mod chains;
mod end;
mod kill;
mod neighbour;
mod readers;
mod resume;
mod rotations;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod user;
