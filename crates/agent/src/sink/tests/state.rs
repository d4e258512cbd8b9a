//! What the volume tells: readiness, marks, versions.

use super::*;

#[test]
fn missing_files_are_ready_only_where_the_agent_gave_them_up() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "b"]);
    volume.write(&sink, &[], false);
    assert!(!sink.is_ready(true), "nothing was given up yet");
    volume.write(&sink, &[], true);
    assert!(sink.is_ready(true) && !sink.is_ready(false));
    // A refresh that still cannot read it changes nothing about that.
    volume.write(&sink, &[("a", "2")], false);
    assert!(sink.is_ready(true) && !sink.is_ready(false));
    volume.write(&sink, &[("b", "1")], false);
    assert!(sink.is_ready(false));
    // With what was given back the next start begins anew.
    sink.remove([&volume.target("b")].into_iter()).unwrap();
    assert!(!sink.is_ready(true));
    volume.write(&sink, &[], true);
    assert!(sink.is_ready(true) && !sink.is_ready(false));
}

#[test]
fn optional_files_may_be_missing() {
    let volume = Volume::new();
    let sink = volume.sink_with(&["a", "b"], |file| file == "b");
    assert!(!sink.is_ready(false));
    volume.write(&sink, &[("a", "1")], false);
    assert!(sink.is_ready(false));
    volume.write(&sink, &[("b", "1")], false);
    sink.remove([&volume.target("b")].into_iter()).unwrap();
    assert!(sink.is_ready(false));

    let volume = Volume::new();
    let sink = volume.sink_with(&["a"], |_| true);
    assert!(!sink.is_ready(true), "it was not tried yet");
    volume.write(&sink, &[], false);
    assert!(sink.is_ready(false));
}

#[test]
fn the_mark_tells_which_generation_the_application_knows() {
    let volume = Volume::new();
    let names = ["a", "variables"];
    let sink = volume.sink(&names);
    assert!(sink.is_told() && !sink.was_told());
    volume.write(&sink, &[("a", "1"), ("variables", "1")], false);
    assert!(!sink.is_told() && !sink.was_told());
    for _ in 0..2 {
        sink.set_told().unwrap();
        assert!(sink.is_told() && sink.was_told());
    }
    volume.write(&sink, &[("a", "1")], false);
    assert!(sink.is_told());
    volume.write(&sink, &[("variables", "2")], false);
    assert!(sink.is_told(), "of variables it is not told");
    volume.write(&sink, &[("a", "2")], false);
    let restarted = volume.sink(&names);
    assert!(!restarted.is_told() && restarted.was_told());
    volume.write(&sink, &[("variables", "3")], false);
    assert!(!sink.is_told());
    sink.set_told().unwrap();
    sink.remove([&volume.target("a")].into_iter()).unwrap();
    assert!(sink.is_told(), "it is told when there are new ones");
    volume.write(&sink, &[("a", "4")], false);
    assert!(!sink.is_told() && sink.was_told());
}

#[test]
fn a_root_of_variables_alone_is_always_told() {
    let volume = Volume::new();
    let sink = volume.sink(&["variables"]);
    volume.write(&sink, &[("variables", "1")], false);
    assert!(sink.is_told() && !sink.was_told());
    sink.set_told().unwrap();
    assert!(sink.is_told() && sink.was_told());
}

#[test]
fn versions_are_kept_with_the_files() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "b"]);
    let write = |file: &str, text: &str, versions: &[(&str, u64)]| {
        let mut pending = sink.begin();
        pending.put(&volume.target(file), FileMode::DEFAULT, text.as_bytes());
        for (path, version) in versions {
            pending.note_version(path, *version);
        }
        pending.commit(false).done.unwrap();
    };
    let expect = |versions: &[(&str, u64)]| {
        let versions = versions.iter().map(|(path, version)| ((*path).to_owned(), *version)).collect();
        assert_eq!(volume.sink(&["a", "b"]).versions(), versions);
    };
    expect(&[]);
    write("a", "1", &[("app/a", 7)]);
    write("b", "1", &[("app/b", u64::MAX)]);
    expect(&[("app/a", 7), ("app/b", u64::MAX)]);
    // What a crash left of an earlier note.
    fs::write(volume.path.join("..data/..versions.new"), "half").unwrap();
    // A version that changed no file makes no generation. One of a secret that was made anew is lower.
    write("a", "1", &[("app/a", 2)]);
    expect(&[("app/a", 2), ("app/b", u64::MAX)]);
    assert!(!volume.generation(&sink, 3).exists());
    sink.remove([&volume.target("a")].into_iter()).unwrap();
    expect(&[("app/a", 2), ("app/b", u64::MAX)]);

    let notes = volume.path.join("..data/..versions.json");
    let too_many = format!("{{{}\"x\":1}}", "\"app/a\":1,".repeat(40_000));
    for garbage in ["", "{", "[1]", "{\"app/a\":-1}", "{\"app/a\":\"1\"}", &too_many] {
        fs::remove_file(&notes).unwrap();
        fs::write(&notes, garbage).unwrap();
        expect(&[]);
    }
    write("a", "2", &[("app/a", 3)]);
    expect(&[("app/a", 3)]);
}
