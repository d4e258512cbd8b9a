//! Templates of files: exactly those that the agent could not render are rejected.

use scaivault_inject::Code;
use scaivault_testkit::{PodBuilder, pod};

use crate::support::{DATABASE, cluster};

fn with_template(template: &str) -> PodBuilder {
    pod().annotate("inject-secret-db", DATABASE).annotate("secret-template-db", template)
}

#[track_caller]
fn refusal(pod: PodBuilder, words: &[&str]) -> String {
    let denial = cluster().denial(&pod.json());
    let text = denial.problems.to_string();
    assert!(denial.problems.iter().all(|problem| problem.code == Code::InvalidValue), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    text
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_and_all() {
    for (template, words) in [
        (
            "{{ data.a | uper }}",
            &["secret-template-db: line 1", "\"uper\"", "b64decode, ", "mean \"upper\""][..],
        ),
        ("{{ data.a is defind }}", &["no test \"defind\"", "did you mean \"defined\""]),
        (
            "{{ rang(2) }}",
            &["no function \"rang\"", "allowed: dict, namespace, range", "did you mean \"range\""],
        ),
        ("{{ dta.a }}", &["no variable \"dta\"", "allowed: data, path, version", "did you mean \"data\""]),
        ("{{ data.a.upper() }}", &["as a method", "write {{ value | upper }}"]),
        ("{{ secrets.db.data.a }}", &["a file of one secret has data"]),
    ] {
        refusal(with_template(template), words);
    }
}

#[test]
fn names_of_a_template_depend_on_the_source_of_its_file() {
    let file = |key: &str, source: &str, template: &str| {
        pod().annotate(key, source).annotate("secret-template-db", template)
    };
    let several = |template: &str| file("inject-secret-db", "db=a/b tls=c/d", template);
    cluster().inject(&several("{{ secrets.db.data.a }}{{ secrets.tls.version }}").json());
    refusal(
        several("{{ secrets.dbx.data.a }}"),
        &["alias \"dbx\"", "allowed: db, tls", "did you mean \"db\""],
    );
    refusal(several("{{ data.a }}"), &["no variable \"data\"", "write secrets.<alias>.data"]);
    let lease = |template: &str| file("inject-dynamic-db", "engine=pg role=r", template);
    cluster().inject(&lease("{{ data.username }}@{{ path }}").json());
    refusal(lease("{{ version }}"), &["no variable \"version\"", "allowed: data, path"]);
}

#[test]
fn all_templates_and_other_keys_are_refused_together() {
    let pod = with_template("{{ dta.a | uper }}")
        .annotate("inject-secret-web", DATABASE)
        .annotate("secret-template-web", "{{ data.a")
        .annotate("mount-path", "relative");
    let text = refusal(
        pod,
        &["4 problems", "mount-path", "\"dta\"", "\"uper\"", "secret-template-web", "{% raw %}"],
    );
    assert!(!text.contains("relative\"") || text.contains("absolute"), "{text}");
}

#[test]
fn a_go_template_is_refused_with_a_hint() {
    for template in ["{{ .Data.data.password }}", "{{- with secret \"a/b\" }}x{{ end }}"] {
        refusal(with_template(template), &["does not parse: line 1", "Go templates", "{{ data.password }}"]);
    }
}

#[test]
fn long_properties_with_few_tags_are_accepted() {
    let properties =
        "spring.jpa.properties.hibernate.dialect=org.hibernate.dialect.PostgreSQL(10.0) # [a-b]\n";
    let text = format!("{}spring.datasource.password={{{{ data.password }}}}\n", properties.repeat(70));
    cluster().inject(&with_template(&text).json());
}

#[test]
fn text_that_a_template_does_not_write_is_warned_about() {
    let warnings = |template: &str| cluster().injection(&with_template(template).json()).warnings;
    for (template, expected) in [
        ("{{ data.a }}{# note #}", "secret-template-db: line 1 of the template has a comment"),
        (
            "{{ data.a -}}\n{{ data.b }}",
            "secret-template-db: line 1 of the template and the next become one line",
        ),
        ("password=${data.password}", "secret-template-db: the template writes nothing of the secret"),
    ] {
        let warnings = warnings(template);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(expected), "{warnings:?}");
    }
    assert!(warnings("{{ data.a }}:{{ data.b }}\n").is_empty());
    let many = (0..40).fold(pod(), |pod, n| {
        pod.annotate(&format!("inject-secret-{n}"), DATABASE)
            .annotate(&format!("secret-template-{n}"), "x{# y #}")
    });
    assert_eq!(cluster().injection(&many.json()).warnings.len(), 8);
}
