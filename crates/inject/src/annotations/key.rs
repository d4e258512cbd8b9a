//! Annotation keys as enums, so that a misspelt key in the code does not compile.

use std::fmt;

macro_rules! keys {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl $name {
            /// All variants, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The key in an annotation, without the prefix.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

keys! {
    /// A complete key. Each has a row in the registry.
    ExactKey {
        Inject = "inject",
        MutationMode = "mutation-mode",
        Pattern = "pattern",
        Containers = "containers",
        InitContainers = "init-containers",
        MountPath = "mount-path",
        VolumeSizeLimit = "volume-size-limit",
        Position = "position",
        StartGate = "start-gate",
        RefreshInterval = "refresh-interval",
        RefreshOnEvent = "refresh-on-event",
        ReloadSignal = "reload-signal",
        ReloadTarget = "reload-target",
        ReloadUrl = "reload-url",
        Url = "url",
        Role = "role",
        Audience = "audience",
        TokenExpirationSeconds = "token-expiration-seconds",
        ClientCredentialsSecret = "client-credentials-secret",
        ClientCredentialsIdKey = "client-credentials-id-key",
        ClientCredentialsSecretKey = "client-credentials-secret-key",
        CaConfigmap = "ca-configmap",
        CaConfigmapKey = "ca-configmap-key",
        CaTrust = "ca-trust",
        ScaikeyTrust = "scaikey-trust",
        FailOpen = "fail-open",
        FetchTimeout = "fetch-timeout",
        Image = "image",
        RunAsUser = "run-as-user",
        RunAsGroup = "run-as-group",
        RequestsCpu = "requests-cpu",
        RequestsMemory = "requests-memory",
        LimitsCpu = "limits-cpu",
        LimitsMemory = "limits-memory",
        LogLevel = "log-level",
        Restart = "restart",
        RestartSecrets = "restart-secrets",
        RestartClasses = "restart-classes",
        RestartMatch = "restart-match",
        RestartCanary = "restart-canary",
        RestartWindows = "restart-windows",
        RestartRelease = "restart-release",
        Status = "status",
        Receipt = "receipt",
        WorkloadMutationMode = "workload-mutation-mode",
        RestartedFor = "restarted-for",
    }
}

keys! {
    /// A key that is followed by the name of a file or variable. Each has a row in the registry. An
    /// option of a file also has to be added in places that no test and no compiler error reports:
    /// CONTRIBUTING.md lists them.
    NamedKey {
        InjectSecret = "inject-secret-",
        InjectDynamic = "inject-dynamic-",
        InjectEnv = "inject-env-",
        SecretFile = "secret-file-",
        SecretFormat = "secret-format-",
        SecretTemplate = "secret-template-",
        SecretMode = "secret-mode-",
        SecretEncoding = "secret-encoding-",
        SecretOptional = "secret-optional-",
    }
}

impl ExactKey {
    /// Whether the restart controller reads it. It changes no pod.
    pub const fn is_for_restarts(self) -> bool {
        matches!(
            self,
            Self::Restart
                | Self::RestartSecrets
                | Self::RestartClasses
                | Self::RestartMatch
                | Self::RestartCanary
                | Self::RestartWindows
                | Self::RestartRelease
        )
    }
}

impl NamedKey {
    /// An example of a name after the key, for documentation.
    pub(crate) const fn example_name(self) -> &'static str {
        match self {
            Self::InjectEnv => "DB_PASSWORD",
            // Only a field can have an encoding, and `db.json` is a whole secret in the other
            // examples.
            Self::SecretEncoding => "tls.p12",
            _ => "db.json",
        }
    }

    /// The placeholder for the name in the documentation.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::InjectEnv => "<VAR>",
            _ => "<name>",
        }
    }
}

/// The form of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A complete key.
    Exact(ExactKey),
    /// A key that is followed by the name of a file or variable.
    Named(NamedKey),
}

impl Key {
    /// Whether the restart controller reads it.
    pub const fn is_for_restarts(self) -> bool {
        matches!(self, Self::Exact(key) if key.is_for_restarts())
    }

    /// The name after a named key, empty for an exact one; `None` if `key` is another key.
    pub(crate) fn name_in(self, key: &str) -> Option<&str> {
        match self {
            Self::Exact(exact) => (exact.text() == key).then_some(""),
            Self::Named(named) => key.strip_prefix(named.text()).filter(|name| !name.is_empty()),
        }
    }

    /// The text of the key, without the name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Exact(key) => key.text(),
            Self::Named(key) => key.text(),
        }
    }

    /// The key with a placeholder for its name.
    pub fn display(self) -> String {
        match self {
            Self::Exact(key) => key.text().to_owned(),
            Self::Named(key) => format!("{key}{}", key.placeholder()),
        }
    }
}
