//! Words that the injector and the agent share.

pub mod names;
