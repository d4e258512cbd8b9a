use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A directory that stands for a volume.
struct Volume {
    _dir: TempDir,
    path: PathBuf,
}

impl Volume {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap().join("secrets");
        fs::create_dir(&path).unwrap();
        Self { _dir: dir, path }
    }

    fn target(&self, file: &str) -> TargetFile {
        format!("{}/{file}", self.path.display()).parse().unwrap()
    }

    fn sink(&self, files: &[&str]) -> Sink {
        let targets: Vec<_> = files.iter().map(|file| self.target(file)).collect();
        Sink::new(&targets, &Mounts::from([self.path.as_path()]))
    }

    /// Writes with mode 0444 and returns which files changed.
    fn write(&self, sink: &Sink, files: &[(&str, &str)], gives_up: bool) -> Vec<String> {
        let targets: Vec<_> = files.iter().map(|(file, _)| self.target(file)).collect();
        let new: Vec<_> = targets
            .iter()
            .zip(files)
            .map(|(target, (_, text))| NewFile { target, mode: FileMode::DEFAULT, bytes: text.as_bytes() })
            .collect();
        let Outcome { changed, done } = sink.write(&new, gives_up);
        done.unwrap();
        let below = |target: &TargetFile| {
            Path::new(target.as_str()).strip_prefix(&self.path).unwrap().display().to_string()
        };
        changed.into_iter().map(below).collect()
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path.join(file)).ok()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn what_is_taken_away_is_in_no_generation_and_can_come_back() {
    let volume = Volume::new();
    let sink = volume.sink(&["key", "db/user.json"]);
    volume.write(&sink, &[("key", "k"), ("db/user.json", "old")], false);
    volume.write(&sink, &[("db/user.json", "older")], false);
    let target = volume.target("db/user.json");
    sink.remove([&target].into_iter()).unwrap();
    assert!(!sink.is_ready(false) && !sink.is_ready(true));
    assert!(sink.has([&volume.target("key")]) && !sink.has([&target]));
    assert_eq!((volume.read("key").as_deref(), volume.read("db/user.json")), (Some("k"), None));
    assert_eq!(volume.names(), ["..data", "..scaivault-3", "db", "key"]);
    sink.remove([&target].into_iter()).unwrap();
    assert_eq!(volume.names(), ["..data", "..scaivault-3", "db", "key"]);
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
    assert_eq!(volume.names(), ["..data", "..scaivault-1", "db.json", "tls"]);
    assert_eq!(fs::read_link(volume.path.join("db.json")).unwrap(), Path::new("..data/db.json"));
    assert_eq!(fs::read_link(volume.path.join("tls")).unwrap(), Path::new("..data/tls"));
    assert_eq!(volume.read("tls/key.pem").unwrap(), "k");
}

#[test]
fn only_a_change_is_written_and_the_generation_before_stays_until_the_next() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "b"]);
    volume.write(&sink, &[("a", "1"), ("b", "1")], false);
    assert_eq!(volume.write(&sink, &[("a", "1"), ("b", "1")], false), [""; 0]);
    assert_eq!(volume.names(), ["..data", "..scaivault-1", "a", "b"]);
    assert_eq!(volume.write(&sink, &[("a", "1"), ("b", "2")], false), ["b"]);
    assert_eq!(volume.names(), ["..data", "..scaivault-1", "..scaivault-2", "a", "b"]);
    assert_eq!(volume.read("..scaivault-1/b").unwrap(), "1");
    volume.write(&sink, &[("a", "3"), ("b", "2")], false);
    assert_eq!(volume.names(), ["..data", "..scaivault-2", "..scaivault-3", "a", "b"]);
}

#[test]
fn what_is_not_written_this_time_stays_as_it_was() {
    let volume = Volume::new();
    // Another container's file in the same volume.
    volume.write(&volume.sink(&["theirs/x"]), &[("theirs/x", "t")], false);
    let sink = volume.sink(&["a", "b"]);
    volume.write(&sink, &[("a", "1"), ("b", "1")], false);
    volume.write(&sink, &[("a", "2")], false);
    assert_eq!(volume.read("a").unwrap(), "2");
    assert_eq!(volume.read("b").unwrap(), "1");
    assert_eq!(volume.read("theirs/x").unwrap(), "t");
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    let volume = Volume::new();
    let sink = volume.sink(&["open", "group/private"]);
    let (open, private) = (volume.target("open"), volume.target("group/private"));
    let files = |mode: &str| {
        [
            NewFile { target: &open, mode: "0666".parse().unwrap(), bytes: b"o" },
            NewFile { target: &private, mode: mode.parse().unwrap(), bytes: b"p" },
        ]
    };
    sink.write(&files("0400"), false).done.unwrap();
    let mode = |file: &str| fs::metadata(volume.path.join(file)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("open"), mode("group/private")), (0o666, 0o400));
    assert_eq!((mode("..data"), mode("..data/group")), (0o755, 0o755));
    // Another mode is a change too.
    assert_eq!(sink.write(&files("0440"), false).changed, [&private]);
    assert_eq!(mode("group/private"), 0o440);
}

#[test]
fn what_a_crash_left_is_removed() {
    let volume = Volume::new();
    fs::create_dir_all(volume.path.join("..scaivault-7/deep/er")).unwrap();
    fs::write(volume.path.join("..scaivault-7/deep/er/file"), "half").unwrap();
    symlink("..scaivault-9", volume.path.join("..scaivault-link")).unwrap();
    fs::create_dir(volume.path.join("..scaivault-1")).unwrap();
    let sink = volume.sink(&["a"]);
    volume.write(&sink, &[("a", "1")], false);
    assert_eq!(volume.names(), ["..data", "..scaivault-1", "a"]);
    // A link to a generation that is not there any more.
    fs::remove_dir_all(volume.path.join("..scaivault-1")).unwrap();
    assert!(!sink.is_ready(false));
    volume.write(&sink, &[("a", "1")], false);
    assert!(sink.is_ready(false));
}

#[test]
fn missing_files_are_ready_only_where_the_agent_gave_them_up() {
    let volume = Volume::new();
    let sink = volume.sink(&["a", "b"]);
    volume.write(&sink, &[], false);
    assert!(!sink.is_ready(true), "nothing was given up yet");
    volume.write(&sink, &[("a", "1")], true);
    assert!(sink.is_ready(true) && !sink.is_ready(false));
    // A refresh that still cannot read it changes nothing about that.
    volume.write(&sink, &[("a", "2")], false);
    assert!(sink.is_ready(true));
    volume.write(&sink, &[("b", "1")], false);
    assert!(sink.is_ready(false));
    assert!(!volume.path.join("..data/..incomplete").exists());
}

#[test]
fn nothing_is_written_through_links_that_somebody_left() {
    let volume = Volume::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    symlink(&victim, volume.path.join("a")).unwrap();
    symlink(outside.path(), volume.path.join("dir")).unwrap();
    symlink(outside.path(), volume.path.join("..data")).unwrap();
    symlink(outside.path(), volume.path.join("..scaivault-1")).unwrap();
    let sink = volume.sink(&["a", "dir/b"]);
    let (a, b) = (volume.target("a"), volume.target("dir/b"));
    let new = |target| NewFile { target, mode: FileMode::DEFAULT, bytes: b"new" };
    // The next generation's name is taken by a link: refused, not followed.
    assert!(sink.write(&[new(&a), new(&b)], false).done.is_err());
    fs::remove_file(volume.path.join("..scaivault-1")).unwrap();
    sink.write(&[new(&a), new(&b)], false).done.unwrap();
    assert_eq!(volume.read("a").unwrap(), "new");
    assert_eq!(volume.read("dir/b").unwrap(), "new");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_file_in_the_way_is_replaced_and_a_directory_is_used_or_refused() {
    let volume = Volume::new();
    fs::write(volume.path.join("a"), "older").unwrap();
    fs::create_dir(volume.path.join("dir")).unwrap();
    let sink = volume.sink(&["a", "dir/b"]);
    volume.write(&sink, &[("a", "1"), ("dir/b", "2")], false);
    assert_eq!((volume.read("a").unwrap(), volume.read("dir/b").unwrap()), ("1".into(), "2".into()));
    assert_eq!(fs::read_link(volume.path.join("dir/b")).unwrap(), Path::new("../..data/dir/b"));

    let target = volume.target("dir");
    let sink = volume.sink(&["dir"]);
    let error = sink
        .write(&[NewFile { target: &target, mode: FileMode::DEFAULT, bytes: b"" }], false)
        .done
        .unwrap_err();
    assert!(matches!(error, SinkError::InTheWay(_)), "{error}");
}

#[test]
fn each_directory_outside_of_volumes_is_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let targets: Vec<TargetFile> =
        ["x/a", "y/b"].map(|file| format!("{}/{file}", base.display()).parse().unwrap()).into();
    let sink = Sink::new(&targets, &Mounts::default());
    let new = |target| NewFile { target, mode: FileMode::DEFAULT, bytes: b"n" };
    sink.write(&[new(&targets[0]), new(&targets[1])], false).done.unwrap();
    assert!(base.join("x/..data/a").exists() && base.join("y/..data/b").exists());
}

#[test]
fn a_root_that_cannot_be_written_keeps_no_other_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let targets: Vec<TargetFile> =
        ["x/a", "y/b", "z/c"].map(|file| format!("{}/{file}", base.display()).parse().unwrap()).into();
    let sink = Sink::new(&targets, &Mounts::default());
    fs::write(base.join("y"), "in the way").unwrap();
    let new: Vec<_> =
        targets.iter().map(|target| NewFile { target, mode: FileMode::DEFAULT, bytes: b"n" }).collect();
    let Outcome { changed, done } = sink.write(&new, false);
    assert_eq!(changed, [&targets[0], &targets[2]]);
    assert!(done.unwrap_err().to_string().contains("/y"));
    assert!(base.join("x/a").exists() && base.join("z/c").exists());
}

#[test]
fn errors_of_the_kernel_come_with_a_cure() {
    use rustix::io::Errno;
    let say = |errno| SinkError::new(Path::new("/run/secrets"), errno).to_string();
    assert!(say(Errno::NOSPC).contains("raise the annotation volume-size-limit"));
    assert!(say(Errno::ROFS).contains("must not have readOnly"));
    assert!(say(Errno::ACCESS).contains("fsGroup"));
}

/// Readers that open the generation once see all files of one write, and one that opens a single file never misses it.
#[test]
fn readers_see_all_of_a_write_or_nothing_of_it() {
    const WRITES: u32 = 60;
    let volume = Volume::new();
    let names = ["a", "b", "deep/c"];
    let sink = volume.sink(&names);
    let write = |number: u32| {
        let text = number.to_string().repeat(3000);
        volume.write(&sink, &names.map(|name| (name, text.as_str())), false);
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
                        // A reader that is slower than two writes finds its generation gone, as with the kubelet.
                        if let [Ok(a), Ok(b), Ok(c)] = texts {
                            assert!(a == b && b == c);
                            seen += 1;
                        }
                        // Held up inside the kernel for two writes, a reader finds its generation gone, and then
                        // the one that is there.
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

    /// After any row of writes, each file has its last content, and there are at most two generations.
    #[test]
    fn the_last_write_of_each_file_is_what_is_read(
        writes in prop::collection::vec(prop::collection::btree_map(0_usize..4, "[a-z]{0,8}", 0..4), 1..8)
    ) {
        let names = ["a", "b", "d/c", "d/e/f"];
        let volume = Volume::new();
        let sink = volume.sink(&names);
        let mut expected = BTreeMap::new();
        for write in &writes {
            let files: Vec<_> = write.iter().map(|(index, text)| (names[*index], text.as_str())).collect();
            let changed = volume.write(&sink, &files, false);
            let differ: Vec<_> = files.iter().filter(|(name, text)| expected.get(name) != Some(text)).collect();
            prop_assert_eq!(changed.len(), differ.len());
            expected.extend(files);
        }
        for (name, text) in &expected {
            prop_assert_eq!(volume.read(name), Some((*text).to_owned()));
        }
        prop_assert_eq!(sink.is_ready(false), expected.len() == names.len());
        let generations = volume.names().iter().filter(|name| name.starts_with("..scaivault-")).count();
        prop_assert!(generations <= 2);
    }
}

#[test]
fn agents_that_share_a_volume_leave_each_others_files_alone() {
    let volume = Volume::new();
    thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let volume = &volume;
            scope.spawn(move || {
                let sink = volume.sink(&[name]);
                for count in 0..100 {
                    volume.write(&sink, &[(name, &count.to_string())], false);
                    assert_eq!(volume.read(name).unwrap(), count.to_string());
                }
            });
        }
    });
    assert_eq!(["a", "b", "c"].map(|name| volume.read(name).unwrap()), ["99"; 3]);
}
