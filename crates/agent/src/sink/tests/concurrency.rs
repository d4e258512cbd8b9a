//! Readers and other agents at the same time.

use super::*;

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
        let generations =
            volume.names(&sink).iter().filter(|name| name.starts_with("..scaivault-")).count();
        prop_assert!(generations <= 2);
    }
}

#[test]
fn agents_that_share_a_volume_leave_each_others_files_alone() {
    for _ in 0..20 {
        let volume = Volume::new();
        // In one directory, too. All begin at once, and one of them gets `..data`.
        let names = ["a", "shared/b", "shared/c"];
        let barrier = std::sync::Barrier::new(names.len());
        thread::scope(|scope| {
            for name in names {
                let (volume, barrier) = (&volume, &barrier);
                scope.spawn(move || {
                    let sink = volume.sink(&[name]);
                    barrier.wait();
                    for count in 0..20 {
                        volume.write(&sink, &[(name, &count.to_string())], false);
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
