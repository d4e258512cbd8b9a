//! Objects built to be as expensive as their size allows: one shape for each way in which work
//! could grow faster than a review.

use std::fmt::Write as _;

use crate::{PREFIX, SplitMix};

/// The object of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pod, created.
    Pod,
    /// A Deployment, updated.
    Deployment,
    /// An object of an unknown kind; updated if there is a previous version, else created.
    Custom,
}

/// An object of about the requested size.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What it is.
    pub kind: Kind,
    /// In JSON.
    pub object: String,
    /// The previous version of an updated object, in JSON.
    pub old_object: Option<String>,
}

/// Builds an object of about this many bytes.
pub type Shape = fn(usize) -> Hostile;

/// Every shape with its name.
pub const SHAPES: &[(&str, Shape)] = &[
    ("long unknown container", |bytes| {
        pod(&[("inject-secret-a", "a"), ("containers", &long(bytes / 2, 'a'))], &containers(1, bytes / 2), "")
    }),
    ("many unknown containers", |bytes| {
        let names = list((bytes / 2 / 60).min(100), |n| format!("{}{n}", long(55, 'a')), ",");
        pod(&[("inject-secret-a", "a"), ("containers", &names)], &containers(bytes / 2 / 80, 60), "")
    }),
    ("one container named again and again", |bytes| {
        let distinct = list(99, |n| format!("c{n}"), ",");
        pod(
            &[("inject-secret-a", "a"), ("containers", &format!("{distinct}{}", ",c98".repeat(bytes / 4)))],
            &containers(1, 1),
            "",
        )
    }),
    ("long container names of equal length", |bytes| {
        let each = bytes / 400;
        let names = list(99, |n| format!("{}{n:03}", long(each, 'c')), ",");
        pod(&[("inject-secret-a", "a"), ("containers", &names)], &containers(300, each), "")
    }),
    ("unknown annotations", |bytes| annotated(bytes, |n| (format!("inject-secert-{n}"), String::new()))),
    ("annotations that no name fits", |bytes| {
        annotated(bytes, |n| (format!("secret-mode-{n}"), "x".to_owned()))
    }),
    ("secrets", |bytes| annotated(bytes, |n| (format!("inject-secret-{n}"), "a/b#c".to_owned()))),
    ("labels", |bytes| {
        let labels = list(bytes / 24, |n| format!(r#""label-{n}":"{n}""#), ",");
        let pod = format!(
            r#"{{"metadata":{{"labels":{{{labels}}},"annotations":{{{}}}}},"spec":{{"containers":[{}]}}}}"#,
            annotations(&[("inject-secret-a".to_owned(), "apps/${label:label-1}".to_owned())]),
            containers(1, 1)
        );
        object(Kind::Pod, pod)
    }),
    ("templates", |bytes| annotated(bytes, |n| (format!("secret-template-{n}"), "{{ data.a }}".to_owned()))),
    ("long templates", |bytes| {
        annotated(bytes, |n| (format!("secret-template-{n}"), "{{ a }}{% if b %}c{% endif %} ".repeat(140)))
    }),
    ("options without a secret", |bytes| {
        annotated(bytes, |n| (format!("secret-optional-{n}"), "true".to_owned()))
    }),
    ("a list of secrets", |bytes| {
        pod(&[("inject-secret-a", &"a=b,".repeat(bytes / 4))], &containers(1, 1), "")
    }),
    ("variables for every container", |bytes| {
        let variables = (bytes / 100).min(99);
        let keys: Vec<_> = (0..variables).map(|n| (format!("inject-env-V{n}"), "a#b")).collect();
        let keys: Vec<_> = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        pod(&keys, &containers((bytes / 60).min(10_000 / (variables + 1)), 1), "")
    }),
    ("many variables", |bytes| {
        let variables = (bytes / 100).min(200);
        let keys: Vec<_> = (0..variables).map(|n| (format!("inject-env-V{n}"), "a#b")).collect();
        let keys: Vec<_> = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let env = list((bytes / 2 / 13).min(5_000), |_| r#"{"name":"W1"}"#.to_owned(), ",");
        let of_all = list(
            (bytes / 2 / env.len().max(1)).clamp(1, 10),
            |n| format!(r#"{{"name":"c{n}","env":[{env}]}}"#),
            ",",
        );
        pod(&keys, &of_all, "")
    }),
    ("variables that are set already", |bytes| in_containers(bytes, "env", r#"{"name":"V"}"#)),
    ("mounts in the way", |bytes| in_containers(bytes, "volumeMounts", r#"{"mountPath":"/run/secrets/a"}"#)),
    ("mounts of our volume", |bytes| in_containers(bytes, "volumeMounts", r#"{"name":"scaivault-secrets"}"#)),
    ("mounts around", |bytes| {
        in_containers(bytes, "volumeMounts", r#"{"mountPath":"/run","readOnly":true}"#)
    }),
    ("mounts of parts of a volume", |bytes| {
        let items = list((bytes / 3 / 13).min(2_000), |n| format!(r#"{{"path":"{n}/a"}}"#), ",");
        let mounts = list(
            (bytes / 2 / 60).min(4_500),
            |n| format!(r#"{{"name":"v","mountPath":"/run/secrets/{n}","subPath":"b{n}"}}"#),
            ",",
        );
        pod(
            &[("inject-secret-a", "a")],
            &format!(r#"{{"name":"a","volumeMounts":[{mounts}]}}"#),
            &format!(r#","volumes":[{{"name":"v","secret":{{"items":[{items}]}}}}]"#),
        )
    }),
    ("mounts deep below the mount path", |bytes| {
        let deep = "/a".repeat(400);
        let mounts = list(
            (bytes / 850).min(4_500),
            |n| format!(r#"{{"name":"v","mountPath":"/run/secrets{deep}/{n}"}}"#),
            ",",
        );
        pod(&[("inject-secret-a", "a")], &format!(r#"{{"name":"a","volumeMounts":[{mounts}]}}"#), "")
    }),
    ("files in deep directories", |bytes| {
        let deep = "a/".repeat(450);
        annotated(bytes.min(120 * 2_000), |n| {
            if n % 2 == 0 {
                (format!("inject-secret-{}", n / 2), "a".to_owned())
            } else {
                (format!("secret-file-{}", n / 2), format!("{deep}{n}"))
            }
        })
    }),
    ("templates of secrets", |bytes| {
        annotated(bytes.min(250 * 60), |n| {
            if n % 2 == 0 {
                (format!("inject-secret-{}", n / 2), "a".to_owned())
            } else {
                (format!("secret-template-{}", n / 2), "{{ dat.a | nofilter }}".to_owned())
            }
        })
    }),
    ("long templates of secrets", |bytes| {
        annotated(bytes.min(90_000), |n| {
            if n % 2 == 0 {
                (format!("inject-secret-{}", n / 2), "a".to_owned())
            } else {
                (format!("secret-template-{}", n / 2), "{{ a }}{% if b %}c{% endif %} ".repeat(140))
            }
        })
    }),
    ("a long container name in the receipt", |bytes| {
        let name = long(bytes, 'c');
        pod(&[("inject-secret-a", "a")], &format!(r#"{{"name":"{name}","volumeMounts":null}}"#), "")
    }),
    ("many variables in many containers", |bytes| {
        let keys: Vec<_> = (0..250.min(bytes / 50)).map(|n| (format!("inject-env-V{n}"), "a#b")).collect();
        let keys: Vec<_> = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        pod(&keys, &containers(19, 1), "")
    }),
    ("an injection in many containers", |bytes| injected(&containers((bytes / 70).min(499), 40), "{}", &[])),
    ("an injection and long names", |bytes| injected(&containers(400, bytes / 400), "{}", &[])),
    ("a receipt of many lists", |bytes| {
        let lists = list(bytes / 12, |n| format!(r#"\"{n:07}\""#), ",");
        injected(
            &containers(1, 1),
            &format!(r#"{{\"v\":1,\"null\":[{lists}]}}"#),
            &[("mutation-mode", "ignore-and-detach")],
        )
    }),
    ("a receipt that opens lists", |bytes| injected(&containers(1, 1), &"[".repeat(bytes), &[])),
    ("nested lists", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &containers(1, 1),
            &format!(r#","x":{}{}"#, "[".repeat(bytes / 2), "]".repeat(bytes / 2)),
        )
    }),
    ("nested lists where an object is expected", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &containers(1, 1),
            &format!(r#","volumes":{}{}"#, "[".repeat(bytes / 2), "]".repeat(bytes / 2)),
        )
    }),
    ("small members", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &containers(1, 1),
            &format!(r#","x":{{{}}}"#, list(bytes / 12, |n| format!(r#""{n}":0"#), ",")),
        )
    }),
    ("small items", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &containers(1, 1),
            &format!(r#","x":[{}]"#, list(bytes / 2, |_| "0".to_owned(), ",")),
        )
    }),
    ("empty containers", |bytes| {
        pod(&[("inject-secret-a", "a")], &list((bytes / 3).min(1_000), |_| "{}".to_owned(), ","), "")
    }),
    ("empty volumes", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &containers(1, 1),
            &format!(r#","volumes":[{}]"#, list((bytes / 3).min(2_000), |_| "{}".to_owned(), ",")),
        )
    }),
    ("escapes", |bytes| {
        pod(&[("inject-secret-a", "a"), ("role", &"\\u00e4".repeat(bytes / 6))], &containers(1, 1), "")
    }),
    ("long numbers", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &format!(r#"{{"name":"a","resources":{{"limits":{{"cpu":0.{}}}}}}}"#, "3".repeat(bytes)),
            "",
        )
    }),
    ("a long text for a number", |bytes| {
        pod(
            &[("inject-secret-a", "a")],
            &format!(r#"{{"name":"a","securityContext":{{"runAsUser":"{}"}}}}"#, "3".repeat(bytes)),
            "",
        )
    }),
    ("owners", |bytes| {
        let owners = list(bytes / 24, |_| r#"{"kind":"a","name":"b"}"#.to_owned(), ",");
        object(
            Kind::Pod,
            format!(
                r#"{{"metadata":{{"ownerReferences":[{owners}],"annotations":{{"{PREFIX}inject-secret-a":"a"}}}},"spec":{{"containers":[]}}}}"#
            ),
        )
    }),
    ("annotations of a frozen workload", |bytes| {
        let keys = |name: &str| {
            annotations(&(0..bytes / 90).map(|n| (format!("{name}{n}"), String::new())).collect::<Vec<_>>())
        };
        workload(&[("mutation-mode", "ignore")], &keys("inject-secret-"), Some(&keys("secret-mode-")))
    }),
    ("annotations of the workload itself", |bytes| {
        let own: Vec<_> = (0..bytes / 50).map(|n| format!("inject-secret-{n}")).collect();
        let own: Vec<_> = own.iter().map(|key| (key.as_str(), "a")).collect();
        workload(&own, "", None)
    }),
    ("one annotation again and again", |bytes| {
        let again = list(bytes / 45, |_| format!(r#""{PREFIX}inject-secret-a":"b""#), ",");
        object(
            Kind::Pod,
            format!(
                r#"{{"metadata":{{"annotations":{{{again}}}}},"spec":{{"containers":[{}]}}}}"#,
                containers(1, 1)
            ),
        )
    }),
    ("pod templates below a long key", |bytes| {
        let templates = list(64, |_| template("{}", 1, 1), ",");
        custom(&format!(r#""{}":[{templates}]"#, long(bytes, 'k')), None)
    }),
    ("pod templates below keys of equal beginning", |bytes| {
        // In the previous version, each is at the position that is searched last.
        let key = long((bytes / 2 / 64).min(1_000), 'k');
        let member = |n| format!(r#""{key}{n:04}":{}"#, template("{}", 1, 1));
        let count = (bytes / 2 / key.len().max(1)).clamp(1, 20_000);
        custom(&list(count, member, ","), Some(&list(count, |n| member(count - 1 - n), ",")))
    }),
    ("pod templates inside pod templates", |bytes| {
        let key = long(bytes.min(900), 'k');
        let inner = list(64, |_| template("{}", 1, 1), ",");
        let outer = format!(r#"{{"spec":{{"containers":[{{"name":"a"}}],"x":[{inner}]}}}}"#);
        custom(&format!(r#""{key}":[{}]"#, list((bytes / outer.len()).max(1), |_| outer.clone(), ",")), None)
    }),
    ("a pod template again and again", |bytes| {
        let member = |n| format!(r#""a":{}"#, template("{}", n, 60));
        custom(&list(64, |_| member(bytes / 2 / 64 / 80), ","), Some(&member(bytes / 2 / 80)))
    }),
    ("pod templates with misspelt keys", |bytes| {
        let keys: Vec<_> = (0..20).map(|n| (format!("inject-secert-{n}"), String::new())).collect();
        let keys = format!(r#"{{"{PREFIX}inject-secret-a":"a",{}}}"#, annotations(&keys));
        templates(bytes, &template(&keys, 1, 1))
    }),
    ("pod templates with unknown containers", |bytes| {
        let names = list(20, |n| format!("{}{n}", long(55, 'a')), ",");
        let keys = [("inject-secret-a".to_owned(), "a".to_owned()), ("containers".to_owned(), names)];
        templates(bytes, &template(&format!("{{{}}}", annotations(&keys)), 64, 60))
    }),
    ("pod templates with an unknown container each", |bytes| {
        let keys = [
            ("inject-secret-a".to_owned(), "a".to_owned()),
            ("containers".to_owned(), format!("{}1", long(55, 'a'))),
        ];
        templates(bytes, &template(&format!("{{{}}}", annotations(&keys)), 64, 60))
    }),
    ("pod templates with variables for every container", |bytes| {
        let keys: Vec<_> = (0..20).map(|n| (format!("inject-env-V{n}"), "a#b".to_owned())).collect();
        templates(bytes, &template(&format!("{{{}}}", annotations(&keys)), 240, 1))
    }),
    ("spaces", |bytes| {
        pod(&[("inject-secret-a", "a")], &format!("{}{}", containers(1, 1), " ".repeat(bytes)), "")
    }),
];

impl Hostile {
    /// The review of the object, and the path to which it is posted.
    pub fn review(&self) -> (String, &'static str) {
        let (group, kind, operation, path) = match self.kind {
            Kind::Pod => ("", "Pod", "CREATE", "/mutate"),
            Kind::Deployment => ("apps", "Deployment", "UPDATE", "/mode"),
            Kind::Custom if self.old_object.is_some() => ("example.com", "Tasks", "UPDATE", "/validate"),
            Kind::Custom => ("example.com", "Tasks", "CREATE", "/validate"),
        };
        let old = self.old_object.as_deref().unwrap_or("null");
        let text = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u-1","kind":{{"group":"{group}","version":"v1","kind":"{kind}"}},"namespace":"shop","operation":"{operation}","object":{},"oldObject":{old}}}}}"#,
            self.object
        );
        (text, path)
    }
}

/// A review of a random shape. The size is logarithmically distributed up to `bytes`.
pub fn random_review(random: &mut SplitMix, bytes: usize) -> (String, &'static str) {
    let (_, shape) = SHAPES[random.below(SHAPES.len())];
    let halvings = random.below(14);
    let size = (bytes >> halvings).max(1) / 2 + random.below((bytes >> halvings).max(2) / 2);
    let (mut text, path) = shape(size).review();
    if random.below(20) == 0 {
        // Truncated: parsing stops at the end.
        let end = (0..=text.len() * 99 / 100).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    (text, path)
}

fn pod(keys: &[(&str, &str)], containers: &str, spec: &str) -> Hostile {
    let keys: Vec<_> = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let annotations = annotations(&keys);
    object(
        Kind::Pod,
        format!(
            r#"{{"metadata":{{"annotations":{{{annotations}}}}},"spec":{{"containers":[{containers}]{spec}}}}}"#
        ),
    )
}

fn object(kind: Kind, object: String) -> Hostile {
    Hostile { kind, object, old_object: None }
}

fn workload(own: &[(&str, &str)], template: &str, former: Option<&str>) -> Hostile {
    let own: Vec<_> = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let own = annotations(&own);
    let deployment = |template: &str| {
        format!(
            r#"{{"metadata":{{"annotations":{{{own}}}}},"spec":{{"template":{{"metadata":{{"annotations":{{{template}}}}},"spec":{{"containers":[{}]}}}}}}}}"#,
            containers(1, 1)
        )
    };
    let (object, old_object) = (deployment(template), former.map(deployment));
    Hostile { kind: Kind::Deployment, object, old_object }
}

/// An object of an unknown kind with these members in its `spec`, and their previous version.
fn custom(spec: &str, former: Option<&str>) -> Hostile {
    let object = |spec: &str| format!(r#"{{"spec":{{{spec}}}}}"#);
    let (object, old_object) = (object(spec), former.map(object));
    Hostile { kind: Kind::Custom, object, old_object }
}

/// At most 64 copies of a pod template.
fn templates(bytes: usize, template: &str) -> Hostile {
    custom(
        &format!(r#""x":[{}]"#, list((bytes / template.len()).clamp(1, 64), |_| template.to_owned(), ",")),
        None,
    )
}

/// A pod template with these annotations (JSON) and this many containers.
fn template(annotations: &str, count: usize, name_bytes: usize) -> String {
    format!(
        r#"{{"metadata":{{"annotations":{annotations}}},"spec":{{"containers":[{}]}}}}"#,
        containers(count, name_bytes)
    )
}

/// A pod marked as injected, with its receipt (escaped for a JSON string).
fn injected(containers: &str, receipt: &str, keys: &[(&str, &str)]) -> Hostile {
    let mut all = vec![("inject-secret-a", "a"), ("receipt", receipt)];
    all.extend_from_slice(keys);
    let agent = r#","initContainers":[{"name":"scaivault-init","args":["init"]}]"#;
    pod(&all, containers, agent)
}

fn annotated(bytes: usize, annotation: impl Fn(usize) -> (String, String)) -> Hostile {
    let (mut keys, mut length) = (vec![("inject-secret-a".to_owned(), "a".to_owned())], 0);
    while length < bytes {
        let (key, value) = annotation(keys.len());
        length += PREFIX.len() + key.len() + value.len() + 6;
        keys.push((key, value));
    }
    let annotations = annotations(&keys);
    let containers = containers(1, 1);
    object(
        Kind::Pod,
        format!(
            r#"{{"metadata":{{"annotations":{{{annotations}}}}},"spec":{{"containers":[{containers}]}}}}"#
        ),
    )
}

/// Items of one list in each of several containers.
fn in_containers(bytes: usize, field: &str, item: &str) -> Hostile {
    let all = (bytes / (item.len() + 1)).min(9_000);
    let each = all.min(4_500);
    let items = list(each, |_| item.to_owned(), ",");
    let containers =
        list((all / each.max(1)).max(1), |n| format!(r#"{{"name":"c{n}","{field}":[{items}]}}"#), ",");
    pod(&[("inject-secret-a", "a"), ("inject-env-V", "a#b")], &containers, "")
}

fn annotations(keys: &[(String, String)]) -> String {
    list(keys.len(), |n| format!(r#""{PREFIX}{}":"{}""#, keys[n].0, keys[n].1), ",")
}

fn containers(count: usize, name_bytes: usize) -> String {
    let name = long(name_bytes.saturating_sub(4), 'c');
    list(count.max(1), |n| format!(r#"{{"name":"{name}{n:04}"}}"#), ",")
}

fn long(bytes: usize, letter: char) -> String {
    std::iter::repeat_n(letter, bytes).collect()
}

fn list(count: usize, item: impl Fn(usize) -> String, separator: &str) -> String {
    let mut text = String::new();
    for n in 0..count {
        let separator = if n > 0 { separator } else { "" };
        write!(text, "{separator}{}", item(n)).expect("writing into a String cannot fail");
    }
    text
}
