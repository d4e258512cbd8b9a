//! Writing generations: what changes, and with which modes.

use super::*;

#[test]
fn removed_files_are_in_no_generation_and_can_return() {
    let volume = Volume::new();
    let sink = volume.sink(&["key", "db/user.json"]);
    volume.write(&sink, &[("key", "k"), ("db/user.json", "old")], false);
    volume.write(&sink, &[("db/user.json", "older")], false);
    let target = volume.target("db/user.json");
    for _ in 0..2 {
        sink.remove([&target].into_iter()).unwrap();
        assert!(!sink.is_ready(false) && !sink.is_ready(true));
        assert!(sink.has([&volume.target("key")]) && !sink.has([&target]));
        assert_eq!((volume.read("key").as_deref(), volume.read("db/user.json")), (Some("k"), None));
        assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-3", "db", "key"]);
    }
    // A change of another file does not make up for it.
    volume.write(&sink, &[("key", "k")], false);
    assert!(!sink.is_ready(true));
    volume.write(&sink, &[("db/user.json", "new")], false);
    assert_eq!(volume.read("db/user.json").as_deref(), Some("new"));
    assert!(sink.is_ready(false));
}

#[test]
fn files_are_links_into_the_current_generation() {
    let volume = Volume::new();
    let sink = volume.sink(&["db.json", "tls/key.pem"]);
    assert!(!sink.is_ready(false));
    let changed = volume.write(&sink, &[("db.json", "1"), ("tls/key.pem", "k")], false);
    assert_eq!(changed, ["db.json", "tls/key.pem"]);
    assert!(sink.is_ready(false));
    assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-1", "db.json", "tls"]);
    assert_eq!(
        fs::read_link(volume.path.join("..data")).unwrap(),
        volume.generation(&sink, 1).file_name().unwrap()
    );
    assert_eq!(fs::read_link(volume.path.join("db.json")).unwrap(), Path::new("..data/db.json"));
    assert_eq!(fs::read_link(volume.path.join("tls/key.pem")).unwrap(), Path::new("../..data/tls/key.pem"));
    assert_eq!(volume.read("tls/key.pem").unwrap(), "k");
}

#[test]
fn only_a_change_is_written_and_one_older_generation_is_kept() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "b"]);
    volume.write(&sink, &[("a", "1"), ("b", "1")], false);
    assert_eq!(volume.write(&sink, &[("a", "1"), ("b", "1")], false), [""; 0]);
    assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-1", "a", "b"]);
    assert_eq!(volume.write(&sink, &[("a", "1"), ("b", "2")], false), ["b"]);
    assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-1", "..scaivault-ID-2", "a", "b"]);
    assert_eq!(fs::read_to_string(volume.generation(&sink, 1).join("b")).unwrap(), "1");
    volume.write(&sink, &[("a", "3"), ("b", "2")], false);
    assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-2", "..scaivault-ID-3", "a", "b"]);
}

#[test]
fn a_change_is_found_in_any_piece_of_a_file() {
    let volume = Volume::new();
    let sink = volume.sink(&["big"]);
    let text = "x".repeat(200_000);
    volume.write(&sink, &[("big", &text)], false);
    assert_eq!(volume.write(&sink, &[("big", &text)], false), [""; 0]);
    for at in [0, 65_535, 65_536, 199_999] {
        let mut other = text.clone();
        other.replace_range(at..=at, "y");
        assert_eq!(volume.write(&sink, &[("big", &other)], false), ["big"], "{at}");
        assert_eq!(volume.read("big").unwrap(), other);
    }
    assert_eq!(volume.write(&sink, &[("big", "")], false), ["big"]);
    assert_eq!(volume.write(&sink, &[("big", "")], false), [""; 0]);
}

#[test]
fn files_that_are_not_put_stay_as_they_were() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "d/b"]);
    volume.write(&sink, &[("a", "1"), ("d/b", "1")], false);
    volume.write(&sink, &[("a", "2")], false);
    assert_eq!((volume.read("a").unwrap(), volume.read("d/b").unwrap()), ("2".into(), "1".into()));
}

#[test]
fn nothing_is_seen_before_the_commit_and_a_drop_leaves_nothing() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "b"]);
    let mut pending = sink.begin();
    assert_eq!(volume.names(&sink), [""; 0]);
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"1");
    assert_eq!(volume.names(&sink), ["..scaivault-ID-1"]);
    // The same file once more: the last one counts.
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"2");
    assert!(!sink.is_ready(true) && volume.read("a").is_none());
    drop(pending);
    assert_eq!(volume.names(&sink), [""; 0]);

    volume.write(&sink, &[("a", "2"), ("a", "3"), ("b", "1")], false);
    let mut pending = sink.begin();
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"3");
    assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-1", "a", "b"]);
    pending.put(&volume.target("b"), FileMode::DEFAULT, b"2");
    drop(pending);
    assert_eq!(volume.names(&sink), ["..data", "..scaivault-ID-1", "a", "b"]);
    assert_eq!((volume.read("a").unwrap(), volume.read("b").unwrap()), ("3".into(), "1".into()));
}

/// Both within one process and of two agents with the same files.
#[test]
fn a_change_that_another_one_overtakes_fails_and_harms_nothing() {
    for has_started in [false, true] {
        for is_committed in [false, true] {
            let volume = Volume::new();
            let sink = volume.sink(&["a", "b"]);
            volume.write(&sink, &[("a", "1"), ("b", "1")], false);
            let mut pending = sink.begin();
            let b = volume.target("b");
            pending.put(&b, FileMode::DEFAULT, if has_started { b"2" } else { b"1" });
            sink.remove([&volume.target("a")].into_iter()).unwrap();
            pending.put(&b, FileMode::DEFAULT, b"3");
            if is_committed {
                assert!(pending.commit(true).done.is_err());
            } else {
                drop(pending);
            }
            assert_eq!((volume.read("a"), volume.read("b").as_deref()), (None, Some("1")));
            volume.write(&sink, &[("a", "2"), ("b", "2")], false);
            assert_eq!((volume.read("a").unwrap(), volume.read("b").unwrap()), ("2".into(), "2".into()));
        }
    }
}

/// The other change takes the pending generation for a leftover.
#[test]
fn a_generation_that_another_agent_removed_does_not_become_current() {
    let volume = Volume::new();
    let sink = volume.sink(&["a"]);
    volume.write(&sink, &[("a", "1")], false);
    let [mut pending, mut other] = [sink.begin(), sink.begin()];
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"2");
    other.put(&volume.target("a"), FileMode::DEFAULT, b"3");
    drop(other);
    let Outcome { changed, done } = pending.commit(false);
    assert!(done.is_err() && changed.is_empty());
    assert_eq!(volume.read("a").unwrap(), "1");
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    let volume = Volume::new();
    let sink = volume.sink(&["open", "group/private"]);
    let (open, private) = (volume.target("open"), volume.target("group/private"));
    put(&sink, &open, "0666").done.unwrap();
    put(&sink, &private, "0400").done.unwrap();
    let mode = |file: &str| fs::metadata(volume.path.join(file)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("open"), mode("group/private")), (0o666, 0o400));
    assert_eq!((mode("..data"), mode("..data/group")), (0o755, 0o755));
    // Another mode is a change too.
    assert_eq!(put(&sink, &private, "0440").changed, [private]);
    assert_eq!(mode("group/private"), 0o440);
}

#[test]
fn directories_of_links_are_as_open_as_the_root() {
    let volume = Volume::new();
    fs::set_permissions(&volume.path, fs::Permissions::from_mode(0o777)).unwrap();
    volume.write(&volume.sink(&["tls/key"]), &[("tls/key", "k")], false);
    assert_eq!(fs::metadata(volume.path.join("tls")).unwrap().permissions().mode() & 0o7777, 0o777);
}
