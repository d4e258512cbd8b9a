//! Agents of several users on one volume: each change of each agent arrives.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use scaivault_devserver::Route;

use crate::{
    support::{AGENT, Pod, Sidecar, data, skipped, until},
    user::User,
};

/// Two users without privileges.
const USERS: [u32; 2] = [64_105, 64_106];

/// A pod whose volume is a mount that every user can write to, with its users.
struct SharedVolume {
    // Unmounted before the pod's directory is removed.
    _volume: Mount,
    pod: Pod,
    users: [User; 2],
}

/// A tmpfs of 1 MiB, unmounted on drop.
struct Mount(PathBuf);

impl SharedVolume {
    async fn new() -> Option<Self> {
        let [Some(first), Some(second)] = USERS.map(User::other) else {
            skipped("only root can mount a volume and start agents of several users");
            return None;
        };
        let pod = Pod::new().await;
        let volume = pod.path("secrets");
        fs::create_dir(&volume).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs"]).arg(&volume);
        if !mount.status().unwrap().success() {
            skipped("this root may not mount a volume");
            return None;
        }
        for (path, mode) in [(pod.path(""), 0o755), (pod.path("token"), 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Some(Self { _volume: Mount(volume), pod, users: [first, second] })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

async fn init(pod: &Pod, user: &User, variables: &[(&str, &str)]) {
    let program = user.program(Path::new(AGENT));
    let output = user.start_as(&mut pod.agent_at(&program, "init", variables)).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn owner(pod: &Pod, file: &str) -> u32 {
    fs::metadata(pod.path("secrets").join(file)).unwrap().uid()
}

/// An init container and a sidecar with the same files.
#[tokio::test]
async fn a_sidecar_continues_files_of_another_user() {
    let Some(SharedVolume { _volume, pod, users: [first, second] }) = SharedVolume::new().await else {
        return;
    };
    let mapping = pod.mapping(&[("app/stripe#key", "key"), ("app/database#username", "db/user mode=0400")]);
    init(&pod, &first, &[("SECRETS", &mapping)]).await;
    assert_eq!((owner(&pod, "key"), owner(&pod, "db/user")), (USERS[0], USERS[0]));
    let program = second.program(Path::new(AGENT));
    let variables = [("WATCH_PATHS", mapping.as_str()), ("REFRESH_ON_EVENT", "true")];
    let sidecar = Sidecar::run(&pod, second.start_as(&mut pod.agent_at(&program, "sidecar", &variables)));
    for number in 0..4 {
        pod.vault.write(&"app/stripe".parse().unwrap(), data(&format!("new-{number}")));
        until(|| pod.secret("key") == Some(format!("new-{number}"))).await;
    }
    // Files that could not be linked were copied, and the first user's generation remains.
    assert_eq!((owner(&pod, "key"), owner(&pod, "db/user")), (USERS[1], USERS[1]));
    sidecar.end().await.check(0, &["stopped"]);
}

/// Agents with different files that cannot read those of each other.
#[tokio::test]
async fn agents_with_files_of_their_own_do_not_need_each_other() {
    let Some(SharedVolume { _volume, pod, users: [first, second] }) = SharedVolume::new().await else {
        return;
    };
    let files = [("tls/a", &first), ("tls/b", &second)];
    for value in ["1", "2", "3"] {
        pod.vault.write(&"app/stripe".parse().unwrap(), data(value));
        for (file, user) in files {
            let mapping = pod.mapping(&[("app/stripe#key", &format!("{file} mode=0400"))]);
            init(&pod, user, &[("SECRETS", &mapping)]).await;
        }
        assert_eq!(files.map(|(file, _)| pod.secret(file).unwrap()), [value; 2]);
    }
    assert_eq!(files.map(|(file, _)| owner(&pod, file)), USERS);
    assert!(pod.path("secrets/..data/tls/a").exists());
}

#[tokio::test]
async fn a_file_larger_than_the_volume_is_not_written() {
    let Some(SharedVolume { _volume, pod, users: [user, _] }) = SharedVolume::new().await else { return };
    let (mapping, program) = (pod.mapping(&[("app/stripe#key", "key")]), user.program(Path::new(AGENT)));
    let variables = [("WATCH_PATHS", mapping.as_str()), ("REFRESH_ON_EVENT", "true")];
    let sidecar = Sidecar::run(&pod, user.start_as(&mut pod.agent_at(&program, "sidecar", &variables)));
    // Two generations of 600 KB exceed the size of the volume.
    let [first, second] = ["x", "y"].map(|text| text.repeat(600_000));
    let stripe = "app/stripe".parse().unwrap();
    pod.requested(Route::Poll, 1).await;
    pod.vault.write(&stripe, data(&first));
    until(|| pod.secret("key").as_ref() == Some(&first)).await;
    pod.vault.write(&stripe, data(&second));
    let line = sidecar.line("not refreshed, trying again").await;
    assert!(line.to_string().contains("key is full: 600000 bytes needed, "), "{line}");
    assert_eq!(pod.secret("key").as_ref(), Some(&first));
    let directories = fs::read_dir(pod.path("secrets")).unwrap();
    assert_eq!(directories.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count(), 1);
    sidecar.end().await.check(0, &["stopped"]);
}
