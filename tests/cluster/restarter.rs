//! The restart controller on a real control plane, whose pods are on paper.

mod faults;
mod kinds;
mod pace;
mod release;
mod reloader;
mod sources;
