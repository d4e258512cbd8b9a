//! Two agents with different users on one volume, which Kubernetes makes writable for all, or for a
//! group.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    site::Site,
    support::{AGENT, RunResult, Sidecar, data, skipped, until, within},
};

/// Two user ids that no other process has, and their group.
const FIRST: u32 = 64_111;
const SECOND: u32 = 64_112;
const GROUP: u32 = 64_110;

struct Volume {
    site: Site,
    agent: PathBuf,
    /// Programs that other users can start: they may have no access to the build directory.
    _programs: TempDir,
}

impl Volume {
    /// An `emptyDir`; `None` if the tests do not run as root.
    async fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can start processes of two users");
            return None;
        }
        let site = Site::new().await;
        let programs = tempfile::tempdir().unwrap();
        let agent = programs.path().join("scaivault-agent");
        scaivault_testkit::copy_program(Path::new(AGENT), &agent, 0o755);
        let volume = site.pod.path("secrets");
        fs::create_dir(&volume).unwrap();
        for (path, mode) in [
            (programs.path(), 0o755),
            (&site.pod.path(""), 0o755),
            (&site.pod.path("token"), 0o644),
            (&volume, 0o777),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Some(Self { site, agent, _programs: programs })
    }

    /// As with `fsGroup`: the group may write, new files belong to the group, and other users have
    /// no access.
    fn is_of_group(&self) {
        let volume = self.site.pod.path("secrets");
        chown(&volume, None, Some(GROUP)).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2770)).unwrap();
    }

    fn agent(&self, user: u32, command: &str, variables: &[(&str, &str)]) -> Command {
        // With a program that sets the supplementary groups: the standard library would keep root's
        // groups.
        let mut agent = self.site.agent_at(Path::new("setpriv"), "--no-new-privs", variables);
        agent.args([&format!("--reuid={user}"), &format!("--regid={user}"), &format!("--groups={GROUP}")]);
        agent.arg("--bounding-set=-all").arg("--").arg(&self.agent).arg(command);
        agent
    }

    async fn init(&self, user: u32, source: &str, file: &str) -> RunResult {
        let secrets = self.site.pod.mapping(&[(source, file)]);
        let output = within(self.agent(user, "init", &[("SECRETS", &secrets)]).output()).await.unwrap();
        RunResult::new(output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn rotate(&self, value: &str) {
        self.site.pod.vault.rotate(&"app/stripe".parse().unwrap(), data(value));
    }
}

/// The init container runs as the image's user, the sidecar as the application's.
#[tokio::test]
async fn each_rotation_arrives_in_a_volume_of_a_group() {
    let Some(volume) = Volume::new().await else { return };
    volume.is_of_group();
    volume.init(FIRST, "app/stripe#key", "key").await.check(0, &[]);
    let watch = volume.site.pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = Sidecar::run(&volume.site.pod, &mut volume.agent(SECOND, "sidecar", &variables));
    for value in ["2", "3", "4", "5"] {
        volume.rotate(value);
        until(|| volume.site.pod.secret("key").as_deref() == Some(value)).await;
    }
    assert_eq!(sidecar.said("not refreshed"), 0);
    sidecar.end().await.check(0, &[]);
}

/// Two sidecars at the same time.
#[tokio::test]
async fn two_sidecars_refresh_their_files_at_once() {
    let Some(volume) = Volume::new().await else { return };
    let pod = &volume.site.pod;
    let mappings = [pod.mapping(&[("app/stripe#key", "a")]), pod.mapping(&[("app/stripe#key", "b")])];
    let mut agents: Vec<_> = [FIRST, SECOND]
        .iter()
        .zip(&mappings)
        .map(|(user, watch)| {
            let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
            volume.agent(*user, "sidecar", &variables).spawn().unwrap()
        })
        .collect();
    for value in ["2", "3", "4", "5"] {
        volume.rotate(value);
        for file in ["a", "b"] {
            until(|| pod.secret(file).as_deref() == Some(value)).await;
        }
    }
    for agent in &mut agents {
        agent.kill().await.unwrap();
    }
    // Only the necessary generations remain: at most two for each agent.
    let entries = fs::read_dir(pod.path("secrets")).unwrap();
    let generations = entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count();
    assert!(generations <= 4, "{generations} directories are left");
}
