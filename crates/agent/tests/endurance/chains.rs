//! A volume that is too small.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use scaivault_devserver::Route;

use crate::{
    support::{AGENT, Pod, Sidecar, data, skipped, until},
    user::User,
};

/// A user without any right besides its own.
const USER: u32 = 64_105;

/// A pod whose volume is mounted and open to every user, and a user.
struct Shared {
    // Unmounted before the pod's directory is removed.
    _volume: Mount,
    pod: Pod,
    user: User,
}

/// A tmpfs of 1 MiB, unmounted at the end.
struct Mount(PathBuf);

impl Shared {
    async fn new() -> Option<Self> {
        let Some(user) = User::other(USER) else {
            skipped("only root can mount a volume and start an agent of another user");
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
        Some(Self { _volume: Mount(volume), pod, user })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn what_does_not_fit_into_the_volume_is_refused_before_it_is_written() {
    let Some(Shared { _volume, pod, user }) = Shared::new().await else { return };
    let (mapping, program) = (pod.mapping(&[("app/stripe#key", "key")]), user.program(Path::new(AGENT)));
    let variables = [("WATCH_PATHS", mapping.as_str()), ("REFRESH_ON_EVENT", "true")];
    let sidecar = Sidecar::run(&pod, user.start_as(&mut pod.agent_at(&program, "sidecar", &variables)));
    // Two generations of 600 KB take more than the volume has.
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
