//! The bodies of the fuzz targets, as functions of bytes that panic on a violation.
//!
//! Each body checks properties of every input, not only the absence of crashes. They are ordinary
//! functions, so that a test runs them on the seeds with the stable toolchain; `fuzz_targets` only
//! passes them to libFuzzer.
#![forbid(unsafe_code)]

mod annotations;
mod cost;
mod inverse;
mod laws;
mod mapping;
mod policy;
mod review;
mod template;
mod workload;

pub use annotations::annotations;
pub use cost::cost;
pub use inverse::inverse;
pub use mapping::mapping;
pub use policy::policy;
pub use review::review;
pub use template::template;
pub use workload::workload;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Runs every seed and every prefix of it, as an interrupted connection would leave.
    #[track_caller]
    fn run_seeds(target: &str, body: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        let mut seeds = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            for length in 0..=bytes.len() {
                body(&bytes[..length]);
            }
            seeds += 1;
        }
        assert!(seeds > 0, "{target} has no seed");
    }

    #[test]
    fn review_seeds() {
        run_seeds("review", super::review);
    }

    #[test]
    fn cost_seeds() {
        run_seeds("cost", super::cost);
    }

    #[test]
    fn annotations_seeds() {
        run_seeds("annotations", super::annotations);
    }

    #[test]
    fn policy_seeds() {
        run_seeds("policy", super::policy);
    }

    #[test]
    fn mapping_seeds() {
        run_seeds("mapping", super::mapping);
    }

    #[test]
    fn template_seeds() {
        run_seeds("template", super::template);
    }

    #[test]
    fn workload_seeds() {
        run_seeds("workload", super::workload);
    }

    #[test]
    fn inverse_seeds() {
        run_seeds("inverse", super::inverse);
    }
}
