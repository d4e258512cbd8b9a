use std::{
    cell::Cell,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::prelude::*;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    io::Errno,
};
use tempfile::TempDir;

use super::*;

thread_local! {
    /// How many changes the simulated disk still accepts.
    static CHANGES_LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Fails when the disk accepts no more changes, as after a crash.
pub(super) fn before_change() -> Result<(), Errno> {
    let left = CHANGES_LEFT.get().checked_sub(1).ok_or(Errno::IO)?;
    CHANGES_LEFT.set(left);
    Ok(())
}

/// A directory that represents a volume.
struct Volume {
    dir: TempDir,
    path: PathBuf,
}

impl Volume {
    fn new() -> Self {
        // In memory, like a pod's volumes, if the machine has such a directory.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = fs::canonicalize(dir.path()).unwrap().join("secrets");
        fs::create_dir(&path).unwrap();
        Self { dir, path }
    }

    fn target(&self, file: &str) -> TargetFile {
        format!("{}/{file}", self.path.display()).parse().unwrap()
    }

    fn writer(&self, files: &[&str]) -> AtomicWriter {
        self.writer_with(files, |_| false)
    }

    fn writer_with(&self, files: &[&str], is_optional: impl Fn(&str) -> bool) -> AtomicWriter {
        let targets: Vec<_> = files.iter().map(|file| (self.target(file), is_optional(file))).collect();
        build(targets.iter().map(|(file, is_optional)| (file, *is_optional)), |path| path == self.path)
    }

    /// With mount points; directories end with a slash.
    fn writer_mounting(&self, files: &[&str], mount_points: &[&str]) -> AtomicWriter {
        let targets: Vec<_> = files.iter().map(|file| self.target(file)).collect();
        let points: Vec<MountPoint> = mount_points
            .iter()
            .map(|point| format!("{}/{point}", self.path.display()).parse().unwrap())
            .collect();
        let target = |file| Target { file, is_optional: false, is_signalled: true };
        AtomicWriter::build(targets.iter().map(target), &points, |path| path == self.path)
    }

    /// Writes with mode 0444.
    fn try_write(&self, writer: &AtomicWriter, files: &[(&str, &str)], mark_incomplete: bool) -> Outcome {
        let mut pending = writer.begin();
        for (file, text) in files {
            pending.put(&self.target(file), FileMode::DEFAULT, text.as_bytes());
        }
        pending.commit(mark_incomplete)
    }

    /// The same, asserting success; returns the changed files.
    fn write(&self, writer: &AtomicWriter, files: &[(&str, &str)], mark_incomplete: bool) -> Vec<String> {
        let Outcome { changed, done } = self.try_write(writer, files, mark_incomplete);
        done.unwrap();
        let below = |target: &TargetFile| {
            Path::new(target.as_str()).strip_prefix(&self.path).unwrap().display().to_string()
        };
        changed.iter().map(below).collect()
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path.join(file)).ok()
    }

    /// All names, with `ID` instead of the chain's id.
    fn names(&self, writer: &AtomicWriter) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(&writer.id, "ID"))
            .collect();
        names.sort();
        names
    }

    fn generation(&self, writer: &AtomicWriter, number: u64) -> PathBuf {
        self.path.join(format!("..scaivault-{}-{number}", writer.id))
    }
}

fn build<'t>(
    targets: impl Iterator<Item = (&'t TargetFile, bool)>,
    is_mount_point: impl Fn(&Path) -> bool,
) -> AtomicWriter {
    let target = |(file, is_optional)| Target { file, is_optional, is_signalled: !is_silent(file) };
    AtomicWriter::build(targets.map(target), &[], is_mount_point)
}

/// Whether the application is not notified of this file.
fn is_silent(file: &TargetFile) -> bool {
    file.as_str().ends_with("/variables")
}

fn put(writer: &AtomicWriter, target: &TargetFile, mode: &str) -> Outcome {
    let mut pending = writer.begin();
    pending.put(target, mode.parse().unwrap(), b"new");
    pending.commit(false)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

#[test]
fn removed_files_are_in_no_generation_and_can_return() {
    let volume = Volume::new();
    let writer = volume.writer(&["key", "db/user.json"]);
    volume.write(&writer, &[("key", "k"), ("db/user.json", "old")], false);
    volume.write(&writer, &[("db/user.json", "older")], false);
    let target = volume.target("db/user.json");
    for _ in 0..2 {
        writer.remove([&target].into_iter()).unwrap();
        assert!(!writer.is_ready(false) && !writer.is_ready(true));
        let files = writer.files();
        assert!(files.has([&volume.target("key")]) && !files.has([&target]));
        assert_eq!((volume.read("key").as_deref(), volume.read("db/user.json")), (Some("k"), None));
        assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-3", "db", "key"]);
    }
    // A change of another file does not compensate for it.
    volume.write(&writer, &[("key", "k")], false);
    assert!(!writer.is_ready(true));
    volume.write(&writer, &[("db/user.json", "new")], false);
    assert_eq!(volume.read("db/user.json").as_deref(), Some("new"));
    assert!(writer.is_ready(false));
}

#[test]
fn files_are_links_into_the_current_generation() {
    let volume = Volume::new();
    let writer = volume.writer(&["db.json", "tls/key.pem"]);
    assert!(!writer.is_ready(false));
    let changed = volume.write(&writer, &[("db.json", "1"), ("tls/key.pem", "k")], false);
    assert_eq!(changed, ["db.json", "tls/key.pem"]);
    assert!(writer.is_ready(false));
    assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-1", "db.json", "tls"]);
    assert_eq!(
        fs::read_link(volume.path.join("..data")).unwrap(),
        volume.generation(&writer, 1).file_name().unwrap()
    );
    assert_eq!(fs::read_link(volume.path.join("db.json")).unwrap(), Path::new("..data/db.json"));
    assert_eq!(fs::read_link(volume.path.join("tls/key.pem")).unwrap(), Path::new("../..data/tls/key.pem"));
    assert_eq!(volume.read("tls/key.pem").unwrap(), "k");
}

#[test]
fn only_a_change_is_written_and_one_older_generation_is_kept() {
    let volume = Volume::new();
    let writer = volume.writer(&["a", "b"]);
    volume.write(&writer, &[("a", "1"), ("b", "1")], false);
    assert_eq!(volume.write(&writer, &[("a", "1"), ("b", "1")], false), [""; 0]);
    assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-1", "a", "b"]);
    assert_eq!(volume.write(&writer, &[("a", "1"), ("b", "2")], false), ["b"]);
    assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-1", "..scaivault-ID-2", "a", "b"]);
    assert_eq!(fs::read_to_string(volume.generation(&writer, 1).join("b")).unwrap(), "1");
    volume.write(&writer, &[("a", "3"), ("b", "2")], false);
    assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-2", "..scaivault-ID-3", "a", "b"]);
}

#[test]
fn a_change_is_found_in_any_piece_of_a_file() {
    let volume = Volume::new();
    let writer = volume.writer(&["big"]);
    let text = "x".repeat(200_000);
    volume.write(&writer, &[("big", &text)], false);
    assert_eq!(volume.write(&writer, &[("big", &text)], false), [""; 0]);
    for at in [0, 65_535, 65_536, 199_999] {
        let mut other = text.clone();
        other.replace_range(at..=at, "y");
        assert_eq!(volume.write(&writer, &[("big", &other)], false), ["big"], "{at}");
        assert_eq!(volume.read("big").unwrap(), other);
    }
    assert_eq!(volume.write(&writer, &[("big", "")], false), ["big"]);
    assert_eq!(volume.write(&writer, &[("big", "")], false), [""; 0]);
}

#[test]
fn files_that_are_not_written_do_not_change() {
    let volume = Volume::new();
    let writer = volume.writer(&["a", "d/b"]);
    volume.write(&writer, &[("a", "1"), ("d/b", "1")], false);
    volume.write(&writer, &[("a", "2")], false);
    assert_eq!((volume.read("a").unwrap(), volume.read("d/b").unwrap()), ("2".into(), "1".into()));
}

#[test]
fn nothing_is_seen_before_the_commit_and_a_drop_leaves_nothing() {
    let volume = Volume::new();
    let writer = volume.writer(&["a", "b"]);
    let mut pending = writer.begin();
    assert_eq!(volume.names(&writer), [""; 0]);
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"1");
    assert_eq!(volume.names(&writer), ["..scaivault-ID-1"]);
    // If the same file is put twice, the last one counts.
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"2");
    assert!(!writer.is_ready(true) && volume.read("a").is_none());
    drop(pending);
    assert_eq!(volume.names(&writer), [""; 0]);

    volume.write(&writer, &[("a", "2"), ("a", "3"), ("b", "1")], false);
    let mut pending = writer.begin();
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"3");
    assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-1", "a", "b"]);
    pending.put(&volume.target("b"), FileMode::DEFAULT, b"2");
    drop(pending);
    assert_eq!(volume.names(&writer), ["..data", "..scaivault-ID-1", "a", "b"]);
    assert_eq!((volume.read("a").unwrap(), volume.read("b").unwrap()), ("3".into(), "1".into()));
}

/// Both within one process and with two agents that have the same files.
#[test]
fn an_overtaken_change_fails_without_an_effect() {
    for has_started in [false, true] {
        for is_committed in [false, true] {
            let volume = Volume::new();
            let writer = volume.writer(&["a", "b"]);
            volume.write(&writer, &[("a", "1"), ("b", "1")], false);
            let mut pending = writer.begin();
            let b = volume.target("b");
            pending.put(&b, FileMode::DEFAULT, if has_started { b"2" } else { b"1" });
            writer.remove([&volume.target("a")].into_iter()).unwrap();
            pending.put(&b, FileMode::DEFAULT, b"3");
            if is_committed {
                assert!(pending.commit(true).done.is_err());
            } else {
                drop(pending);
            }
            assert_eq!((volume.read("a"), volume.read("b").as_deref()), (None, Some("1")));
            volume.write(&writer, &[("a", "2"), ("b", "2")], false);
            assert_eq!((volume.read("a").unwrap(), volume.read("b").unwrap()), ("2".into(), "2".into()));
        }
    }
}

/// The other change treats the pending generation as a leftover.
#[test]
fn a_removed_generation_does_not_become_current() {
    let volume = Volume::new();
    let writer = volume.writer(&["a"]);
    volume.write(&writer, &[("a", "1")], false);
    let [mut pending, mut other] = [writer.begin(), writer.begin()];
    pending.put(&volume.target("a"), FileMode::DEFAULT, b"2");
    other.put(&volume.target("a"), FileMode::DEFAULT, b"3");
    drop(other);
    let Outcome { changed, done } = pending.commit(false);
    assert!(done.is_err() && changed.is_empty());
    assert_eq!(volume.read("a").unwrap(), "1");
}

#[test]
fn modes_are_exact_with_any_umask() {
    let volume = Volume::new();
    let writer = volume.writer(&["open", "group/private"]);
    let (open, private) = (volume.target("open"), volume.target("group/private"));
    put(&writer, &open, "0666").done.unwrap();
    put(&writer, &private, "0400").done.unwrap();
    let mode = |file: &str| fs::metadata(volume.path.join(file)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("open"), mode("group/private")), (0o666, 0o400));
    assert_eq!((mode("..data"), mode("..data/group")), (0o755, 0o755));
    // Another mode is a change, too.
    assert_eq!(put(&writer, &private, "0440").changed, [private]);
    assert_eq!(mode("group/private"), 0o440);
}

#[test]
fn directories_of_links_are_as_open_as_the_root() {
    let volume = Volume::new();
    fs::set_permissions(&volume.path, fs::Permissions::from_mode(0o777)).unwrap();
    volume.write(&volume.writer(&["tls/key"]), &[("tls/key", "k")], false);
    assert_eq!(fs::metadata(volume.path.join("tls")).unwrap().permissions().mode() & 0o7777, 0o777);
}

#[test]
fn missing_files_are_ready_only_where_the_agent_gave_them_up() {
    let volume = Volume::new();
    let writer = volume.writer(&["a", "b"]);
    volume.write(&writer, &[], false);
    assert!(!writer.is_ready(true), "nothing was given up yet");
    volume.write(&writer, &[], true);
    assert!(writer.is_ready(true) && !writer.is_ready(false));
    // A refresh that still cannot read it does not change that.
    volume.write(&writer, &[("a", "2")], false);
    assert!(writer.is_ready(true) && !writer.is_ready(false));
    volume.write(&writer, &[("b", "1")], false);
    assert!(writer.is_ready(false));
    // After the files of revoked leases were removed, the next run starts from the beginning.
    writer.remove([&volume.target("b")].into_iter()).unwrap();
    assert!(!writer.is_ready(true));
    volume.write(&writer, &[], true);
    assert!(writer.is_ready(true) && !writer.is_ready(false));
}

#[test]
fn optional_files_may_be_missing() {
    let volume = Volume::new();
    let writer = volume.writer_with(&["a", "b"], |file| file == "b");
    assert!(!writer.is_ready(false));
    volume.write(&writer, &[("a", "1")], false);
    assert!(writer.is_ready(false));
    volume.write(&writer, &[("b", "1")], false);
    writer.remove([&volume.target("b")].into_iter()).unwrap();
    assert!(writer.is_ready(false));

    let volume = Volume::new();
    let writer = volume.writer_with(&["a"], |_| true);
    assert!(!writer.is_ready(true), "it was not tried yet");
    volume.write(&writer, &[], false);
    assert!(writer.is_ready(false));
}

#[test]
fn the_mark_is_the_generation_that_the_application_knows() {
    let volume = Volume::new();
    let names = ["a", "variables"];
    let writer = volume.writer(&names);
    assert!(writer.is_notified() && !writer.was_notified());
    volume.write(&writer, &[("a", "1"), ("variables", "1")], false);
    assert!(!writer.is_notified() && !writer.was_notified());
    for _ in 0..2 {
        writer.mark_notified().unwrap();
        assert!(writer.is_notified() && writer.was_notified());
    }
    volume.write(&writer, &[("a", "1")], false);
    assert!(writer.is_notified());
    volume.write(&writer, &[("variables", "2")], false);
    assert!(writer.is_notified(), "it is not notified of variables");
    volume.write(&writer, &[("a", "2")], false);
    let restarted = volume.writer(&names);
    assert!(!restarted.is_notified() && restarted.was_notified());
    volume.write(&writer, &[("variables", "3")], false);
    assert!(!writer.is_notified());
    writer.mark_notified().unwrap();
    writer.remove([&volume.target("a")].into_iter()).unwrap();
    assert!(writer.is_notified(), "it is notified of new files");
    volume.write(&writer, &[("a", "4")], false);
    assert!(!writer.is_notified() && writer.was_notified());
}

#[test]
fn a_root_with_only_variables_counts_as_notified() {
    let volume = Volume::new();
    let writer = volume.writer(&["variables"]);
    volume.write(&writer, &[("variables", "1")], false);
    assert!(writer.is_notified() && !writer.was_notified());
    writer.mark_notified().unwrap();
    assert!(writer.is_notified() && writer.was_notified());
}

#[test]
fn marks_of_another_pod_do_not_count() {
    let volume = Volume::new();
    let owned = |is_sidecar, uid: Option<&str>| {
        let pod_uid = uid.map(str::to_owned);
        AtomicWriter { owner: Owner { is_sidecar, pod_uid }, ..volume.writer(&["a"]) }
    };
    let (init, sidecar) = (owned(false, Some("one")), owned(true, Some("one")));
    volume.write(&init, &[("a", "1")], false);
    init.mark_notified().unwrap();
    assert!(sidecar.is_notified() && sidecar.is_ready(false) && !sidecar.was_notified_by_this_sidecar());
    sidecar.mark_notified().unwrap();
    assert!(sidecar.is_notified() && sidecar.was_notified_by_this_sidecar());
    // The pod is unknown, as without the variable.
    let unknown = owned(true, None);
    assert!(unknown.is_notified() && unknown.is_ready(false) && !unknown.was_notified_by_this_sidecar());

    let other = owned(true, Some("two"));
    assert!(!other.is_notified() && !other.was_notified() && !other.was_notified_by_this_sidecar());
    assert!(!other.is_ready(false) && !other.is_ready(true));
    other.mark_notified().unwrap();
    assert!(other.is_notified() && other.was_notified() && other.is_ready(false) && !sidecar.was_notified());
}

#[test]
fn each_volume_records_the_secrets_of_its_own_files() {
    let volume = Volume::new();
    let [one, two] = ["one/a", "two/b"].map(|file| volume.target(file));
    let targets = [(&one, false), (&two, false)];
    let writer = build(targets.into_iter(), |path| path.parent() == Some(&volume.path));
    let mut pending = writer.begin();
    for (target, path) in [(&one, "app/a"), (&two, "app/b")] {
        pending.put(target, FileMode::DEFAULT, b"text");
        pending.note_version([target], path, 3);
    }
    pending.commit(false).done.unwrap();
    let notes = |root: &str| volume.read(&format!("{root}/..data/..versions.json")).unwrap();
    assert_eq!((notes("one"), notes("two")), (r#"{"app/a":3}"#.to_owned(), r#"{"app/b":3}"#.to_owned()));
}

#[test]
fn a_volume_is_opened_once_for_all_of_its_files() {
    let volume = Volume::new();
    let writer = volume.writer(&["a", "b"]);
    volume.write(&writer, &[("a", "1"), ("b", "1")], false);
    let files = writer.files();
    assert!(files.has([&volume.target("a")]));
    fs::rename(&volume.path, volume.path.with_extension("moved")).unwrap();
    assert!(files.has([&volume.target("b")]) && !writer.files().has([&volume.target("b")]));
}

#[test]
fn versions_are_kept_with_the_files() {
    let volume = Volume::new();
    let writer = volume.writer(&["a", "b"]);
    let write = |file: &str, text: &str, versions: &[(&str, u64)]| {
        let mut pending = writer.begin();
        pending.put(&volume.target(file), FileMode::DEFAULT, text.as_bytes());
        for (path, version) in versions {
            pending.note_version([&volume.target(file)], path, *version);
        }
        pending.commit(false).done.unwrap();
    };
    let expect = |versions: &[(&str, u64)]| {
        let versions = versions.iter().map(|(path, version)| ((*path).to_owned(), *version)).collect();
        assert_eq!(volume.writer(&["a", "b"]).versions(), versions);
    };
    expect(&[]);
    write("a", "1", &[("app/a", 7)]);
    write("b", "1", &[("app/a", 7), ("app/b", u64::MAX)]);
    expect(&[("app/a", 7), ("app/b", u64::MAX)]);
    // The leftover of a crash while the versions were written.
    fs::write(volume.path.join("..data/..versions.new"), "half").unwrap();
    // A new version without a changed file creates no generation. The version of a secret that was
    // created again is lower.
    write("a", "1", &[("app/a", 2), ("app/b", u64::MAX)]);
    expect(&[("app/a", 2), ("app/b", u64::MAX)]);
    assert!(!volume.generation(&writer, 3).exists());
    writer.remove([&volume.target("a")].into_iter()).unwrap();
    expect(&[("app/a", 2), ("app/b", u64::MAX)]);

    write("b", "1", &[("app/a", 2)]);
    expect(&[("app/a", 2)]);

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

#[test]
fn a_full_volume_is_an_error_before_anything_is_written() {
    let volume = Volume::new();
    let mut writer = volume.writer(&["a", "b"]);
    volume.write(&writer, &[("a", "1"), ("b", "1")], false);
    let file = volume.path.join("a");
    let error = writer.budget.check(fs::File::open(&volume.path).unwrap(), &file, u64::MAX).unwrap_err();
    assert!(matches!(error, WriteError::NoSpace { needed: u64::MAX, .. }), "{error}");

    // A container with 64 KiB, half of which is reserved for the agent; its files already have 12
    // KiB.
    let cgroup = volume.dir.path().join("cgroup");
    for (name, limit) in [("v2", "memory.max"), ("v1", "memory/memory.limit_in_bytes")] {
        writer.budget.cgroups = cgroup.join(name);
        let limit = writer.budget.cgroups.join(limit);
        fs::create_dir_all(limit.parent().unwrap()).unwrap();
        fs::write(limit.with_file_name("memory.stat"), "anon 7\nshmem 12288\nshmem_thp 0\n").unwrap();
        fs::write(&limit, "65536\n").unwrap();
        let (little, much) = ("x".repeat(20_480), "x".repeat(20_481));
        let Outcome { changed, done } =
            volume.try_write(&writer, &[("a", name), ("b", &much), ("a", "3")], false);
        let error = done.unwrap_err();
        assert!(matches!(error, WriteError::NoMemory { needed: 20_481, left: 20_480, .. }), "{error}");
        assert!(changed.is_empty());
        assert_ne!(volume.read("a").as_deref(), Some(name));
        assert_eq!(volume.write(&writer, &[("b", &little)], false), ["b"]);
        volume.write(&writer, &[("b", "1")], false);
        fs::write(&limit, "max\n").unwrap();
        volume.write(&writer, &[("b", &much)], false);
        volume.write(&writer, &[("b", "1")], false);
    }
    let generations = fs::read_dir(&volume.path)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
    assert_eq!(generations.count(), 2, "the pending generation is removed");
}

/// The disk fails after any number of changes, and then the agent starts again.
#[test]
fn after_a_crash_at_any_step_the_next_start_recovers() {
    let names = ["a", "tls/b"];
    let first = [("a", "1"), ("tls/b", "1")];
    let second = [("a", "2"), ("tls/b", "1")];
    let third = [("a", "3"), ("tls/b", "3")];
    let crash = |has_first: bool, changes: u32, act: &dyn Fn(&Volume, &AtomicWriter) -> bool| {
        let volume = Volume::new();
        let writer = volume.writer(&names);
        if has_first {
            volume.write(&writer, &first, false);
            writer.mark_notified().unwrap();
        }
        CHANGES_LEFT.set(changes);
        let is_done = act(&volume, &writer);
        let is_over = CHANGES_LEFT.get() > 0;
        CHANGES_LEFT.set(u32::MAX);
        let found = (volume.read("a"), volume.read("tls/b"));
        let has_both = |text: &str| found == (Some(text.to_owned()), Some("1".to_owned()));
        let is_removed = found == (None, Some("1".to_owned()));
        let is_whole = has_both("1") || has_both("2") || is_removed || found == (None, None);
        assert!(is_whole && (found != (None, None) || !has_first), "step {changes}: {found:?}");
        assert!(!has_both("2") || !writer.is_notified() || is_done, "step {changes}: a signal is lost");
        // Also with leftovers of a crash during the restart.
        let restarted = volume.writer(&names);
        CHANGES_LEFT.set(changes % 5);
        let _ = volume.try_write(&restarted, &third, false);
        CHANGES_LEFT.set(u32::MAX);
        volume.write(&restarted, &third, false);
        assert_eq!((volume.read("a").unwrap(), volume.read("tls/b").unwrap()), ("3".into(), "3".into()));
        volume.write(&restarted, &second, false);
        restarted.mark_notified().unwrap();
        let names = volume.names(&restarted);
        let generations = names.iter().filter(|name| name.starts_with("..scaivault-ID-")).count();
        assert_eq!((generations, names.len()), (2, 6), "step {changes}: {names:?}");
        is_over
    };
    let write = |volume: &Volume, writer: &AtomicWriter| {
        let mut pending = writer.begin();
        for (file, text) in second {
            pending.put(&volume.target(file), FileMode::DEFAULT, text.as_bytes());
        }
        pending.note_version([&volume.target("a")], "app/a", 2);
        pending.commit(false).done.and_then(|()| writer.mark_notified()).is_ok()
    };
    let remove =
        |volume: &Volume, writer: &AtomicWriter| writer.remove([&volume.target("a")].into_iter()).is_ok();
    for (has_first, act) in
        [(false, &write as &dyn Fn(&Volume, &AtomicWriter) -> bool), (true, &write), (true, &remove)]
    {
        let steps = (0..1000).find(|changes| crash(has_first, *changes, act)).unwrap();
        assert!(steps > 8, "{steps}");
    }
}

#[test]
fn names_that_are_taken_are_skipped_by_generations() {
    let volume = Volume::new();
    let writer = volume.writer(&["a"]);
    let generation = |number| volume.generation(&writer, number);
    fs::create_dir_all(generation(7).join("deep/er")).unwrap();
    fs::write(generation(7).join("deep/er/file"), "half").unwrap();
    fifo(&generation(7).join("deep/fifo"));
    fs::create_dir(generation(u64::MAX)).unwrap();
    fs::write(generation(1), "a file").unwrap();
    fifo(&generation(2));
    symlink(volume.dir.path(), generation(3)).unwrap();
    volume.write(&writer, &[("a", "1")], false);
    assert_eq!(fs::read_link(volume.path.join("..data")).unwrap(), generation(4).file_name().unwrap());
    assert!(!generation(7).exists() && !generation(u64::MAX).exists());
    // A link to a generation that no longer exists, and to the last possible one.
    fs::remove_dir_all(generation(4)).unwrap();
    assert!(!writer.is_ready(false) && !writer.is_ready(true));
    volume.write(&writer, &[("a", "1")], false);
    assert!(writer.is_ready(false));
    fs::remove_file(volume.path.join("..data")).unwrap();
    symlink(generation(u64::MAX).file_name().unwrap(), volume.path.join("..data")).unwrap();
    volume.write(&writer, &[("a", "2")], false);
    assert_eq!(volume.read("a").unwrap(), "2");
}

#[test]
fn nothing_is_written_through_foreign_links() {
    let volume = Volume::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let writer = volume.writer(&["a", "dir/b", "c"]);
    symlink(&victim, volume.path.join("a")).unwrap();
    symlink(outside.path(), volume.path.join("dir")).unwrap();
    symlink(outside.path(), volume.path.join("..data")).unwrap();
    symlink(outside.path(), volume.generation(&writer, 1)).unwrap();
    symlink(&victim, volume.path.join(format!("..scaivault-{}-link", writer.id))).unwrap();
    symlink(&victim, volume.path.join(format!("..notified-{}", writer.id))).unwrap();
    volume.write(&writer, &[("a", "new"), ("dir/b", "new"), ("c", "new")], false);
    // The name was taken, so the chain uses its own link.
    assert_eq!(fs::read_link(volume.path.join("..data")).unwrap(), outside.path());
    assert_eq!(fs::read_link(volume.path.join("a")).unwrap(), Path::new(&format!("..data-{}/a", writer.id)));
    writer.mark_notified().unwrap();

    // Inside a generation, neither a link nor a pipe is treated as a file, read or taken over.
    let current = volume.generation(&writer, 2);
    for file in ["a", "c", "..versions.json"] {
        let _ = fs::remove_file(current.join(file));
    }
    symlink(&victim, current.join("a")).unwrap();
    fifo(&current.join("c"));
    fifo(&current.join("..versions.json"));
    assert!(!writer.is_ready(false) && writer.versions().is_empty());
    assert_eq!(volume.write(&writer, &[("dir/b", "newer")], false), ["dir/b"]);
    for file in ["a", "c"] {
        assert!(fs::symlink_metadata(volume.generation(&writer, 3).join(file)).is_err(), "{file}");
    }
    assert!(!writer.is_ready(false));
    assert_eq!(volume.write(&writer, &[("a", "untouched"), ("c", "new")], false), ["a", "c"]);
    assert!(writer.is_ready(false));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_taken_link_name_causes_an_own_link() {
    let puts: [&dyn Fn(&Path); 4] =
        [&|path| fs::create_dir(path).unwrap(), &|path| fs::write(path, "").unwrap(), &fifo, &|path| {
            symlink("..scaivault-00000000-8", path).unwrap();
        }];
    for put in puts {
        let volume = Volume::new();
        put(&volume.path.join("..data"));
        let writer = volume.writer(&["a"]);
        for text in ["1", "2"] {
            volume.write(&writer, &[("a", text)], false);
            assert_eq!(volume.read("a").unwrap(), text);
            assert!(volume.writer(&["a"]).is_ready(false));
        }
        // The chain keeps its link even if the other name becomes free.
        let _ = fs::remove_file(volume.path.join("..data"));
        volume.write(&writer, &[("a", "3")], false);
        assert_eq!(volume.read("a").unwrap(), "3");
        assert_eq!(volume.names(&writer).iter().filter(|name| name.starts_with("..data")).count(), {
            1 + usize::from(volume.path.join("..data").exists())
        });
    }
}

#[test]
fn an_existing_file_is_replaced_and_a_directory_reused() {
    let volume = Volume::new();
    fs::write(volume.path.join("a"), "older").unwrap();
    fs::write(volume.path.join("file"), "older").unwrap();
    fs::create_dir(volume.path.join("dir")).unwrap();
    let writer = volume.writer(&["a", "dir/b", "file/c"]);
    volume.write(&writer, &[("a", "1"), ("dir/b", "2"), ("file/c", "3")], false);
    let read = ["a", "dir/b", "file/c"].map(|file| volume.read(file).unwrap());
    assert_eq!(read, ["1", "2", "3"]);

    let writer = volume.writer(&["dir"]);
    let error = volume.try_write(&writer, &[("dir", "")], false).done.unwrap_err();
    assert!(matches!(error, WriteError::InTheWay(_)), "{error}");
    assert!(!volume.generation(&writer, 1).exists());
}

#[test]
fn each_directory_outside_of_volumes_is_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let targets: [TargetFile; 3] =
        ["x/a", "y/b", "z/c"].map(|file| format!("{}/{file}", base.display()).parse().unwrap());
    let writer = build(targets.iter().map(|file| (file, false)), |_| false);
    // A root that cannot be written does not affect the others.
    fs::write(base.join("y"), "in the way").unwrap();
    let mut pending = writer.begin();
    for target in &targets {
        pending.put(target, FileMode::DEFAULT, b"n");
    }
    let Outcome { changed, done } = pending.commit(false);
    assert_eq!(changed, [targets[0].clone(), targets[2].clone()]);
    assert!(done.unwrap_err().to_string().contains("/y"));
    assert!(base.join("x/..data/a").exists() && base.join("z/..data/c").exists());
    assert!(!writer.is_ready(true));
}

#[test]
fn errors_of_the_kernel_have_a_fix() {
    let say = |errno| WriteError::new(Path::new("/run/secrets"), errno).to_string();
    assert!(say(Errno::NOSPC).contains("raise the annotation volume-size-limit"));
    assert!(say(Errno::ROFS).contains("must not have readOnly"));
    assert!(say(Errno::ACCESS).contains("fsGroup"));
}

/// Readers that open the generation once see all files of one write, and one that opens a single
/// file always finds it.
#[test]
fn readers_see_writes_atomically() {
    const WRITES: u32 = 60;
    let volume = Volume::new();
    let names = ["a", "b", "deep/c"];
    let writer = volume.writer(&names);
    let write = |number: u32| {
        let text = number.to_string().repeat(3000);
        volume.write(&writer, &names.map(|name| (name, text.as_str())), false);
    };
    write(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0_u32;
                    while !is_over.load(Ordering::Relaxed) {
                        let generation = fs::read_link(volume.path.join("..data")).unwrap();
                        let generation = volume.path.join(generation);
                        let texts = names.map(|name| fs::read_to_string(generation.join(name)));
                        // A reader that is slower than two writes finds its generation removed, as
                        // with the kubelet.
                        if let [Ok(a), Ok(b), Ok(c)] = texts {
                            assert!(a == b && b == c);
                            seen += 1;
                        }
                        // If a reader is delayed inside the kernel for two writes, its generation
                        // is removed; the second attempt finds the current one.
                        let read = || fs::read_to_string(volume.path.join("deep/c"));
                        assert!(!read().or_else(|_| read()).unwrap().is_empty());
                    }
                    seen
                })
            })
            .collect();
        for number in 1..=WRITES {
            write(number);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u32>() > 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// After any sequence of writes, each file has its last content, and there are at most two
    /// generations.
    #[test]
    fn readers_get_the_last_write_of_each_file(
        writes in prop::collection::vec(prop::collection::btree_map(0_usize..4, "[a-z]{0,8}", 0..4), 1..8)
    ) {
        let names = ["a", "b", "d/c", "d/e/f"];
        let volume = Volume::new();
        let writer = volume.writer(&names);
        let mut expected = BTreeMap::new();
        for write in &writes {
            let files: Vec<_> = write.iter().map(|(index, text)| (names[*index], text.as_str())).collect();
            let changed = volume.write(&writer, &files, false);
            let differ: Vec<_> = files.iter().filter(|(name, text)| expected.get(name) != Some(text)).collect();
            prop_assert_eq!(changed.len(), differ.len());
            expected.extend(files);
        }
        for (name, text) in &expected {
            prop_assert_eq!(volume.read(name), Some((*text).to_owned()));
        }
        prop_assert_eq!(writer.is_ready(false), expected.len() == names.len());
        let generations =
            volume.names(&writer).iter().filter(|name| name.starts_with("..scaivault-")).count();
        prop_assert!(generations <= 2);
    }
}

#[test]
fn agents_that_share_a_volume_leave_each_others_files_alone() {
    for _ in 0..20 {
        let volume = Volume::new();
        // Also in one directory. All start at once, and one of them gets `..data`.
        let names = ["a", "shared/b", "shared/c"];
        let barrier = std::sync::Barrier::new(names.len());
        thread::scope(|scope| {
            for name in names {
                let (volume, barrier) = (&volume, &barrier);
                scope.spawn(move || {
                    let writer = volume.writer(&[name]);
                    barrier.wait();
                    for count in 0..20 {
                        volume.write(&writer, &[(name, &count.to_string())], false);
                        assert_eq!(volume.read(name).unwrap(), count.to_string());
                    }
                });
            }
        });
        assert_eq!(names.map(|name| volume.read(name).unwrap()), ["19"; 3]);
        let chains = fs::read_dir(&volume.path)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("..data"));
        assert_eq!(chains.count(), names.len());
        assert!(volume.path.join("..data").exists());
    }
}

#[test]
fn mount_points_are_created_before_the_files() {
    let volume = Volume::new();
    let writer = volume.writer_mounting(
        &["db.json", "eks.amazonaws.com/own.json"],
        &["eks.amazonaws.com/serviceaccount/", "eks.amazonaws.com/other/deep/", "license.key"],
    );
    let files = [("db.json", "d"), ("eks.amazonaws.com/own.json", "o")];
    volume.write(&writer, &files, false);
    for directory in ["eks.amazonaws.com/serviceaccount", "eks.amazonaws.com/other/deep"] {
        let metadata = fs::symlink_metadata(volume.path.join(directory)).unwrap();
        assert!(metadata.is_dir());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&volume.path.join(directory)), mode(&volume.path));
    }
    assert_eq!(volume.read("license.key").as_deref(), Some(""));
    assert_eq!(volume.read("eks.amazonaws.com/own.json").as_deref(), Some("o"));

    // A restart finds them, and creates again what another process removed.
    fs::remove_dir(volume.path.join("eks.amazonaws.com/serviceaccount")).unwrap();
    assert_eq!(volume.write(&writer, &files, false), [""; 0]);
    assert!(volume.path.join("eks.amazonaws.com/serviceaccount").is_dir());
}

/// The kubelet's in-memory volumes have the sticky bit, so each directory of files is its own root.
#[test]
fn mount_points_are_created_in_the_files_volume() {
    let volume = Volume::new();
    fs::set_permissions(&volume.path, fs::Permissions::from_mode(0o1777)).unwrap();
    let writer = volume.writer_mounting(&["tls/key.pem", "db/user.json"], &["cloud/token/", "license"]);
    assert_eq!(writer.roots.len(), 2);
    volume.write(&writer, &[("tls/key.pem", "k"), ("db/user.json", "u")], false);
    assert!(volume.path.join("cloud/token").is_dir() && volume.path.join("license").is_file());
    let linked = volume.dir.path().join("linked");
    symlink(&volume.path, &linked).unwrap();
    let points = [format!("{}/other/", linked.display()).parse().unwrap(), "/elsewhere/x/".parse().unwrap()];
    let (key, target) =
        (volume.target("tls/key.pem"), |file| Target { file, is_optional: false, is_signalled: true });
    let writer = AtomicWriter::build([target(&key)], &points, |path| path == volume.path);
    assert!(put(&writer, &key, "0444").done.is_ok());
    assert!(volume.path.join("other").is_dir() && !Path::new("/elsewhere").exists());
}

/// Another agent of the pod may write to the same volume.
#[test]
fn a_mount_point_is_not_created_through_a_link() {
    let volume = Volume::new();
    let outside = volume.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for (link, mount_points) in [("a", ["a/b/"]), ("a", ["a/"]), ("b", ["b/"]), ("b", ["b"])] {
        symlink(&outside, volume.path.join(link)).unwrap();
        let writer = volume.writer_mounting(&["db.json"], &mount_points);
        let error = volume.try_write(&writer, &[("db.json", "d")], false).done.unwrap_err();
        assert!(matches!(&error, WriteError::MountPoint(_)), "{error}");
        assert!(error.to_string().contains(&format!("{}/{link}", volume.path.display())), "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        fs::remove_file(volume.path.join(link)).unwrap();
    }
}

#[test]
fn two_agents_make_mount_points_in_one_volume() {
    let volume = Volume::new();
    let one = volume.writer_mounting(&["one"], &["cloud/one/", "cloud/both/"]);
    let other = volume.writer_mounting(&["other"], &["cloud/other/", "cloud/both/"]);
    volume.write(&one, &[("one", "1")], false);
    volume.write(&other, &[("other", "2")], false);
    for directory in ["cloud/one", "cloud/other", "cloud/both"] {
        assert!(volume.path.join(directory).is_dir(), "{directory}");
    }
    assert_eq!((volume.read("one").as_deref(), volume.read("other").as_deref()), (Some("1"), Some("2")));
    // The other agent's file has that name.
    let late = volume.writer_mounting(&["late"], &["one/"]);
    let error = volume.try_write(&late, &[("late", "3")], false).done.unwrap_err();
    assert!(matches!(&error, WriteError::MountPoint(_)), "{error}");
}

/// The kubelet assigns a volume to the pod's `fsGroup` by its group and the setgid bit.
#[test]
fn files_belong_to_the_group_of_a_setgid_volume() {
    use std::os::unix::fs::MetadataExt as _;
    let volume = Volume::new();
    fs::set_permissions(&volume.path, fs::Permissions::from_mode(0o2777)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let gid = if is_root { 4242 } else { rustix::process::getegid().as_raw() };
    std::os::unix::fs::chown(&volume.path, None, Some(gid)).unwrap();
    fs::set_permissions(&volume.path, fs::Permissions::from_mode(0o2777)).unwrap();
    let writer = volume.writer(&["db.json", "tls/key.pem"]);
    volume.write(&writer, &[("db.json", "d"), ("tls/key.pem", "k")], false);
    for file in ["db.json", "tls/key.pem"] {
        assert_eq!(fs::metadata(volume.path.join(file)).unwrap().gid(), gid, "{file}");
    }
}
