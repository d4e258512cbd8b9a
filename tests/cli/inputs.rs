//! Where manifests come from.

use std::{fs, path::Path};

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

/// The progress bar is only shown on a terminal.
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
fn unreadable_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let latin1 = directory.path().join("latin1.yaml");
    fs::write(&latin1, b"a: \xe9\n").unwrap();
    let large = directory.path().join("large.yaml");
    // A sparse file needs no space on the disk.
    fs::File::create(&large).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let empty = tempfile::tempdir().unwrap();
    for (path, expected) in [
        (
            latin1.as_path(),
            "latin1.yaml unreadable: is not UTF-8 (byte 3): convert it, for example with iconv",
        ),
        (large.as_path(), "large.yaml unreadable: is larger than 64 MiB"),
        (Path::new("no/such/file.yaml"), "no/such/file.yaml unreadable: cannot be read: No such file"),
        (empty.path(), "unreadable: no file here or below ends in .yaml, .yml or .json"),
    ] {
        let report = run(["check".as_ref(), "-f".as_ref(), path.as_os_str()]).exits(2).stdout;
        assert!(report.contains(expected), "{expected} is not in\n{report}");
    }
}

/// The problems of the other files are useful, but no manifest may be applied while one is missing.
#[test]
fn one_unreadable_file_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), b"a: \xe9\n").unwrap();
    fs::write(directory.path().join("b.yaml"), POD).unwrap();
    let directory = directory.path().to_str().unwrap();
    let arguments = ["-f", directory, "-f", "no/such/file.yaml"];
    let report = run(["check"].iter().chain(&arguments)).exits(2).stdout;
    assert!(report.contains("b.yaml:1 pod/plain: skipped"), "{report}");
    assert!(report.contains("a.yaml unreadable: ") && report.contains("file.yaml unreadable: "), "{report}");
    assert!(report.ends_with("1 object: 1 skipped; 2 unreadable\n"), "{report}");
    let injected = run(["inject"].iter().chain(&arguments)).exits(2).says("b.yaml:1 pod/plain: skipped");
    assert_eq!(injected.stdout, "");
}

/// Emacs' lock is a dangling link, and vim's swap file is not text.
#[cfg(unix)]
#[test]
fn leftovers_of_editors_are_skipped() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("app.yaml"), POD).unwrap();
    std::os::unix::fs::symlink("me@laptop.42", directory.path().join(".#app.yaml")).unwrap();
    fs::write(directory.path().join(".app.yaml"), b"\xff").unwrap();
    let outcome = run(["check".as_ref(), "-f".as_ref(), directory.path().as_os_str()]).exits(0);
    assert!(outcome.stdout.ends_with("\n1 object: 1 skipped\n"), "{}", outcome.stdout);
}

#[test]
fn standard_input_is_read_for_one_thing_only() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    for (arguments, expected) in [
        (vec!["check", "-f", "-", "-f", "-"], "for the manifests and for the manifests"),
        (vec!["inject", "--namespace-file", "-"], "for the manifests and for --namespace-file"),
        (vec!["check", "-f", "-", "--config", "-"], "for the manifests and for --config"),
        (
            vec!["check", "-f", "examples", "--config", "-", "--namespace-file", "-"],
            "for --config and for --namespace-file",
        ),
    ] {
        let refused = run_with(namespace, &arguments).exits(2).says("standard input can be read once");
        assert_eq!(refused.stdout, "");
        refused.says(expected);
    }
    run_with(namespace, ["check", "-f", "examples/deployment.yaml", "--namespace-file", "-"]).exits(0);
}

/// `kustomize build . | scaivault-injector check`, when kustomize failed.
#[test]
fn nothing_on_standard_input_is_an_error() {
    for input in ["", "\n \n"] {
        for command in ["check", "inject", "detach"] {
            let outcome = run_with(input, [command]).exits(2);
            let said = outcome.stdout + &outcome.stderr;
            assert!(said.contains("stdin unreadable: is empty"), "{command}: {said}");
        }
    }
}
