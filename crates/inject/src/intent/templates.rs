//! Validates the templates of files as the agent does.

use scaivault_contract::{
    EXCERPT_CHARS, MAPPINGS_LIMIT, NameFault, TEMPLATE_MAX_TOKENS, TemplateError, TemplateNames, UnknownName,
    check_template,
};

use super::Diagnostics;
use crate::{
    annotations::{Draft, nearest},
    problem::{Code, Layer, Problem, shown_key},
};

/// Maximum number of warnings about templates in one response.
const WARNINGS_SHOWN: usize = 8;
/// Maximum number of names that one problem lists.
const NAMES_SHOWN: usize = 64;
/// Maximum number of tokens in the tags of all templates of a pod. The cost of validation is
/// proportional to it.
const TOKENS: usize = 20_000;
/// Number of problems after which no further templates are validated.
const ENOUGH_PROBLEMS: usize = 64;

/// Validates the template of each file. Templates that exceed the size limit of all mappings are
/// not parsed.
pub(super) fn check(draft: &Draft, diagnostics: &mut Diagnostics<'_>) {
    let bytes: usize = draft.files.values().filter_map(|file| Some(file.template.as_ref()?.len())).sum();
    if bytes > MAPPINGS_LIMIT {
        return;
    }
    let mut tokens = 0;
    let mut warnings = Vec::new();
    for (name, file) in &draft.files {
        let Some(template) = &file.template else { continue };
        let names = match (draft.secrets.get(name), draft.dynamic.get(name)) {
            (Some(source), _) => TemplateNames::from_source(source),
            (None, Some(_)) => TemplateNames::Lease,
            // An option without a file is reported separately.
            (None, None) => continue,
        };
        let key = format!("secret-template-{name}");
        let checked = check_template(template, &names);
        // An invalid template has cost no more than its bytes.
        tokens += checked.as_ref().map_or(template.len().min(TEMPLATE_MAX_TOKENS), |checked| checked.tokens);
        match checked {
            Ok(checked) => {
                let shown = checked.warnings.into_iter().take(WARNINGS_SHOWN - warnings.len());
                warnings.extend(shown.map(|warning| format!("{}: {warning}", shown_key(&key))));
            }
            Err(error) => refuse(&key, template, error, diagnostics),
        }
        if tokens > TOKENS {
            let message = format!(
                "the tags of all templates have more than {TOKENS} tokens (names, values, operators, brackets) together"
            );
            diagnostics.problem(
                Code::TooLarge,
                None,
                None,
                message,
                "shorten the templates, or render in the app",
            );
            break;
        }
        if diagnostics.problems.len() >= ENOUGH_PROBLEMS {
            break;
        }
    }
    diagnostics.warnings.append(&mut warnings);
}

fn refuse(key: &str, template: &str, error: TemplateError, diagnostics: &mut Diagnostics<'_>) {
    match error {
        TemplateError::Names(unknown) => {
            for one in unknown {
                let with_hint = diagnostics.problems.takes_hint();
                diagnostics.problems.push(unknown_name(key, one, with_hint));
            }
        }
        TemplateError::Syntax { .. } => {
            let fix = if is_go_template(template) { GO_FIX } else { SYNTAX_FIX };
            diagnostics.problems.push(problem(key, error.to_string(), None, fix.to_owned()));
        }
        TemplateError::Size(_) => {
            let fix = "shorten the template, or write several files";
            diagnostics.problems.push(problem(key, error.to_string(), None, fix.to_owned()));
        }
    }
}

const SYNTAX_FIX: &str =
    "correct the tag in this line; text that contains {{, {% or {# goes between {% raw %} and {% endraw %}";
const GO_FIX: &str = "write it in minijinja's language, such as {{ data.password }}; {{ .Data }} and {{ range }} are Go \
                       templates of Helm, consul-template or vault-k8s";

/// Whether a template is probably written for Go, like those of Helm and vault-k8s.
fn is_go_template(template: &str) -> bool {
    template.split("{{").skip(1).any(|tag| {
        let tag = tag.trim_start_matches('-').trim_start();
        [".", "$", "range ", "with ", "if ", "end", "else", "template ", "include "]
            .iter()
            .any(|word| tag.starts_with(word))
    })
}

fn unknown_name(key: &str, unknown: UnknownName, with_hint: bool) -> Problem {
    let message = unknown.to_string();
    let UnknownName { line: _, fault, name, known } = unknown;
    let meant = with_hint.then(|| nearest(&name, known.iter().map(String::as_str))).flatten();
    let is_short = name.len() <= EXCERPT_CHARS;
    let fix = match (&fault, meant) {
        (NameFault::Method(_), Some(filter)) => format!("write {{{{ value | {filter} }}}}"),
        (_, Some(meant)) => format!("did you mean {meant:?}?"),
        (NameFault::Variable(_), None) if name == "secrets" => {
            "a file of one secret has data, version and path; secrets.<alias> is for a file of several, each named as \
             alias=path"
                .to_owned()
        }
        (NameFault::Variable(_), None) if name == "data" => {
            "a file of several secrets has them below their alias: write secrets.<alias>.data".to_owned()
        }
        (NameFault::Variable(_), None) if is_short && known.iter().any(|known| known == "data") => {
            format!("for a field of the secret write {{{{ data.{name} }}}}")
        }
        (NameFault::Variable(_), None) if is_short && known.iter().any(|known| known == "secrets") => {
            format!("for a field of a secret write {{{{ secrets.<alias>.data.{name} }}}}")
        }
        (NameFault::Scope(_), None) => "set the variable before, or use a namespace".to_owned(),
        (NameFault::Field(_), None) => "write path or version alone".to_owned(),
        (NameFault::Computed(_), None) => "write the name in quotes, such as map('upper')".to_owned(),
        (NameFault::Repeated(_), None) => "write {% for i in range(3) %}…{% endfor %}".to_owned(),
        (NameFault::Nested(_), None) => "declare the macro outside of the others".to_owned(),
        (_, None) => "use one of the allowed names".to_owned(),
    };
    let mut allowed = known.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if known.len() > NAMES_SHOWN {
        allowed.push_str(", …");
    }
    problem(key, message, Some(allowed).filter(|allowed| !allowed.is_empty()), fix)
}

fn problem(key: &str, message: String, allowed: Option<String>, fix: String) -> Problem {
    Problem {
        code: Code::InvalidValue,
        key: Some(key.to_owned()),
        layer: Layer::Pod,
        // Templates are never quoted, because their text may contain a password.
        value: None,
        message: message.into(),
        allowed: allowed.map(Into::into),
        fix: fix.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_templates_are_recognised() {
        for text in ["{{ .Data.a }}", "{{- with secret \"a\" }}", "x{{ range $k, $v := .Data }}", "{{ $x }}"]
        {
            assert!(is_go_template(text), "{text}");
        }
        for text in ["{{ data.a }}", "{{ without }}", "a.b $x", "{{ 'a' if data.b"] {
            assert!(!is_go_template(text), "{text}");
        }
    }
}
