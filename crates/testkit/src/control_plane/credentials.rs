//! Certificates, keys and tokens of one control plane, and kubeconfigs with them.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use scaivault_certs::Authority;
use serde_json::{Value, json};

use super::{ControlPlaneError, program::Directory};

/// The first address of [`SERVICE_RANGE`], which is the API server's own Service.
const SERVICE_ADDRESS: &str = "10.96.0.1";
/// The range of Service addresses. They are not routed.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Longer than any test runs.
const LIFETIME: Duration = Duration::from_hours(24);

/// The users in the API server's token file, with their groups.
const USERS: [(&str, &str); 3] = [(ADMIN, "system:masters"), (CONTROLLER_MANAGER, ""), (SCHEDULER, "")];
pub(super) const ADMIN: &str = "admin";
pub(super) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
pub(super) const SCHEDULER: &str = "system:kube-scheduler";

/// The paths of the files.
pub(super) struct Credentials {
    pub(super) authority: PathBuf,
    pub(super) server_certificate: PathBuf,
    pub(super) server_key: PathBuf,
    /// A certificate that contains the public key.
    pub(super) service_account_certificate: PathBuf,
    pub(super) service_account_key: PathBuf,
    pub(super) tokens: PathBuf,
    admin_token: String,
}

impl Credentials {
    /// Creates everything, and a kubeconfig for each of [`USERS`].
    pub(super) fn make(
        directory: &Directory,
        server_url: &str,
        now: SystemTime,
    ) -> Result<Self, ControlPlaneError> {
        let authority = Authority::new("scaivault test control plane", now, LIFETIME)?;
        let names = [
            "127.0.0.1",
            "localhost",
            SERVICE_ADDRESS,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let server = authority.issue(&names.map(str::to_owned), now, LIFETIME)?;
        let service_accounts = authority.issue(&["service-accounts".to_owned()], now, LIFETIME)?;
        let authority = directory.write("ca.crt", authority.certificate_pem())?;
        let users = USERS.map(|(user, groups)| (user, groups, token()));
        for (user, _, token) in &users {
            let text = kubeconfig(server_url, &authority, &json!({"token": token}));
            directory.write(&kubeconfig_name(user), &text)?;
        }
        let lines = users.iter().map(|(user, groups, token)| format!("{token},{user},{user},\"{groups}\"\n"));
        let [(_, _, admin_token), ..] = &users;
        Ok(Self {
            authority,
            server_certificate: directory.write("server.crt", &server.certificate_pem())?,
            server_key: directory.write("server.key", &server.key_pem())?,
            service_account_certificate: directory
                .write("service-accounts.crt", &service_accounts.certificate_pem())?,
            service_account_key: directory.write("service-accounts.key", &service_accounts.key_pem())?,
            tokens: directory.write("tokens.csv", &lines.collect::<String>())?,
            admin_token: admin_token.clone(),
        })
    }

    /// A kubeconfig with this token.
    pub(super) fn with_token(&self, server_url: &str, token: &str) -> String {
        kubeconfig(server_url, &self.authority, &json!({"token": token}))
    }

    /// A kubeconfig for a user that need not exist: the administrator impersonates it.
    pub(super) fn impersonating(&self, server_url: &str, user: &str, groups: &[&str]) -> String {
        let user = json!({"token": self.admin_token, "as": user, "as-groups": groups});
        kubeconfig(server_url, &self.authority, &user)
    }
}

/// The kubeconfig of a user, relative to the control plane's directory.
pub(super) fn kubeconfig_name(user: &str) -> String {
    format!("kubeconfigs/{}", user.replace([':', '/'], "-"))
}

/// In JSON, which is valid YAML.
fn kubeconfig(server_url: &str, authority: &Path, user: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server_url, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    })
    .to_string()
}

/// It cannot be guessed within the few minutes for which a control plane on the loopback address
/// exists.
fn token() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_kubeconfigs_have_the_servers_tokens() {
        let directory = Directory::new("scaivault-credentials-").unwrap();
        let credentials = Credentials::make(&directory, "https://127.0.0.1:1", SystemTime::now()).unwrap();
        let tokens = fs::read_to_string(&credentials.tokens).unwrap();
        for (user, groups) in USERS {
            let text = fs::read_to_string(directory.path().join(kubeconfig_name(user))).unwrap();
            let kubeconfig: Value = serde_json::from_str(&text).unwrap();
            let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
            assert_eq!(token.len(), 32);
            assert!(tokens.contains(&format!("{token},{user},{user},\"{groups}\"")), "{user}: {tokens}");
        }
        assert_eq!(tokens.lines().count(), USERS.len());
    }
}
