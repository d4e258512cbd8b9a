//! A ScaiVault with the published rate limits.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, sync::Arc};

use scaivault_devserver::{DevServer, Handle, Issuer, Route, Seed, Settings};
use serde_json::Map;

/// The path of a secret.
pub(crate) fn path(number: usize) -> String {
    format!("environments/production/team-{}/database-{number}", number / 200)
}

pub(crate) struct Vault {
    server: DevServer,
    token_file: String,
}

impl Vault {
    /// Starts it with this number of secrets. The controller's token is a file in `directory`.
    pub(crate) async fn start(secrets: usize, directory: &Path) -> Self {
        let mut seed = String::from(
            r#"
policies:
  restarter: [{path_pattern: "environments/**", permissions: [list]}]
identities:
  - {id: "sa:restarter", service_accounts: [scaivault-system/restarter], policies: [restarter]}
secrets:
"#,
        );
        for number in 0..secrets {
            writeln!(seed, "  {}: {{data: {{password: first}}}}", path(number)).unwrap();
        }
        let issuer = Arc::new(Issuer::generate().unwrap());
        let server = DevServer::start(Settings::for_tests(Seed::new(&seed).unwrap(), &issuer)).await.unwrap();
        let token = issuer.mint("scaivault-system", "restarter", "scaivault", jiff::Timestamp::now(), 36_000);
        let token_file = directory.join("token");
        fs::write(&token_file, token.unwrap()).unwrap();
        Self { server, token_file: token_file.display().to_string() }
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        vec![format!("--url={}", self.server.url()), format!("--token-file={}", self.token_file)]
    }

    /// Requests since the start.
    pub(crate) fn requests(&self) -> BTreeMap<&'static str, usize> {
        let handle: Handle = self.server.handle();
        let sum = |routes: &[Route]| -> usize {
            routes.iter().map(|route| usize::try_from(handle.requests(*route)).unwrap()).sum()
        };
        let others = [
            Route::Exchange,
            Route::Subscribe,
            Route::Acknowledge,
            Route::ChangeSubscription,
            Route::Unsubscribe,
        ];
        [("versions", sum(&[Route::ReadVersions])), ("polls", sum(&[Route::Poll])), ("others", sum(&others))]
            .into()
    }

    pub(crate) fn rotate(&self, number: usize) {
        self.server.handle().rotate(&path(number).parse().unwrap(), Map::new());
    }
}
