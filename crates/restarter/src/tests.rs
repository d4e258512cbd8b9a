//! Tests of decisions on a simulated cluster.

mod bad_rotations;
mod cluster;
mod faults;
mod limits;
mod modes;
mod properties;
mod rotations;
