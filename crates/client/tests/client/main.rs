//! The client against a ScaiVault in the same process, and against servers that mean harm.

mod events;
mod fixture;
mod hostile;
mod leases;
mod login;
mod proxy;
mod secrets;
mod tls;
