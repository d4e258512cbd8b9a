//! Agents of several users on one volume: each change of each of them arrives.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use crate::{
    support::{AGENT, Pod, Sidecar, data, skipped, until},
    user::User,
};

/// Two users without any right besides their own.
const USERS: [u32; 2] = [64_105, 64_106];

/// A pod whose volume every user may write to, and its users.
async fn shared() -> Option<(Pod, [User; 2])> {
    let [Some(first), Some(second)] = USERS.map(User::other) else {
        skipped("only root can start agents of several users");
        return None;
    };
    let pod = Pod::new().await;
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(pod.path("secrets")).unwrap();
    open(&pod.path(""));
    open(&pod.path("secrets"));
    fs::set_permissions(pod.path("token"), fs::Permissions::from_mode(0o644)).unwrap();
    Some((pod, [first, second]))
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
async fn a_sidecar_takes_over_from_an_init_container_of_another_user() {
    let Some((pod, [first, second])) = shared().await else { return };
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
    // What could not be linked was written anew, and the first user's generation stays.
    assert_eq!((owner(&pod, "key"), owner(&pod, "db/user")), (USERS[1], USERS[1]));
    sidecar.end().await.check(0, &["stopped"]);
}

/// Agents with other files, which they may not even read of each other.
#[tokio::test]
async fn agents_with_files_of_their_own_do_not_need_each_other() {
    let Some((pod, [first, second])) = shared().await else { return };
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
