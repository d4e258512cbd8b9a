//! Full volumes, crashes and the errors of the kernel.

use super::*;

#[test]
fn a_full_volume_is_an_error_before_anything_is_written() {
    let volume = Volume::new();
    let mut sink = volume.sink(&["a", "b"]);
    volume.write(&sink, &[("a", "1"), ("b", "1")], false);
    let file = volume.path.join("a");
    let error = sink.budget.check(fs::File::open(&volume.path).unwrap(), &file, u64::MAX).unwrap_err();
    assert!(matches!(error, SinkError::NoSpace { needed: u64::MAX, .. }), "{error}");

    // A container with 64 KiB, of which half is the agent's own; its files have 12 KiB already.
    let cgroup = volume.dir.path().join("cgroup");
    for (name, limit) in [("v2", "memory.max"), ("v1", "memory/memory.limit_in_bytes")] {
        sink.budget.cgroups = cgroup.join(name);
        let limit = sink.budget.cgroups.join(limit);
        fs::create_dir_all(limit.parent().unwrap()).unwrap();
        fs::write(limit.with_file_name("memory.stat"), "anon 7\nshmem 12288\nshmem_thp 0\n").unwrap();
        fs::write(&limit, "65536\n").unwrap();
        let (little, much) = ("x".repeat(20_480), "x".repeat(20_481));
        let Outcome { changed, done } =
            volume.try_write(&sink, &[("a", name), ("b", &much), ("a", "3")], false);
        let error = done.unwrap_err();
        assert!(matches!(error, SinkError::NoMemory { needed: 20_481, left: 20_480, .. }), "{error}");
        assert!(changed.is_empty());
        assert_ne!(volume.read("a").as_deref(), Some(name));
        assert_eq!(volume.write(&sink, &[("b", &little)], false), ["b"]);
        volume.write(&sink, &[("b", "1")], false);
        fs::write(&limit, "max\n").unwrap();
        volume.write(&sink, &[("b", &much)], false);
        volume.write(&sink, &[("b", "1")], false);
    }
    let generations = fs::read_dir(&volume.path)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
    assert_eq!(generations.count(), 2, "what was pending is removed");
}

/// The disk takes no more changes after any number of them, and then the agent starts again.
#[test]
fn after_a_crash_at_any_step_the_next_start_goes_on() {
    let names = ["a", "tls/b"];
    let first = [("a", "1"), ("tls/b", "1")];
    let second = [("a", "2"), ("tls/b", "1")];
    let third = [("a", "3"), ("tls/b", "3")];
    let crash = |has_first: bool, changes: u32, act: &dyn Fn(&Volume, &Sink) -> bool| {
        let volume = Volume::new();
        let sink = volume.sink(&names);
        if has_first {
            volume.write(&sink, &first, false);
            sink.set_told().unwrap();
        }
        CHANGES_LEFT.set(changes);
        let is_done = act(&volume, &sink);
        let is_over = CHANGES_LEFT.get() > 0;
        CHANGES_LEFT.set(u32::MAX);
        let found = (volume.read("a"), volume.read("tls/b"));
        let has_both = |text: &str| found == (Some(text.to_owned()), Some("1".to_owned()));
        let is_removed = found == (None, Some("1".to_owned()));
        let is_whole = has_both("1") || has_both("2") || is_removed || found == (None, None);
        assert!(is_whole && (found != (None, None) || !has_first), "step {changes}: {found:?}");
        assert!(!has_both("2") || !sink.is_told() || is_done, "step {changes}: a signal is lost");
        // Leftovers of a crash within a crash, too.
        let restarted = volume.sink(&names);
        CHANGES_LEFT.set(changes % 5);
        let _ = volume.try_write(&restarted, &third, false);
        CHANGES_LEFT.set(u32::MAX);
        volume.write(&restarted, &third, false);
        assert_eq!((volume.read("a").unwrap(), volume.read("tls/b").unwrap()), ("3".into(), "3".into()));
        volume.write(&restarted, &second, false);
        restarted.set_told().unwrap();
        let names = volume.names(&restarted);
        let generations = names.iter().filter(|name| name.starts_with("..scaivault-ID-")).count();
        assert_eq!((generations, names.len()), (2, 6), "step {changes}: {names:?}");
        is_over
    };
    let write = |volume: &Volume, sink: &Sink| {
        let mut pending = sink.begin();
        for (file, text) in second {
            pending.put(&volume.target(file), FileMode::DEFAULT, text.as_bytes());
        }
        pending.note_version("app/a", 2);
        pending.commit(false).done.and_then(|()| sink.set_told()).is_ok()
    };
    let remove = |volume: &Volume, sink: &Sink| sink.remove([&volume.target("a")].into_iter()).is_ok();
    for (has_first, act) in
        [(false, &write as &dyn Fn(&Volume, &Sink) -> bool), (true, &write), (true, &remove)]
    {
        let steps = (0..1000).find(|changes| crash(has_first, *changes, act)).unwrap();
        assert!(steps > 8, "{steps}");
    }
}

#[test]
fn errors_of_the_kernel_come_with_a_cure() {
    let say = |errno| SinkError::new(Path::new("/run/secrets"), errno).to_string();
    assert!(say(Errno::NOSPC).contains("raise the annotation volume-size-limit"));
    assert!(say(Errno::ROFS).contains("must not have readOnly"));
    assert!(say(Errno::ACCESS).contains("fsGroup"));
}
