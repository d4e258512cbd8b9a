//! Where manifests come from.

use std::fs;

use super::program::{POD, run, run_with};

#[test]
fn standard_input_is_read_without_f_and_with_a_dash() {
    for arguments in [vec!["check"], vec!["check", "-f", "-"], vec!["check", "--filename", "-"]] {
        let outcome = run_with(POD, &arguments).exits(0);
        assert!(
            outcome.stdout.starts_with("stdin:1 pod/plain: skipped (not-annotated)\n"),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn a_directory_is_walked_in_sorted_order() {
    let directory = tempfile::tempdir().unwrap();
    for (file, name) in [("b.yaml", "second"), ("a/z.yml", "first"), ("c.json", "third")] {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            path,
            format!(
                "{{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {{\"name\": \"{name}\"}}}}"
            ),
        )
        .unwrap();
    }
    fs::write(directory.path().join("notes.txt"), "a: [").unwrap();
    let outcome = run(["check".as_ref(), "-f".as_ref(), directory.path().as_os_str()]).exits(0);
    let names: Vec<_> =
        outcome.stdout.lines().filter_map(|line| Some(line.split_once("service/")?.1)).collect();
    assert_eq!(names, ["first: skipped (no-pod)", "second: skipped (no-pod)", "third: skipped (no-pod)"]);
    assert!(outcome.stdout.ends_with("\n3 objects: 3 skipped\n"), "{}", outcome.stdout);
}

/// A bar is for a terminal only.
#[test]
fn many_files_leave_nothing_on_a_pipe_but_the_result() {
    let directory = tempfile::tempdir().unwrap();
    for index in 0..40 {
        fs::write(directory.path().join(format!("{index:02}.yaml")), POD).unwrap();
    }
    let outcome = run(["check".as_ref(), "-f".as_ref(), directory.path().as_os_str()]).exits(0);
    assert_eq!(outcome.stderr, "");
    assert!(outcome.stdout.ends_with("\n40 objects: 40 skipped\n"), "{}", outcome.stdout);
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let latin1 = directory.path().join("latin1.yaml");
    fs::write(&latin1, b"a: \xe9\n").unwrap();
    run(["check".as_ref(), "-f".as_ref(), latin1.as_os_str()])
        .exits(2)
        .says("latin1.yaml: is not UTF-8 (byte 3): convert it, for example with iconv");
    run(["check", "-f", "no/such/file.yaml"])
        .exits(2)
        .says("no/such/file.yaml: cannot be read: No such file");

    let empty = tempfile::tempdir().unwrap();
    run(["check".as_ref(), "-f".as_ref(), empty.path().as_os_str()])
        .exits(2)
        .says("no file here or below ends in .yaml, .yml or .json");
    run(["check", "-f", "-", "-f", "-"]).exits(2).says("standard input can be read once");
}

#[test]
fn a_file_beyond_the_limit_is_refused_before_it_is_parsed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.yaml");
    // A hole: takes no room on the disk.
    fs::File::create(&path).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    run(["check".as_ref(), "-f".as_ref(), path.as_os_str()])
        .exits(2)
        .says("large.yaml: is larger than 64 MiB");
}
