//! What others left in the volume.

use super::*;

#[test]
fn what_stands_in_the_way_of_a_generation_is_left_out() {
    let volume = Volume::new();
    let sink = volume.sink(&["a"]);
    let generation = |number| volume.generation(&sink, number);
    fs::create_dir_all(generation(7).join("deep/er")).unwrap();
    fs::write(generation(7).join("deep/er/file"), "half").unwrap();
    fifo(&generation(7).join("deep/fifo"));
    fs::create_dir(generation(u64::MAX)).unwrap();
    fs::write(generation(1), "a file").unwrap();
    fifo(&generation(2));
    symlink(volume.dir.path(), generation(3)).unwrap();
    volume.write(&sink, &[("a", "1")], false);
    assert_eq!(fs::read_link(volume.path.join("..data")).unwrap(), generation(4).file_name().unwrap());
    assert!(!generation(7).exists() && !generation(u64::MAX).exists());
    // A link to a generation that is not there any more, and to the last one that there can be.
    fs::remove_dir_all(generation(4)).unwrap();
    assert!(!sink.is_ready(false) && !sink.is_ready(true));
    volume.write(&sink, &[("a", "1")], false);
    assert!(sink.is_ready(false));
    fs::remove_file(volume.path.join("..data")).unwrap();
    symlink(generation(u64::MAX).file_name().unwrap(), volume.path.join("..data")).unwrap();
    volume.write(&sink, &[("a", "2")], false);
    assert_eq!(volume.read("a").unwrap(), "2");
}

#[test]
fn nothing_is_written_through_links_that_somebody_left() {
    let volume = Volume::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let sink = volume.sink(&["a", "dir/b", "c"]);
    symlink(&victim, volume.path.join("a")).unwrap();
    symlink(outside.path(), volume.path.join("dir")).unwrap();
    symlink(outside.path(), volume.path.join("..data")).unwrap();
    symlink(outside.path(), volume.generation(&sink, 1)).unwrap();
    symlink(&victim, volume.path.join(format!("..scaivault-{}-link", sink.id))).unwrap();
    symlink(&victim, volume.path.join(format!("..told-{}", sink.id))).unwrap();
    volume.write(&sink, &[("a", "new"), ("dir/b", "new"), ("c", "new")], false);
    // The name was taken: the chain has one of its own.
    assert_eq!(fs::read_link(volume.path.join("..data")).unwrap(), outside.path());
    assert_eq!(fs::read_link(volume.path.join("a")).unwrap(), Path::new(&format!("..data-{}/a", sink.id)));
    sink.set_told().unwrap();

    // Inside a generation: neither a link nor a pipe is taken for a file, read or carried on.
    let current = volume.generation(&sink, 2);
    for file in ["a", "c", "..versions.json"] {
        let _ = fs::remove_file(current.join(file));
    }
    symlink(&victim, current.join("a")).unwrap();
    fifo(&current.join("c"));
    fifo(&current.join("..versions.json"));
    assert!(!sink.is_ready(false) && sink.versions().is_empty());
    assert_eq!(volume.write(&sink, &[("dir/b", "newer")], false), ["dir/b"]);
    for file in ["a", "c"] {
        assert!(fs::symlink_metadata(volume.generation(&sink, 3).join(file)).is_err(), "{file}");
    }
    assert!(!sink.is_ready(false));
    assert_eq!(volume.write(&sink, &[("a", "untouched"), ("c", "new")], false), ["a", "c"]);
    assert!(sink.is_ready(false));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn whatever_has_the_links_name_the_chain_has_its_own() {
    let puts: [&dyn Fn(&Path); 4] =
        [&|path| fs::create_dir(path).unwrap(), &|path| fs::write(path, "").unwrap(), &fifo, &|path| {
            symlink("..scaivault-00000000-8", path).unwrap();
        }];
    for put in puts {
        let volume = Volume::new();
        put(&volume.path.join("..data"));
        let sink = volume.sink(&["a"]);
        for text in ["1", "2"] {
            volume.write(&sink, &[("a", text)], false);
            assert_eq!(volume.read("a").unwrap(), text);
            assert!(volume.sink(&["a"]).is_ready(false));
        }
        // It stays there when the other name is free later.
        let _ = fs::remove_file(volume.path.join("..data"));
        volume.write(&sink, &[("a", "3")], false);
        assert_eq!(volume.read("a").unwrap(), "3");
        assert_eq!(volume.names(&sink).iter().filter(|name| name.starts_with("..data")).count(), {
            1 + usize::from(volume.path.join("..data").exists())
        });
    }
}

#[test]
fn a_file_in_the_way_is_replaced_and_a_directory_is_used_or_refused() {
    let volume = Volume::new();
    fs::write(volume.path.join("a"), "older").unwrap();
    fs::write(volume.path.join("file"), "older").unwrap();
    fs::create_dir(volume.path.join("dir")).unwrap();
    let sink = volume.sink(&["a", "dir/b", "file/c"]);
    volume.write(&sink, &[("a", "1"), ("dir/b", "2"), ("file/c", "3")], false);
    let read = ["a", "dir/b", "file/c"].map(|file| volume.read(file).unwrap());
    assert_eq!(read, ["1", "2", "3"]);

    let sink = volume.sink(&["dir"]);
    let error = volume.try_write(&sink, &[("dir", "")], false).done.unwrap_err();
    assert!(matches!(error, SinkError::InTheWay(_)), "{error}");
    assert!(!volume.generation(&sink, 1).exists());
}

#[test]
fn each_directory_outside_of_volumes_is_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let targets: [TargetFile; 3] =
        ["x/a", "y/b", "z/c"].map(|file| format!("{}/{file}", base.display()).parse().unwrap());
    let sink = build(targets.iter().map(|file| (file, false)), |_| false);
    // A root that cannot be written keeps no other from it.
    fs::write(base.join("y"), "in the way").unwrap();
    let mut pending = sink.begin();
    for target in &targets {
        pending.put(target, FileMode::DEFAULT, b"n");
    }
    let Outcome { changed, done } = pending.commit(false);
    assert_eq!(changed, [targets[0].clone(), targets[2].clone()]);
    assert!(done.unwrap_err().to_string().contains("/y"));
    assert!(base.join("x/..data/a").exists() && base.join("z/..data/c").exists());
    assert!(!sink.is_ready(true));
}
