//! One row a key.

use std::{borrow::Cow, str::FromStr};

use scaivault_contract::{Duration, RelativeFile, SecretRef, VariableName};

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value, Words},
    Entry, Group,
    Key::{Exact, Named},
    Layers,
};
use crate::annotations::{
    draft::{Draft, FileDraft, Setting},
    value::{self, LARGEST_ID, LogLevel, ValueKind},
};

/// The longest `<name>`: a key has at most 63 characters after the slash, and `secret-template-` takes 16.
const LONGEST_NAME: usize = 47;
/// The shortest life of a projected token (Kubernetes API validation).
const LEAST_TOKEN_SECONDS: u64 = 600;
/// The longest life of a projected token (Kubernetes API validation: 2^32).
const MOST_TOKEN_SECONDS: u64 = 1 << 32;
/// The longest first fetch: a pod that waits longer than an hour is better told so.
const MOST_FETCH_SECONDS: u64 = 3600;

const ID: ValueKind = ValueKind::Number { least: 0, most: LARGEST_ID };

/// Every annotation under `scaivault.scailabs.ai/`.
pub static REGISTRY: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Named("inject-secret-"),
        group: Group::Secrets,
        value: ValueKind::SecretRef,
        default: Nothing,
        layers: Layers::POD,
        doc: "Writes a secret, or one field of it, into the file `<name>` below the mount path. `@version` pins a version.",
        example: "environments/production/billing/database",
        set: |draft, entry| {
            let secret = parse(entry)?;
            let name = file_name(entry.name, draft.dynamic.contains_key(entry.name), "inject-dynamic-")?;
            draft.secrets.insert(name, secret);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("inject-dynamic-"),
        group: Group::Secrets,
        value: ValueKind::DynamicRef,
        default: Nothing,
        layers: Layers::POD,
        doc: "Issues dynamic credentials, writes them into the file `<name>` and keeps the lease alive for the pod's life. \
              The sidecar revokes the lease when the pod ends.",
        example: "engine=postgres-prod role=readonly ttl=2h",
        set: |draft, entry| {
            let dynamic = parse(entry)?;
            let name = file_name(entry.name, draft.secrets.contains_key(entry.name), "inject-secret-")?;
            draft.dynamic.insert(name, dynamic);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("inject-env-"),
        group: Group::Secrets,
        value: ValueKind::FieldRef,
        default: Nothing,
        layers: Layers::POD,
        doc: "Sets the variable `<VAR>` in the containers by `fileKeyRef`: the value stands in no API object. \
              Needs Kubernetes 1.35 on every node. Read when a container starts, not refreshed in it.",
        example: "environments/production/billing/stripe#secret_key",
        set: |draft, entry| {
            let variable: VariableName = entry
                .name
                .parse()
                .map_err(|_| Cow::Owned(format!("{} cannot name a variable", entry.name)))?;
            let secret: SecretRef = parse(entry)?;
            if secret.field.is_none() {
                return Err("a variable needs a #field".into());
            }
            draft.variables.insert(variable, secret);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-file-"),
        group: Group::Files,
        value: ValueKind::RelativeFile,
        default: Words("`<name>`"),
        layers: Layers::POD,
        doc: "Where the file stands below the mount path, for names that an annotation key cannot hold.",
        example: "config/db.json",
        set: |draft, entry| {
            file(draft, entry).file = Some(parse::<RelativeFile>(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-format-"),
        group: Group::Files,
        value: ValueKind::Format,
        default: Words("`json`; `raw` with a `#field`"),
        layers: Layers::POD,
        doc: "How the file is written: the `data` object as JSON, one field as it is, or a dotenv, YAML or Java \
              properties file of all fields.",
        example: "env",
        set: |draft, entry| {
            file(draft, entry).format = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-template-"),
        group: Group::Files,
        value: ValueKind::Template,
        default: Nothing,
        layers: Layers::POD,
        doc: "Renders the file by a minijinja template over `data`, `version` and `path`. Excludes `secret-format-<name>`.",
        example: "postgres://{{ data.username }}:{{ data.password }}@db:5432/billing",
        set: |draft, entry| {
            file(draft, entry).template = Some(value::template(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Named("secret-mode-"),
        group: Group::Files,
        value: ValueKind::FileMode,
        default: Words("`0444`; `0400` when the agent and every reader share one uid"),
        layers: Layers::POD,
        doc: "The file's mode, octal. The file belongs to the agent's user.",
        example: "0440",
        set: |draft, entry| {
            file(draft, entry).mode = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("inject"),
        group: Group::Mode,
        value: ValueKind::Bool,
        default: Words("`true` as soon as a secret is named"),
        layers: Layers::POD,
        doc: "`false` leaves the pod alone, the same as `mutation-mode: ignore`.",
        example: "true",
        set: |draft, entry| {
            draft.inject = Some(value::boolean(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("mutation-mode"),
        group: Group::Mode,
        value: ValueKind::Choice(&["ignore", "ignore-and-detach"]),
        default: Nothing,
        layers: Layers::POD_NAMESPACE,
        doc: "`ignore`: nothing is added, what the manifest carries stays. `ignore-and-detach`: what was injected is taken \
              out as well. Of pod, workload and namespace the strictest wins.",
        example: "ignore",
        // Read before any draft is made (see `mode`); here it is only checked.
        set: |_, entry| match entry.value {
            "ignore" | "ignore-and-detach" => Ok(()),
            _ => Err("not a mutation mode".into()),
        },
    },
    AnnotationSpec {
        key: Exact("pattern"),
        group: Group::Delivery,
        value: ValueKind::Choice(&["init", "sidecar"]),
        default: Words("`sidecar` if the pod asks for dynamic credentials, refresh or reload, else `init`"),
        layers: Layers::POD,
        doc: "`init`: fetched once by an init container. `sidecar`: fetched and kept fresh by a native sidecar.",
        example: "sidecar",
        set: |draft, entry| {
            draft.pattern = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("containers"),
        group: Group::Delivery,
        value: ValueKind::Selection,
        default: Value("*"),
        layers: Layers::POD,
        doc: "Which app containers get the mount and the variables. `*` leaves the proxies of known service meshes out.",
        example: "app, worker",
        set: |draft, entry| {
            draft.containers = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("init-containers"),
        group: Group::Delivery,
        value: ValueKind::Selection,
        default: Value("*"),
        layers: Layers::POD,
        doc: "Which init containers get the mount and the variables. `*` means those that start after the agent, without \
              the proxies of known service meshes; a name always may.",
        example: "migrate",
        set: |draft, entry| {
            draft.init_containers = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("mount-path"),
        group: Group::Delivery,
        value: ValueKind::MountPath,
        default: Value("/run/secrets"),
        layers: Layers::ANY,
        doc: "The directory in the containers, mounted read-only.",
        example: "/run/secrets",
        set: |draft, entry| {
            draft.mount_path = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("volume-size-limit"),
        group: Group::Delivery,
        value: ValueKind::Quantity,
        default: Value("8Mi"),
        layers: Layers::ANY,
        doc: "Size of the memory-backed volume. Two generations exist during a refresh, so data may take half of it; what \
              is written counts in the agent's memory.",
        example: "16Mi",
        set: |draft, entry| {
            draft.volume_size_limit = quantity(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("position"),
        group: Group::Delivery,
        value: ValueKind::Choice(&["first", "last"]),
        default: Value("first"),
        layers: Layers::ANY,
        doc: "Where the agent stands among the init containers. `first` is behind the proxies of known service meshes that \
              are native sidecars: without them there is no network.",
        example: "last",
        set: |draft, entry| {
            draft.position = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("start-gate"),
        group: Group::Delivery,
        value: ValueKind::Choice(&["hook", "probe"]),
        default: Value("hook"),
        layers: Layers::ANY,
        doc: "What holds the app back until the sidecar has fetched. `hook`: a `postStart` hook, about 0.1 s of pod start; \
              a kubelet that restarts while it runs may start the app early. `probe`: a `startupProbe`, about 1.1 s, \
              without that hole.",
        example: "probe",
        set: |draft, entry| {
            draft.start_gate = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("refresh-interval"),
        group: Group::Refresh,
        value: ValueKind::Duration,
        default: Value("5m"),
        layers: Layers::ANY,
        doc: "How often the sidecar asks for new versions. On a pod it selects the pattern `sidecar`.",
        example: "5m",
        set: |draft, entry| {
            draft.refresh_interval = Setting { value: parse(entry)?, layer: entry.layer };
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("refresh-on-event"),
        group: Group::Refresh,
        value: ValueKind::Bool,
        default: Value("false"),
        layers: Layers::ANY,
        doc: "The sidecar subscribes to rotations and updates and fetches when one arrives. On a pod it selects the pattern \
              `sidecar`.",
        example: "true",
        set: |draft, entry| {
            draft.refresh_on_event = Setting { value: value::boolean(entry.value)?, layer: entry.layer };
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("reload-signal"),
        group: Group::Refresh,
        value: ValueKind::Signal,
        default: Nothing,
        layers: Layers::POD,
        doc: "The signal sent to `reload-target` once per change. Selects the pattern `sidecar` and sets \
              `shareProcessNamespace`.",
        example: "SIGHUP",
        set: |draft, entry| {
            draft.reload_signal = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("reload-target"),
        group: Group::Refresh,
        value: ValueKind::ReloadTarget,
        default: Nothing,
        layers: Layers::POD,
        doc: "The process that gets `reload-signal`, with its container where several read the secrets.",
        example: "app/nginx",
        set: |draft, entry| {
            draft.reload_target = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("url"),
        group: Group::Identity,
        value: ValueKind::Url,
        default: Value("https://scaivault.scailabs.ai"),
        layers: Layers::ANY,
        doc: "ScaiVault's address. From pods and namespaces only what the injector's `allowedUrls` cover.",
        example: "https://scaivault.scailabs.ai",
        set: |draft, entry| {
            draft.url = Setting { value: parse(entry)?, layer: entry.layer };
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("role"),
        group: Group::Identity,
        value: ValueKind::Line,
        default: Words("the service account's annotation `scaikey.scailabs.ai/role`"),
        layers: Layers::ANY,
        doc: "The ScaiKey identity to take when the token is exchanged.",
        example: "sa:billing-prod",
        set: |draft, entry| {
            draft.role = Some(value::line(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("audience"),
        group: Group::Identity,
        value: ValueKind::Line,
        default: Value("scaivault"),
        layers: Layers::ANY,
        doc: "The audience of the projected service-account token.",
        example: "scaivault",
        set: |draft, entry| {
            draft.audience = value::line(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("token-expiration-seconds"),
        group: Group::Identity,
        value: ValueKind::Number { least: LEAST_TOKEN_SECONDS, most: MOST_TOKEN_SECONDS },
        default: Value("3600"),
        layers: Layers::ANY,
        doc: "Life of the projected token, in seconds. The kubelet renews it.",
        example: "3600",
        set: |draft, entry| {
            let seconds: i64 = entry.value.parse().map_err(|_| "not a number")?;
            if !u64::try_from(seconds).is_ok_and(|s| (LEAST_TOKEN_SECONDS..=MOST_TOKEN_SECONDS).contains(&s))
            {
                return Err("out of bounds".into());
            }
            draft.token_expiration_seconds = seconds;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("client-credentials-secret"),
        group: Group::Identity,
        value: ValueKind::ObjectName,
        default: Nothing,
        layers: Layers::ANY,
        doc: "A Secret of the pod's namespace with `client_id` and `client_secret`: the fallback where ScaiKey does not \
              trust the cluster's tokens. Replaces the projected token.",
        example: "billing-scaikey",
        set: |draft, entry| {
            draft.client_credentials_secret = Some(value::object_name(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("ca-configmap"),
        group: Group::Identity,
        value: ValueKind::ObjectName,
        default: Nothing,
        layers: Layers::ANY,
        doc: "A ConfigMap of the pod's namespace whose `ca.crt` signs ScaiVault's certificate.",
        example: "scaivault-ca",
        set: |draft, entry| {
            draft.ca_configmap = Some(value::object_name(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("fail-open"),
        group: Group::Failure,
        value: ValueKind::Bool,
        default: Value("false"),
        layers: Layers::ANY,
        doc: "`true` starts the app with what could be fetched, whatever network or server say. The app needs a way to do \
              without.",
        example: "true",
        set: |draft, entry| {
            draft.fail_open = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("fetch-timeout"),
        group: Group::Failure,
        value: ValueKind::Duration,
        default: Value("60s"),
        layers: Layers::ANY,
        doc: "How long the first fetch may take, retries included.",
        example: "2m",
        set: |draft, entry| {
            let timeout: Duration = parse(entry)?;
            if timeout.as_secs() > MOST_FETCH_SECONDS {
                return Err("longer than 1h".into());
            }
            draft.fetch_timeout = timeout;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("image"),
        group: Group::Container,
        value: ValueKind::Image,
        default: Words("the injector's `initImage` or `sidecarImage`"),
        layers: Layers::POD,
        doc: "The agent's image, for both containers. Only what the injector's `allowedImages` cover.",
        example: "scailabs/scaivault-sidecar:1.0",
        set: |draft, entry| {
            draft.image = Some(Setting { value: value::image(entry.value)?, layer: entry.layer });
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("run-as-user"),
        group: Group::Container,
        value: ValueKind::RunAsUser,
        default: Words(
            "the reload target's uid; else the one non-zero uid that all containers share; else 65532",
        ),
        layers: Layers::ANY,
        doc: "The agent's uid. `unset` leaves it to the platform, as OpenShift's SCCs want.",
        example: "10001",
        set: |draft, entry| {
            draft.run_as_user = Some(Setting { value: parse(entry)?, layer: entry.layer });
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("run-as-group"),
        group: Group::Container,
        value: ID,
        default: Words("the gid that belongs to the uid above"),
        layers: Layers::ANY,
        doc: "The agent's gid.",
        example: "10001",
        set: |draft, entry| {
            draft.run_as_group = Some(value::id(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("requests-cpu"),
        group: Group::Container,
        value: ValueKind::Quantity,
        default: Words("`10m`; in a Guaranteed pod the limit"),
        layers: Layers::ANY,
        doc: "CPU the scheduler sets aside for the agent.",
        example: "10m",
        set: |draft, entry| {
            draft.requests_cpu = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("requests-memory"),
        group: Group::Container,
        value: ValueKind::Quantity,
        default: Words("`16Mi`; in a Guaranteed pod the limit"),
        layers: Layers::ANY,
        doc: "Memory the scheduler sets aside for the agent.",
        example: "16Mi",
        set: |draft, entry| {
            draft.requests_memory = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("limits-cpu"),
        group: Group::Container,
        value: ValueKind::Quantity,
        default: Words("none; `50m` in a Guaranteed pod"),
        layers: Layers::ANY,
        doc: "CPU the agent may use.",
        example: "100m",
        set: |draft, entry| {
            draft.limits_cpu = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("limits-memory"),
        group: Group::Container,
        value: ValueKind::Quantity,
        default: Words("`volume-size-limit` + 24Mi"),
        layers: Layers::ANY,
        doc: "Memory the agent may use, its files included: at least `volume-size-limit` + 16Mi.",
        example: "64Mi",
        set: |draft, entry| {
            draft.limits_memory = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("log-level"),
        group: Group::Container,
        value: ValueKind::Choice(LogLevel::ALL),
        default: Value("info"),
        layers: Layers::ANY,
        doc: "How much the agent logs. No level logs a secret.",
        example: "debug",
        set: |draft, entry| {
            draft.log_level = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("status"),
        group: Group::Written,
        value: ValueKind::Written,
        default: Nothing,
        layers: Layers::WRITTEN,
        doc: "`injected`, or `skipped/<reason>` where a pod with problems was let through.",
        example: "injected",
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact("receipt"),
        group: Group::Written,
        value: ValueKind::Written,
        default: Nothing,
        layers: Layers::WRITTEN,
        doc: "What cannot be seen in the pod otherwise and detaching has to know.",
        example: "{\"v\":1}",
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact("workload-mutation-mode"),
        group: Group::Written,
        value: ValueKind::Written,
        default: Nothing,
        layers: Layers::WRITTEN,
        doc: "The `mutation-mode` of the workload's own metadata, carried to its pods.",
        example: "ignore",
        set: |_, _| Ok(()),
    },
];

/// The errors of the shared types end with what is allowed; here the kind of the value says that.
fn parse<T: FromStr<Err: ToString>>(entry: &Entry<'_>) -> Result<T, Cow<'static, str>> {
    entry.value.parse().map_err(|error: T::Err| {
        let text = error.to_string();
        Cow::Owned(text.split("; allowed: ").next().unwrap_or_default().to_owned())
    })
}

fn quantity(entry: &Entry<'_>) -> Result<crate::quantity::Quantity, Cow<'static, str>> {
    let quantity: crate::quantity::Quantity = parse(entry)?;
    if quantity.is_positive() { Ok(quantity) } else { Err("nothing or less than nothing".into()) }
}

fn file<'a>(draft: &'a mut Draft, entry: &Entry<'_>) -> &'a mut FileDraft {
    draft.files.entry(entry.name.to_owned()).or_default()
}

fn file_name(name: &str, taken: bool, by: &str) -> Result<String, Cow<'static, str>> {
    if name.len() > LONGEST_NAME {
        return Err(format!("the name {name} has more than {LONGEST_NAME} characters").into());
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("the name in the key has characters that an annotation key cannot hold".into());
    }
    if taken {
        return Err(format!("the name {name} also stands in {by}{name}").into());
    }
    Ok(name.to_owned())
}
