//! Checks the values of a pod's keys against the allow-lists of the policies that select it. Lists
//! of several policies are combined.
//!
//! Values from namespaces, service accounts and pods are checked. Values from the configuration and
//! from policies are not, unless they contain a variable.

use std::{borrow::Cow, ops::RangeInclusive};

use super::{
    applied::{AppliedPolicies, in_words},
    glob::{self, GlobText},
    parts::{Allow, Enforcement},
    report::{Notes, PolicyEffect},
    variables::{self, Place, Values},
};
use crate::{
    annotations::{Draft, ExactKey, NamedKey, RunAsUser, image_is_below},
    intent::Diagnostics,
    problem::{Code, Excerpt, Layer, Problem},
    settings::Settings,
};

/// Maximum number of entries that a problem shows of a list of users.
const ENTRIES_SHOWN: usize = 8;

/// A field of [`Allow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Paths,
    Dynamic,
    Roles,
    Urls,
    Images,
    Uids,
    CaConfigmaps,
    ClientCredentialsSecrets,
}

impl Field {
    pub(super) const ALL: [Self; 8] = [
        Self::Paths,
        Self::Dynamic,
        Self::Roles,
        Self::Urls,
        Self::Images,
        Self::Uids,
        Self::CaConfigmaps,
        Self::ClientCredentialsSecrets,
    ];

    /// The field's name in a policy.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::Dynamic => "dynamic",
            Self::Roles => "roles",
            Self::Urls => "urls",
            Self::Images => "images",
            Self::Uids => "uids",
            Self::CaConfigmaps => "caConfigMaps",
            Self::ClientCredentialsSecrets => "clientCredentialsSecrets",
        }
    }

    /// The singular noun for an entry.
    const fn singular(self) -> &'static str {
        match self {
            Self::Paths => "path",
            Self::Dynamic => "engine and role",
            Self::Roles => "role",
            Self::Urls => "URL",
            Self::Images => "image",
            Self::Uids => "user",
            Self::CaConfigmaps => "ConfigMap",
            Self::ClientCredentialsSecrets => "Secret",
        }
    }

    /// An example of an entry.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Paths => "write a glob of paths, such as environments/production/${namespace}/**",
            Self::Dynamic => "write a glob of engine/role, such as postgres/readonly-*",
            Self::Roles => "write a role, or a glob such as sa:billing-*",
            Self::Urls => "write a URL, such as https://scaivault.example",
            Self::Images => {
                "write an image or a part of one up to a slash, such as registry.example/scaivault"
            }
            Self::Uids => "write a uid, a range such as 1000-1999, or unset",
            Self::CaConfigmaps | Self::ClientCredentialsSecrets => {
                "write a name, or a glob such as scaivault-*"
            }
        }
    }

    /// The kind of text of its entries, if variables are filled in them.
    pub(super) const fn place(self) -> Option<Place> {
        match self {
            Self::Paths => Some(Place::PathGlob),
            Self::Dynamic => Some(Place::DynamicGlob),
            Self::Roles => Some(Place::RoleGlob),
            _ => None,
        }
    }

    pub(super) fn list(self, allow: &Allow) -> Option<&[String]> {
        let Allow { paths, dynamic, roles, urls, images, uids, ca_configmaps, client_credentials_secrets } =
            allow;
        match self {
            Self::Paths => paths,
            Self::Dynamic => dynamic,
            Self::Roles => roles,
            Self::Urls => urls,
            Self::Images => images,
            Self::Uids => uids,
            Self::CaConfigmaps => ca_configmaps,
            Self::ClientCredentialsSecrets => client_credentials_secrets,
        }
        .as_deref()
    }
}

/// Which of the injector's own lists are replaced by policies, and checks that have to wait for the
/// intent.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplacedLists {
    pub(crate) urls: bool,
    pub(crate) images: bool,
    /// The users that policies allow for the agent, if they limit them.
    pub(crate) users: Option<UserLimit>,
}

/// The users that policies allow for the agent. Checked later, because the user may be derived from
/// the pod's containers.
#[derive(Clone, Debug)]
pub(crate) struct UserLimit {
    entries: Vec<String>,
    /// The policies in words.
    pub(crate) who: String,
    /// Whether a pod with another user is rejected.
    pub(crate) enforces: bool,
}

impl UserLimit {
    pub(crate) fn covers(&self, uid: i64) -> bool {
        let uid = uid.to_string();
        self.entries.iter().any(|entry| Users::parse(entry).is_some_and(|users| users.cover(&uid)))
    }

    /// The allowed users in words.
    pub(crate) fn allowed(&self) -> String {
        match self.entries.get(..ENTRIES_SHOWN) {
            _ if self.entries.is_empty() => "none".to_owned(),
            Some(shown) => format!("{}, …", shown.join(", ")),
            None => self.entries.join(", "),
        }
    }
}

/// Checks what pods, service accounts and namespaces request, and what policies request with a
/// variable.
pub(crate) fn check(
    draft: &Draft,
    settings: &Settings,
    applied: &AppliedPolicies<'_>,
    values: &Values<'_>,
    diagnostics: &mut Diagnostics<'_>,
    notes: &mut Notes,
) -> ReplacedLists {
    if applied.is_empty() {
        return ReplacedLists::default();
    }
    let mut check = Check { draft, applied, values, diagnostics, notes };
    check.sources();
    check.exact(Field::Roles, ExactKey::Role, draft.role.as_deref());
    check.exact(Field::CaConfigmaps, ExactKey::CaConfigmap, draft.ca_configmap.as_deref());
    let secret = draft.client_credentials_secret.as_deref();
    check.exact(Field::ClientCredentialsSecrets, ExactKey::ClientCredentialsSecret, secret);
    let uid = draft.run_as_user.map(|user| match user {
        RunAsUser::Uid(uid) => uid.to_string(),
        RunAsUser::Unset => UNSET.to_owned(),
    });
    check.exact(Field::Uids, ExactKey::RunAsUser, uid.as_deref());
    let users = Limit::new(Field::Uids, applied, values).map(|limit| UserLimit {
        who: limit.who(),
        enforces: limit.enforces(),
        entries: limit.entries.iter().map(|entry| entry.clone().into_owned()).collect(),
    });
    ReplacedLists {
        users,
        // The configured URL may be repeated in any layer.
        urls: draft.url != settings.base.url
            && check.exact(Field::Urls, ExactKey::Url, Some(draft.url.as_str())),
        images: check.exact(Field::Images, ExactKey::Image, draft.image.as_deref()),
    }
}

struct Check<'c, 'f, 'd> {
    draft: &'c Draft,
    applied: &'c AppliedPolicies<'c>,
    values: &'c Values<'c>,
    diagnostics: &'f mut Diagnostics<'d>,
    notes: &'f mut Notes,
}

impl Check<'_, '_, '_> {
    fn sources(&mut self) {
        let (draft, applied) = (self.draft, self.applied);
        if let Some(limit) = Limit::new(Field::Paths, applied, self.values) {
            for (name, source) in &draft.secrets {
                for secret in source.secrets() {
                    self.named(&limit, (NamedKey::InjectSecret, name), &secret.path.to_string());
                }
            }
            for (name, secret) in &draft.variables {
                self.named(&limit, (NamedKey::InjectEnv, name.as_str()), &secret.path.to_string());
            }
        }
        if draft.dynamic.is_empty() {
            return;
        }
        if let Some(limit) = Limit::new(Field::Dynamic, applied, self.values) {
            for (name, dynamic) in &draft.dynamic {
                let text = format!("{}/{}", dynamic.engine, dynamic.role);
                self.named(&limit, (NamedKey::InjectDynamic, name), &text);
            }
        }
    }

    fn named(&mut self, limit: &Limit<'_>, (key, name): (NamedKey, &str), value: &str) {
        if self.draft.is_free_named(key, name) || limit.covers(value) {
            return;
        }
        let layer = self.draft.layer_of_named(key, name).clone();
        self.refuse(limit, format!("{key}{name}"), layer, value);
    }

    /// Checks a value. Returns whether the lists of policies replace the injector's own.
    fn exact(&mut self, field: Field, key: ExactKey, value: Option<&str>) -> bool {
        let Some(value) = value.filter(|_| !self.draft.is_free(key)) else { return false };
        let Some(limit) = Limit::new(field, self.applied, self.values) else { return false };
        let is_covered = limit.covers(value);
        if !is_covered {
            self.refuse(&limit, key.text().to_owned(), self.draft.layer_of(key).clone(), value);
        }
        // If policies only warn about a value, the injector's own list must still allow it.
        is_covered || limit.enforces()
    }

    fn refuse(&mut self, limit: &Limit<'_>, key: String, layer: Layer, value: &str) {
        let problem = limit.problem(Some(key), layer, value);
        limit.note(&problem, self.notes);
        if limit.enforces() {
            self.diagnostics.problems.push(problem);
        } else {
            self.diagnostics.warn(problem.to_string());
        }
    }
}

/// The combined lists of one field.
pub(super) struct Limit<'a> {
    field: Field,
    /// The indices of the policies with a list among the applied ones, in descending precedence.
    limiting: Vec<usize>,
    applied: &'a AppliedPolicies<'a>,
    /// The entries of all lists, with filled variables.
    entries: Vec<Cow<'a, str>>,
}

impl<'a> Limit<'a> {
    /// `None` if no policy has a list for the field.
    pub(super) fn new(field: Field, applied: &'a AppliedPolicies<'a>, values: &Values<'_>) -> Option<Self> {
        let policies = &applied.policies;
        let list = |at: &usize| field.list(&policies[*at].policy.parts().allow);
        let limiting: Vec<usize> = (0..policies.len()).rev().filter(|at| list(at).is_some()).collect();
        if limiting.is_empty() {
            return None;
        }
        let exceptions = policies.iter().flat_map(|found| {
            let service_account = values.pod.service_account();
            let namespace = values.namespace.name.as_str();
            found.policy.exceptions(namespace, applied.labels, service_account, applied.now)
        });
        let exceptions = exceptions.filter_map(|allow| field.list(allow));
        let lists = limiting.iter().filter_map(list).chain(exceptions);
        // An entry with a variable that has no value matches nothing.
        let fill = |entry: &'a String| match field.place() {
            None => Some(Cow::Borrowed(entry.as_str())),
            Some(place) => variables::fill(entry, place, values).ok().map(|filled| filled.text),
        };
        let entries = lists.flatten().filter_map(fill).collect();
        Some(Self { field, limiting, applied, entries })
    }

    /// Whether a pod with a value that is not allowed is rejected.
    pub(super) fn enforces(&self) -> bool {
        let policies = &self.applied.policies;
        self.limiting.iter().any(|at| policies[*at].enforcement == Enforcement::Enforce)
    }

    /// Records the effect of the policies with a list on a value that is not allowed.
    pub(super) fn note(&self, problem: &Problem, notes: &mut Notes) {
        let text = problem.to_string();
        for at in self.limiting.iter().copied() {
            let is_enforced = self.applied.policies[at].enforcement == Enforcement::Enforce;
            let effect = if is_enforced { PolicyEffect::Refused } else { PolicyEffect::Warned };
            notes.add(at, effect, || text.clone());
        }
    }

    pub(super) fn covers(&self, value: &str) -> bool {
        let mut entries = self.entries.iter().map(|entry| &**entry);
        match self.field {
            Field::Urls => entries.any(|entry| url_is_below(value, entry)),
            Field::Images => entries.any(|entry| image_is_below(value, entry)),
            Field::Uids => entries.any(|entry| Users::parse(entry).is_some_and(|users| users.cover(value))),
            Field::Paths
            | Field::Dynamic
            | Field::Roles
            | Field::CaConfigmaps
            | Field::ClientCredentialsSecrets => {
                let subject = GlobText::new(value);
                entries.any(|entry| glob::covers(entry, &subject))
            }
        }
    }

    pub(super) fn problem(&self, key: Option<String>, layer: Layer, value: &str) -> Problem {
        let (what, list) = (self.field.singular(), self.field.name());
        let who = self.who();
        let is_one = self.limiting.len() == 1;
        let (message, allowed) = match self.nearest(value) {
            None => (format!("{who} {} no {what}", if is_one { "allows" } else { "allow" }), None),
            Some(nearest) => {
                let more = self.entries.len() - 1;
                let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
                let verb = if is_one { "does" } else { "do" };
                (format!("{who} {verb} not allow this {what}"), Some(format!("{nearest}{rest}")))
            }
        };
        Problem {
            code: Code::PolicyLimit,
            key,
            layer,
            value: Some(Excerpt::new(value)),
            message: message.into(),
            allowed: allowed.map(Cow::Owned),
            fix: format!(
                "name another {what}, or have it added to allow.{list} of the policy or to an exception"
            )
            .into(),
        }
    }

    /// The policies in words.
    fn who(&self) -> String {
        let name = |at: &usize| &**self.applied.policies[*at].policy.name();
        in_words(&self.limiting.iter().map(name).collect::<Vec<_>>())
    }

    /// The entry with the longest common prefix with a value; the shorter one if several are equal.
    fn nearest(&self, value: &str) -> Option<&str> {
        let common =
            |entry: &str| value.bytes().zip(entry.bytes()).take_while(|(one, other)| one == other).count();
        let entries = self.entries.iter().map(|entry| &**entry);
        entries.min_by_key(|entry| (std::cmp::Reverse(common(entry)), entry.len()))
    }
}

fn url_is_below(url: &str, entry: &str) -> bool {
    let entry = entry.trim_end_matches('/');
    url.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The entry for a user that the platform chooses.
const UNSET: &str = "unset";

/// The users that an entry allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// The user that the platform chooses.
    Unset,
    /// These uids.
    Uids(RangeInclusive<i64>),
}

impl Users {
    /// `None` if the text is not an entry.
    pub(super) fn parse(entry: &str) -> Option<Self> {
        let id = |text: &str| crate::annotations::id(text).ok();
        let uids = match entry.split_once('-') {
            _ if entry == UNSET => return Some(Self::Unset),
            Some((first, last)) => id(first)?..=id(last)?,
            None => id(entry).map(|uid| uid..=uid)?,
        };
        (!uids.is_empty()).then_some(Self::Uids(uids))
    }

    fn cover(&self, value: &str) -> bool {
        match self {
            Self::Unset => value == UNSET,
            Self::Uids(uids) => value.parse().is_ok_and(|uid| uids.contains(&uid)),
        }
    }
}
