//! The built agent over many changes and many ends: what its files look like to those who read all the time, whom it
//! signals, what a neighbour in the pod can see of it, and what is left when it is killed or stopped.
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
