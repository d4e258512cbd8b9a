use scaivault_usage::ContainerKind;

use super::*;

fn container(name: &str) -> ContainerRef {
    ContainerRef { name: name.to_owned(), kind: ContainerKind::App }
}

fn file(path: &str, container_name: &str) -> FileWant {
    FileWant {
        path: path.to_owned(),
        content: Content::Secret { source: format!("app{path}"), is_base64: false },
        mode: None,
        optional: false,
        container: container(container_name),
        vault_name: None,
    }
}

fn wants(files: &[&str], directories: &[&str]) -> Wants {
    Wants {
        files: files.iter().map(|path| file(path, "app")).collect(),
        directories: directories.iter().map(|&directory| directory.to_owned()).collect(),
        ..Wants::default()
    }
}

#[track_caller]
fn check(files: &[&str], directories: &[&str], accepted: &[AcceptedChange], expected: Result<&str, &str>) {
    let mut wants = wants(files, directories);
    let layout = lay_out(&mut wants, accepted);
    match (layout, expected) {
        (Some(layout), Ok(mount_path)) => assert_eq!(layout.mount_path.as_deref(), Some(mount_path)),
        (None, Err(said)) => assert!(wants.problems.join("\n").contains(said), "{:?}", wants.problems),
        (layout, expected) => panic!("{layout:?} and not {expected:?}: {:?}", wants.problems),
    }
}

#[test]
fn files_stay_where_they_are() {
    const COMMON: &[AcceptedChange] = &[AcceptedChange::CommonDirectory];
    check(&["/etc/db/a", "/etc/db/b/c"], &["/etc/db"], &[], Ok("/etc/db"));
    check(&["/etc/db/a", "/etc/db/tls/b"], &["/etc/db", "/etc/db/tls"], &[], Ok("/etc/db"));
    check(
        &["/etc/secrets/a/x", "/etc/secrets/b/y"],
        &["/etc/secrets/a", "/etc/secrets/b"],
        &[],
        Ok("/etc/secrets"),
    );
    check(&["/opt/x/secrets/a"], &[], &[], Ok("/opt/x/secrets"));
    // If the image may have files there, the user has to confirm that it has none.
    check(
        &["/etc/nginx/a/x", "/etc/nginx/b/y"],
        &["/etc/nginx/a", "/etc/nginx/b"],
        &[],
        Err("--accept common-directory"),
    );
    check(&["/etc/nginx/a/x", "/etc/nginx/b/y"], &["/etc/nginx/a", "/etc/nginx/b"], COMMON, Ok("/etc/nginx"));
    check(&["/etc/nginx/a"], &[], &[], Err("/etc/nginx, and the injector"));
    for accepted in [&[], COMMON] {
        check(&["/etc/a/x", "/etc/b/y"], &["/etc/a", "/etc/b"], accepted, Err("/etc/a and /etc/b"));
        check(&["/opt/a/x", "/opt/b/y"], &["/opt/a", "/opt/b"], accepted, Err("it would hide"));
        check(&["/a/x", "/b/y"], &["/a", "/b"], accepted, Err("/a and /b"));
    }
}

#[test]
fn all_readers_get_the_same() {
    let mut wants = wants(&["/s/a"], &["/s"]);
    wants.variables.push(VariableWant {
        name: "B".to_owned(),
        source: "b#c".to_owned(),
        container: container("worker"),
    });
    assert_eq!(lay_out(&mut wants, &[]), None);
    let problem = wants.problems.pop().unwrap();
    assert!(
        problem.contains("container app does not have $B") && problem.contains("--accept wider-access"),
        "{problem}"
    );
    let layout = lay_out(&mut wants, &[AcceptedChange::WiderAccess]).unwrap();
    assert_eq!(layout.readers, BTreeSet::from([container("app"), container("worker")]));
}

#[test]
fn one_name_with_two_sources_is_a_problem() {
    let mut wants = wants(&["/s/a"], &["/s"]);
    let content = Content::Secret { source: "other".to_owned(), is_base64: false };
    wants.files.push(FileWant { content, ..file("/s/a", "worker") });
    for (source, name) in [("a#b", "app"), ("c#d", "worker")] {
        wants.variables.push(VariableWant {
            name: "X".to_owned(),
            source: source.to_owned(),
            container: container(name),
        });
    }
    assert_eq!(lay_out(&mut wants, &[AcceptedChange::WiderAccess]), None);
    let problems = wants.problems.join("\n");
    assert!(
        problems.contains("/s/a is another file") && problems.contains("the variable X is c#d"),
        "{problems}"
    );
}

#[test]
fn names_fit_into_keys_and_are_unique() {
    let long = "x".repeat(100);
    let mut taken = BTreeSet::new();
    let names: Vec<_> = ["a/b", "a-b", ".dockerconfigjson", &long, &format!("{long}y"), "..", "tls.crt"]
        .into_iter()
        .map(|file| unique_name(file, &mut taken))
        .collect();
    assert_eq!(names[..3], ["a-b", "a-b-2", "dockerconfigjson"]);
    assert_eq!(
        (names[3].len(), names[4].as_str()),
        (MAX_NAME, format!("{}-2", "x".repeat(MAX_NAME - 6)).as_str())
    );
    assert_eq!(names[5..], ["file", "tls.crt"]);
}
