//! Converts the resource to the input of the core's compiler.

use std::collections::BTreeMap;

use scaivault_inject as core;
use scaivault_inject::{
    Code, Policy, PolicyParts, Problem,
    annotations::{ExactKey, NamedKey},
};

use serde_json::Value;

use crate::{
    Allow, Date, Delivery, Dynamic, Enforcement, Exception, Expression, Inject, InjectionPolicy,
    InjectionPolicySpec, LabelSelector, MutationMode, Operator, PolicyProblem, PolicyProblems, Reload,
    Restart, Secret, Variable, check_resource, problem::WHOLE, schema::entry,
};

/// Compiles an `InjectionPolicy` object. Returns all of its problems, by field.
pub fn compile(object: &Value) -> Result<Policy, PolicyProblems> {
    let mut problems = check_resource(object);
    let policy: InjectionPolicy = match serde_json::from_value(object.clone()) {
        Ok(policy) => policy,
        // An error that the schema does not detect, such as a wrong field of the metadata.
        Err(error) if problems.is_empty() => {
            problems.add("metadata", error.to_string());
            return Err(problems);
        }
        Err(_) => return Err(problems),
    };
    let converted = ConvertedPolicy::new(policy).and_then(|ConvertedPolicy { parts, fields }| {
        Policy::compile(parts)
            .map_err(|found| found.iter().map(|problem| fields.locate(problem)).collect::<PolicyProblems>())
    });
    match converted {
        Ok(policy) if problems.is_empty() => Ok(policy),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.append_new(&found);
            Err(problems)
        }
    }
}

/// Converts a policy that [`check_resource`] has accepted to the input of the compiler.
pub fn parts(policy: InjectionPolicy) -> Result<PolicyParts, PolicyProblems> {
    ConvertedPolicy::new(policy).map(|converted| converted.parts)
}

struct ConvertedPolicy {
    parts: PolicyParts,
    fields: Fields,
}

impl ConvertedPolicy {
    fn new(policy: InjectionPolicy) -> Result<Self, PolicyProblems> {
        let InjectionPolicy { metadata, spec, status: _ } = policy;
        let InjectionPolicySpec {
            priority,
            namespace_selector,
            pod_selector,
            service_accounts,
            containers,
            init_containers,
            environment,
            inject,
            delivery,
            pattern,
            reload,
            restart,
            defaults,
            allow,
            mutation_mode,
            pods_may_override,
            enforcement,
            exceptions,
        } = spec;
        let mut writer = Writer::default();
        for (key, list, field) in [
            (ExactKey::Containers, containers, "spec.containers"),
            (ExactKey::InitContainers, init_containers, "spec.initContainers"),
        ] {
            if let Some(names) = list {
                writer.write(key.text().to_owned(), names.join(","), field.to_owned());
            }
        }
        writer.inject(inject.unwrap_or_default(), delivery);
        let Reload { signal, target, url } = reload.unwrap_or_default();
        let pattern = pattern.map(|pattern| pattern.name().to_owned());
        for (key, value, field) in [
            (ExactKey::Pattern, pattern, "spec.pattern"),
            (ExactKey::ReloadSignal, signal, "spec.reload.signal"),
            (ExactKey::ReloadTarget, target, "spec.reload.target"),
            (ExactKey::ReloadUrl, url, "spec.reload.url"),
        ] {
            if let Some(value) = value {
                writer.write(key.text().to_owned(), value, field.to_owned());
            }
        }
        let Writer { inject, mut fields, problems } = writer;
        if !problems.is_empty() {
            return Err(problems);
        }
        for key in defaults.keys() {
            fields.0.insert(key.clone(), entry("spec.defaults", key));
        }
        let parts = PolicyParts {
            name: metadata.name.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            priority,
            namespaces: namespace_selector.into(),
            pods: pod_selector.unwrap_or_default().into(),
            service_accounts: service_accounts.unwrap_or_default(),
            environment,
            inject,
            defaults: defaults.into_iter().collect(),
            allow: allow.unwrap_or_default().into(),
            restart: restart.map(Into::into),
            mutation_mode: mutation_mode.map(Into::into),
            pods_may_override,
            enforcement: enforcement.into(),
            exceptions: exceptions.into_iter().map(Into::into).collect(),
        };
        Ok(Self { parts, fields })
    }
}

/// The field of the policy that each annotation key comes from.
#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Changes a problem of the compiler so that it names the field that the author wrote.
    fn locate(&self, problem: &Problem) -> PolicyProblem {
        let Problem { code, key, layer: _, value, message, allowed, fix } = problem;
        let field = match key {
            Some(field) if *code == Code::InvalidPolicy && field.starts_with("metadata.") => field.clone(),
            Some(field) if *code == Code::InvalidPolicy => format!("spec.{field}"),
            Some(key) => self.0.get(key).cloned().unwrap_or_else(|| WHOLE.to_owned()),
            None => WHOLE.to_owned(),
        };
        let mut text = String::new();
        if let Some(value) =
            value.as_ref().map(ToString::to_string).filter(|value| !message.starts_with(value.as_str()))
        {
            text = format!("{value}: ");
        }
        text.push_str(message);
        if let Some(allowed) = allowed {
            text.push_str("; allowed: ");
            text.push_str(allowed);
        }
        text.push_str("; to fix: ");
        text.push_str(fix);
        PolicyProblem::new(field, text)
    }
}

/// Writes the annotations that are equivalent to a policy's `inject`.
#[derive(Default)]
struct Writer {
    inject: Vec<(String, String)>,
    fields: Fields,
    problems: PolicyProblems,
}

impl Writer {
    fn write(&mut self, key: String, value: String, field: String) {
        self.fields.0.insert(key.clone(), field);
        self.inject.push((key, value));
    }

    fn named(&mut self, key: NamedKey, name: &str, value: Option<String>, field: String) {
        if let Some(value) = value {
            self.write(format!("{key}{name}"), value, field);
        }
    }

    fn inject(&mut self, inject: Inject, delivery: Option<Delivery>) {
        let Inject { secrets, dynamic, variables } = inject;
        for (index, secret) in secrets.into_iter().enumerate() {
            let field = format!("spec.inject.secrets[{index}]");
            match delivery {
                Some(Delivery::Variables) => self.secret_as_variable(secret, &field),
                Some(Delivery::Files) | None => self.secret(secret, &field),
            }
        }
        for (index, dynamic) in dynamic.into_iter().enumerate() {
            self.dynamic(dynamic, &format!("spec.inject.dynamic[{index}]"));
        }
        for (index, variable) in variables.into_iter().enumerate() {
            let Variable { name, secret } = variable;
            let field = format!("spec.inject.variables[{index}]");
            let key = match delivery {
                Some(Delivery::Files) => NamedKey::InjectSecret,
                Some(Delivery::Variables) | None => NamedKey::InjectEnv,
            };
            self.variable(key, &name, secret, &field, ".secret");
        }
    }

    fn secret(&mut self, secret: Secret, field: &str) {
        let Secret { name, path, file, format, template, mode, encoding, optional } = secret;
        self.named(NamedKey::InjectSecret, &name, Some(path), format!("{field}.path"));
        self.named(NamedKey::SecretFile, &name, file, format!("{field}.file"));
        self.named(NamedKey::SecretFormat, &name, format, format!("{field}.format"));
        self.named(NamedKey::SecretTemplate, &name, template, format!("{field}.template"));
        self.named(NamedKey::SecretMode, &name, mode, format!("{field}.mode"));
        self.named(NamedKey::SecretEncoding, &name, encoding, format!("{field}.encoding"));
        let optional = optional.map(|optional| optional.to_string());
        self.named(NamedKey::SecretOptional, &name, optional, format!("{field}.optional"));
    }

    /// The path and the mode of a file are irrelevant for a variable.
    fn secret_as_variable(&mut self, secret: Secret, field: &str) {
        let Secret { name, path, file: _, format: _, template: _, mode: _, encoding: _, optional: _ } =
            secret;
        self.variable(NamedKey::InjectEnv, &variable_name(&name), path, field, ".path");
    }

    fn variable(&mut self, key: NamedKey, name: &str, secret: String, field: &str, source: &str) {
        let full = format!("{key}{name}");
        if let Some(other) = self.fields.0.get(&full) {
            let message = format!(
                "becomes {name}, which {other} becomes too; give one of them another name, or remove spec.delivery"
            );
            self.problems.add(format!("{field}.name"), message);
            return;
        }
        self.write(full, secret, format!("{field}{source}"));
    }

    fn dynamic(&mut self, dynamic: Dynamic, field: &str) {
        let Dynamic { name, engine, role, ttl, file, format, template, mode } = dynamic;
        let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
        let source = format!("engine={engine} role={role}{ttl}");
        self.named(NamedKey::InjectDynamic, &name, Some(source), field.to_owned());
        self.named(NamedKey::SecretFile, &name, file, format!("{field}.file"));
        self.named(NamedKey::SecretFormat, &name, format, format!("{field}.format"));
        self.named(NamedKey::SecretTemplate, &name, template, format!("{field}.template"));
        self.named(NamedKey::SecretMode, &name, mode, format!("{field}.mode"));
    }
}

/// The name of the variable for a file: `db.password` becomes `DB_PASSWORD`.
fn variable_name(file: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let digit = file.starts_with(|first: char| first.is_ascii_digit());
    let prefix = if digit { "_" } else { "" };
    format!("{prefix}{}", file.chars().map(word).collect::<String>())
}

impl From<LabelSelector> for core::Selector {
    fn from(selector: LabelSelector) -> Self {
        let LabelSelector { match_labels, match_expressions } = selector;
        Self { match_labels, match_expressions: match_expressions.into_iter().map(Into::into).collect() }
    }
}

impl From<Expression> for core::Expression {
    fn from(expression: Expression) -> Self {
        let Expression { key, operator, values } = expression;
        let operator = match operator {
            Operator::In => core::Operator::In,
            Operator::NotIn => core::Operator::NotIn,
            Operator::Exists => core::Operator::Exists,
            Operator::DoesNotExist => core::Operator::DoesNotExist,
        };
        Self { key, operator, values }
    }
}

impl From<Allow> for core::Allow {
    fn from(allow: Allow) -> Self {
        let Allow { paths, dynamic, roles, urls, images, uids, ca_config_maps, client_credentials_secrets } =
            allow;
        Self {
            paths,
            dynamic,
            roles,
            urls,
            images,
            uids,
            ca_configmaps: ca_config_maps,
            client_credentials_secrets,
        }
    }
}

impl From<Exception> for core::Exception {
    fn from(exception: Exception) -> Self {
        let Exception { name, namespaces, service_accounts, pod_selector, allow, owner, reason, expires } =
            exception;
        Self {
            name,
            namespaces: namespaces.unwrap_or_default(),
            service_accounts: service_accounts.unwrap_or_default(),
            pods: pod_selector.unwrap_or_default().into(),
            allow: allow.into(),
            owner,
            reason,
            expires: Date::end(expires),
        }
    }
}

impl From<Restart> for core::PolicyRestart {
    fn from(restart: Restart) -> Self {
        match restart {
            Restart::Auto => Self::Auto,
            Restart::Manual => Self::Manual,
            Restart::Off => Self::Off,
        }
    }
}

impl From<MutationMode> for core::PolicyMode {
    fn from(mode: MutationMode) -> Self {
        match mode {
            MutationMode::Inject => Self::Inject,
            MutationMode::Ignore => Self::Ignore,
            MutationMode::IgnoreAndDetach => Self::IgnoreAndDetach,
        }
    }
}

impl From<Enforcement> for core::Enforcement {
    fn from(enforcement: Enforcement) -> Self {
        match enforcement {
            Enforcement::Enforce => Self::Enforce,
            Enforcement::Warn => Self::Warn,
            Enforcement::Audit => Self::Audit,
        }
    }
}

#[cfg(test)]
mod tests;
