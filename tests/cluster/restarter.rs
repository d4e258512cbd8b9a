//! The restart controller on a real control plane with simulated nodes.

mod faults;
mod kinds;
mod pace;
mod release;
mod reloader;
mod sources;
