//! The examples are what a newcomer copies: they must be right.

use std::{fs, path::Path};

use super::program::run;

#[test]
fn every_example_is_free_of_problems_and_warnings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let report = run(["check".as_ref(), "-f".as_ref(), path.as_os_str()]).exits(0).stdout;
        assert!(!report.contains("warning:") && !report.contains("malformed"), "{report}");
        assert!(
            fs::read_to_string(&path).unwrap().starts_with("# "),
            "{}: begins with what it shows",
            path.display()
        );
        seen += 1;
    }
    assert_eq!(seen, 5, "the examples are where this test looks");
}
