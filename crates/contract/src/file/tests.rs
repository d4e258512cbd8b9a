use super::*;

#[test]
fn relative_files() {
    for text in
        ["db.json", "tls/key.pem", ".env", "a b", "ä\"", "a..b", "kubernetes.io.txt", &"a".repeat(255)]
    {
        assert_eq!(text.parse::<RelativeFile>().unwrap().as_str(), text);
    }
    for (text, fault) in [
        ("", FileFault::Empty),
        ("/", FileFault::Absolute),
        ("/a", FileFault::Absolute),
        ("a/", FileFault::Directory),
        ("a//b", FileFault::EmptySegment),
        (".", FileFault::Dot),
        ("a/./b", FileFault::Dot),
        ("..", FileFault::DotDot),
        ("a/../b", FileFault::DotDot),
        ("..data/a", FileFault::DotDot),
        ("a/..2026", FileFault::DotDot),
        ("kubernetes.io/serviceaccount/token", FileFault::Kubernetes),
        ("a/kubernetes.io", FileFault::Kubernetes),
        ("a\nb", FileFault::Control),
        ("a\0", FileFault::Control),
        ("a\u{7f}", FileFault::Control),
        ("a\u{85}", FileFault::Control),
        (&"a".repeat(256), FileFault::LongSegment),
        (&"ä".repeat(128), FileFault::LongSegment),
        (&format!("{}a", "abc/".repeat(256)), FileFault::TooLong),
    ] {
        assert_eq!(text.parse::<RelativeFile>().unwrap_err().fault, fault, "{text:?}");
    }
    assert_eq!(
        "/db.json".parse::<RelativeFile>().unwrap_err().to_string(),
        format!(
            "\"/db.json\" is not a file below the mount path: it is absolute; remove the mount \
             path; allowed: {}",
            RelativeFile::ALLOWED
        )
    );
}

#[test]
fn target_files() {
    for text in ["/a", "/run/secrets/db.json", "/run/se crets/ä"] {
        assert_eq!(text.parse::<TargetFile>().unwrap().as_str(), text);
    }
    for (text, fault) in [
        ("", FileFault::Empty),
        ("a", FileFault::NotAbsolute),
        ("./a", FileFault::NotAbsolute),
        ("/", FileFault::Directory),
        ("/a/", FileFault::Directory),
        ("//a", FileFault::EmptySegment),
        ("/a/./b", FileFault::Dot),
        ("/a/../b", FileFault::DotDot),
        ("/run/secrets/..data", FileFault::DotDot),
        ("/run/secrets/kubernetes.io/x", FileFault::Kubernetes),
        ("/a\tb", FileFault::Control),
    ] {
        assert_eq!(text.parse::<TargetFile>().unwrap_err().fault, fault, "{text:?}");
    }
}

#[test]
fn paths_below_a_mount_path_are_target_files() {
    let segment = "m".repeat(254);
    let longest_mount = format!("/{segment}/{segment}/m");
    let longest_file = format!("{}{}", "f/".repeat(511), "ff");
    for (mount_path, file, expected) in [
        ("/run/secrets", "db.json", "/run/secrets/db.json"),
        ("/run/secrets/", "tls/key.pem", "/run/secrets/tls/key.pem"),
        (&longest_mount, &longest_file, &format!("{longest_mount}/{longest_file}")),
    ] {
        let mount_path: MountPath = mount_path.parse().unwrap();
        let target = TargetFile::below(mount_path.as_str(), &file.parse().unwrap());
        assert_eq!(target.as_str(), expected);
        assert_eq!(expected.parse(), Ok(target));
    }
    assert_eq!((longest_mount.len(), longest_file.len()), (MOUNT_PATH_MAX_BYTES, RELATIVE_MAX_BYTES));
    assert!(format!("{longest_mount}m").parse::<MountPath>().is_err());
    assert!(format!("{longest_file}f").parse::<RelativeFile>().is_err());
    assert!(format!("{longest_mount}/{longest_file}f").parse::<TargetFile>().is_err());
}

#[test]
fn mount_paths() {
    for (text, expected) in [
        ("/run/secrets", "/run/secrets"),
        ("/run/secrets///", "/run/secrets"),
        ("/device", "/device"),
        ("/app/proc", "/app/proc"),
        ("/se crets", "/se crets"),
    ] {
        assert_eq!(text.parse::<MountPath>().unwrap().as_str(), expected);
    }
    for (text, fault) in [
        ("", MountPathFault::Path(FileFault::Empty)),
        ("/", MountPathFault::Root),
        ("//", MountPathFault::Root),
        ("run/secrets", MountPathFault::Path(FileFault::NotAbsolute)),
        ("//run", MountPathFault::Path(FileFault::EmptySegment)),
        ("/run/../etc", MountPathFault::Path(FileFault::DotDot)),
        ("/run/.", MountPathFault::Path(FileFault::Dot)),
        ("/a\nb", MountPathFault::Path(FileFault::Control)),
        ("/var/run/secrets/kubernetes.io/serviceaccount", MountPathFault::Path(FileFault::Kubernetes)),
        ("/a:b", MountPathFault::Colon),
        ("/proc", MountPathFault::System),
        ("/sys/fs/", MountPathFault::System),
        ("/dev/shm", MountPathFault::System),
    ] {
        assert_eq!(text.parse::<MountPath>().unwrap_err().fault, fault, "{text:?}");
    }
}

#[test]
fn a_path_covers_itself_and_paths_below() {
    let covers = |mount_path: &str, other: &str| mount_path.parse::<MountPath>().unwrap().covers(other);
    for other in [
        "/run/secrets",
        "/run/secrets/",
        "/run//secrets",
        "/run/./secrets/a",
        "/run/secrets/a/b",
        "/run/x/../secrets",
        "/var/run/secrets",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    ] {
        assert!(covers("/run/secrets", other), "{other}");
        assert!(covers("/var/run/secrets", other), "{other}");
    }
    for other in [
        "/",
        "",
        "/run",
        "/var/run",
        "/run/secrets2",
        "/run/secret",
        "/var/secrets",
        "/srv/run/secrets",
        "/run/secrets/..",
    ] {
        assert!(!covers("/run/secrets", other), "{other}");
        assert!(!covers("/var/run/secrets", other), "{other}");
    }
    assert!(covers("/var", "/var/lib"));
    assert!(covers("/run", "/var/run"));
}

#[test]
fn messages_contain_the_limits() {
    for (allowed, limit) in [
        (RelativeFile::ALLOWED, RELATIVE_MAX_BYTES),
        (TargetFile::ALLOWED, TARGET_MAX_BYTES),
        (MountPath::ALLOWED, MOUNT_PATH_MAX_BYTES),
    ] {
        assert!(
            allowed.contains(&format!("at most {limit} bytes, {SEGMENT_MAX_BYTES} a segment")),
            "{allowed}"
        );
    }
}
