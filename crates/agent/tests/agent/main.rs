//! The built agent against a ScaiVault in this process: files, exit codes, restarts, signals.

mod init;
mod sidecar;
mod support;
