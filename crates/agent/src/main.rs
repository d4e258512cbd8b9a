//! `scaivault-agent`: what runs in the pods.

mod config;
mod environment;
mod exit;
mod render;
mod sink;

fn main() {}
