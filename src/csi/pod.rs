//! A pod that mounts volumes of the driver.

use scaivault_contract::{Excerpt, FileMode};
use scaivault_csi_class::{DRIVER, KUBELET_PREFIX, Object as ClassObject, VOLUME_ATTRIBUTES};
use scaivault_usage::{CsiVolume, Mount, csi_volumes};
use serde_json::{Map, Value};

use super::{
    Inputs, Lookup,
    class::{self, Class},
    finding::{Code, Finding},
    mounts, secret_objects,
};
use crate::{apply::escape, object::Object};

/// A pod (template), its namespace and its injected form.
pub(super) struct Pod<'a> {
    pub(super) namespace: &'a str,
    pub(super) value: &'a Value,
    /// After injection.
    pub(super) injected: &'a Value,
}

/// The findings about the driver's volumes in the pod. Pointers are relative to the pod.
pub(super) fn check(pod: &Pod<'_>, inputs: &Inputs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut checked = Vec::new();
    for volume in csi_volumes(pod.value) {
        if volume.driver != DRIVER {
            findings.extend(other_driver(&volume));
            continue;
        }
        let lookup = volume.class.as_deref().map(|name| inputs.class(pod.namespace, name));
        // The parameters of another provider are unknown.
        if matches!(&lookup, Some(Lookup::Found(class)) if !class.is_ours) {
            continue;
        }
        check_volume(pod.value, &volume, lookup, &mut findings);
        checked.push(volume);
    }
    if checked.is_empty() {
        return findings;
    }
    findings.extend(windows(pod.value));
    let names: Vec<_> = checked.iter().map(|volume| volume.volume.as_str()).collect();
    let account = Object::service_account(pod.value);
    let own = pod.value.pointer("/spec/automountServiceAccountToken").and_then(Value::as_bool);
    let has_token = own.or_else(|| inputs.automount(pod.namespace, account)).unwrap_or(true);
    let in_pod = mounts::Pod { value: pod.injected, csi: &names, has_token };
    findings.extend(mounts::check(&in_pod, |container, path| {
        let all = checked.iter().flat_map(|volume| &volume.mounts);
        let mut found = all.filter(|mount| mount.container.name == container && mount.path == path);
        found.next().map_or("/spec/volumes".to_owned(), |mount| format!("{}/mountPath", mount.pointer))
    }));
    findings
}

/// A volume that refers to a class but uses another driver.
fn other_driver(volume: &CsiVolume) -> Option<Finding> {
    volume.class.as_ref()?;
    Some(Finding::problem(
        Code::Volume,
        format!("{}/csi/driver", volume.pointer),
        format!(
            "{} is not the driver of a SecretProviderClass; expected {DRIVER}",
            Excerpt::new(&volume.driver)
        ),
        format!("write driver: {DRIVER}"),
    ))
}

fn check_volume(pod: &Value, volume: &CsiVolume, lookup: Option<Lookup<'_>>, findings: &mut Vec<Finding>) {
    let pointer = format!("{}/csi", volume.pointer);
    let csi = pod.pointer(&pointer).unwrap_or(&Value::Null);
    if csi["readOnly"] != true {
        findings.push(Finding::problem(
            Code::ReadOnly,
            format!("{pointer}/readOnly"),
            "the driver only mounts read-only volumes, so the pod does not start (`Readonly is \
             not true in request`)",
            "write readOnly: true",
        ));
    }
    let class_pointer = format!("{pointer}/volumeAttributes/secretProviderClass");
    let class = match lookup {
        None => {
            let message = "the volume names no class";
            let fix = "write secretProviderClass: the name of a SecretProviderClass of the pod's namespace";
            findings.push(Finding::problem(Code::Volume, class_pointer, message, fix));
            None
        }
        Some(Lookup::Found(class)) => Some(class),
        Some(Lookup::Elsewhere(namespace)) => {
            findings.push(Finding::warning(
                Code::UnknownClass,
                class_pointer,
                format!(
                    "the class is in the namespace {}; a pod can only use one of its own",
                    Excerpt::new(namespace)
                ),
                "create the class in the pod's namespace",
            ));
            None
        }
        Some(Lookup::Unknown) => {
            findings.push(Finding::note(
                Code::UnknownClass,
                class_pointer,
                "the class is not among the manifests, so its parameters are not checked",
                "pass its manifest to `check` as well",
            ));
            None
        }
    };
    let overrides = class.and_then(|class| check_attributes(csi, &pointer, class, findings));
    let objects = overrides.as_deref().or_else(|| class?.objects.as_deref());
    if volume.mounts.is_empty() {
        findings.push(Finding::warning(
            Code::Volume,
            volume.pointer.clone(),
            "no container mounts the volume, so the kubelet does not ask the driver for it: no file and no native Secret is \
             written",
            "mount it in a container",
        ));
    }
    for mount in &volume.mounts {
        check_mount(pod, mount, objects, findings);
    }
}

/// Checks the attributes of the volume, which override parameters of its class. Returns the
/// objects, if they are overridden.
fn check_attributes(
    csi: &Value,
    pointer: &str,
    class: &Class,
    findings: &mut Vec<Finding>,
) -> Option<Vec<ClassObject>> {
    let empty = Map::new();
    let attributes = csi.get("volumeAttributes").and_then(Value::as_object).unwrap_or(&empty);
    let pointer = format!("{pointer}/volumeAttributes");
    for (name, value) in attributes {
        if name.starts_with(KUBELET_PREFIX) {
            findings.push(Finding::warning(
                Code::Parameter,
                format!("{pointer}/{}", escape(name)),
                "the kubelet sets this attribute, so the value here has no effect",
                "remove it",
            ));
        } else if !VOLUME_ATTRIBUTES.contains(&name.as_str()) {
            class::check_value(name, value, &pointer, findings);
        }
    }
    let text = attributes.get("objects")?.as_str()?;
    let pointer = format!("{pointer}/objects");
    let objects = class::objects(Some(text), &pointer, findings)?;
    let named = class
        .secret_files
        .iter()
        .filter_map(|file| secret_objects::check_file(&file.secret, &file.object_name, &pointer, &objects));
    findings.extend(named);
    Some(objects)
}

/// Checks one mount of the volume. `objects` are those of its class, if they are known.
fn check_mount(pod: &Value, mount: &Mount, objects: Option<&[ClassObject]>, findings: &mut Vec<Finding>) {
    let written = pod.pointer(&mount.pointer).unwrap_or(&Value::Null);
    if written["readOnly"] == false {
        findings.push(Finding::warning(
            Code::ReadOnly,
            format!("{}/readOnly", mount.pointer),
            "the volume is read-only, and so is this mount",
            "write readOnly: true",
        ));
    }
    if let Some(sub_path) = &mount.sub_path {
        findings.push(check_sub_path(sub_path, written, &mount.pointer, objects));
    }
    for object in objects.into_iter().flatten() {
        findings.extend(unreadable(pod, mount, object));
    }
}

fn check_sub_path(sub_path: &str, mount: &Value, pointer: &str, objects: Option<&[ClassObject]>) -> Finding {
    let is_literal = mount.get("subPath").is_some();
    let field = if is_literal { "subPath" } else { "subPathExpr" };
    let pointer = format!("{pointer}/{field}");
    let path = sub_path.trim_end_matches('/');
    let is_written = |object: &ClassObject| {
        let rest = object.file.as_str().strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(objects) = objects.filter(|objects| is_literal && !objects.iter().any(is_written)) {
        let rule = "the container gets an empty directory";
        return secret_objects::missing_file(sub_path, &pointer, objects, rule);
    }
    Finding::warning(
        Code::SubPath,
        pointer,
        "the container keeps the files from its start, because a subPath is never updated",
        "mount the whole volume in a directory of its own, without subPath",
    )
}

/// A file that is owned by root and that the container's user cannot read.
fn unreadable(pod: &Value, mount: &Mount, object: &ClassObject) -> Option<Finding> {
    const READ_BY_OTHERS: u16 = 0o004;
    const READ_BY_GROUP: u16 = 0o040;
    let container = pod.pointer(mount.pointer.rsplitn(3, '/').last()?)?;
    let setting = |name: &str| {
        let field =
            |value: &Value| value.get("securityContext")?.get(name).filter(|value| !value.is_null()).cloned();
        field(container).or_else(|| field(&pod["spec"]))
    };
    let user = setting("runAsUser").and_then(|value| value.as_i64());
    let is_root = user.map_or(setting("runAsNonRoot") != Some(Value::Bool(true)), |user| user == 0);
    let is_in_group = setting("runAsGroup").and_then(|value| value.as_i64()).is_none_or(|group| group == 0)
        || setting("supplementalGroups").is_some_and(|groups| {
            groups.as_array().is_some_and(|groups| groups.iter().any(|group| *group == 0))
        });
    let bits = object.mode.bits();
    if is_root || bits & READ_BY_OTHERS != 0 || bits & READ_BY_GROUP != 0 && is_in_group {
        return None;
    }
    let as_whom = user.map_or("a user other than root".to_owned(), |user| format!("user {user}"));
    Some(Finding::problem(
        Code::UnreadableFile,
        mount.pointer.clone(),
        format!(
            "the file {} has the mode {} and belongs to root, and the container {} runs as {as_whom}, who cannot read it",
            object.file, object.mode, mount.container.name
        ),
        format!("leave out `mode` of the object, for {}", FileMode::DEFAULT),
    ))
}

fn windows(pod: &Value) -> Option<Finding> {
    let places = ["/spec/os/name", "/spec/nodeSelector/kubernetes.io~1os"];
    let pointer = places.into_iter().find(|place| pod.pointer(place) == Some(&Value::from("windows")))?;
    let message = "the provider has no image for Windows nodes, and the pod does not start there";
    let fix = "run the pod on Linux nodes, or take the volume out";
    Some(Finding::problem(Code::Windows, pointer, message, fix))
}
