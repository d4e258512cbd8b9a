use scaivault_inject::annotations::specs;

use super::*;
use crate::marker::MARKER;

fn annotations(entries: &[(&str, &str)]) -> Annotations {
    let key =
        |key: &str| if key.contains('/') { key.to_owned() } else { format!("{ANNOTATION_PREFIX}{key}") };
    entries.iter().map(|(name, value)| (key(name), (*value).to_owned())).collect()
}

/// The choice of a workload, its template and its namespace.
fn choice(workload: &[(&str, &str)], template: &[(&str, &str)], namespace: &[(&str, &str)]) -> Choice {
    let [workload, template, namespace] = [workload, template, namespace].map(annotations);
    choose(&Places {
        workload: &workload,
        template: &template,
        namespace: &namespace,
        policy: Some(Mode::Manual),
        default: Mode::Off,
        with_reloader: true,
    })
}

const USED: Candidate = Candidate { asks: false, is_match: false, is_ignored: false };

/// Whether a Secret or class that the template uses is included.
fn includes(selection: &Selection, name: &str, candidate: Candidate) -> bool {
    selection.among(&[name.into()]).unwrap().used(|_| candidate).next().is_some()
}

/// Whether one that the template does not use is included.
fn includes_unused(selection: &Selection, name: &str, candidate: Candidate) -> bool {
    selection.among(&[]).unwrap().unused(|_| candidate).any(|found| &**found == name)
}

#[test]
fn the_nearest_place_wins() {
    let (auto, manual, off) = ([("restart", "auto")], [("restart", "manual")], [("restart", "off")]);
    assert_eq!(choice(&off, &manual, &auto).mode, Mode::Off);
    assert_eq!(choice(&[], &auto, &off).mode, Mode::Auto);
    assert_eq!(choice(&[], &[], &off).mode, Mode::Off);
    assert_eq!(choice(&[], &[], &[]).mode, Mode::Manual);
    assert!(choice(&auto, &[], &[]).is_asked && choice(&[], &auto, &[]).is_asked);
    assert!(!choice(&[], &[], &auto).is_asked);
}

#[test]
fn all_problems_are_named_with_key_value_and_fix() {
    let wrong = [
        ("restart", "always"),
        ("restart-secrets", "A b"),
        ("restart-canary", "yes"),
        ("restart-windows", "0 2 * * *"),
    ];
    let found = choice(&wrong, &[], &[]);
    assert_eq!(found.problems.len(), 4);
    for (key, value) in wrong {
        let problem = found.problems.iter().find(|problem| problem.contains(&format!("/{key}: "))).unwrap();
        assert!(problem.contains(value) && problem.contains("allowed: "), "{problem}");
    }
}

#[test]
fn documented_annotations_are_those_that_are_read() {
    for spec in specs().filter(|spec| spec.key.is_for_restarts()) {
        let key = spec.key.text();
        for example in spec.examples {
            let found = choice(&[(key, example)], &[], &[]);
            assert_eq!(found.problems, [""; 0], "{key}: {example}");
        }
    }
    let allowed = |key: &str| {
        specs().find(|spec| spec.key.text() == key).map(|spec| spec.value.allowed().into_owned()).unwrap()
    };
    assert_eq!(allowed(keys::SECRETS), Selection::ALLOWED);
    assert_eq!(allowed(keys::RESTART).replace(", off", " or off"), Mode::ALLOWED);
    assert_eq!(MARKER, format!("{ANNOTATION_PREFIX}{}", ExactKey::RestartedFor.text()));
}

#[test]
fn native_secrets_are_opt_in() {
    let none = choice(&[], &[], &[]);
    assert!(!includes(&none.secrets, "db", USED));
    assert!(includes(&none.secrets, "db", Candidate { asks: true, ..USED }));
    assert!(!includes_unused(&none.secrets, "db", Candidate { asks: true, ..USED }));
    let all = choice(&[("restart-secrets", "all")], &[], &[]);
    assert!(includes(&all.secrets, "db", USED));
    assert!(!includes(&all.secrets, "db", Candidate { is_ignored: true, ..USED }));
    let matching = choice(&[("restart-secrets", "matching")], &[], &[]);
    assert!(includes(&matching.secrets, "db", Candidate { is_match: true, ..USED }));
    assert!(!includes(&matching.secrets, "db", USED));
    let named = choice(&[("restart-secrets", "db, tls-*")], &[], &[]);
    assert!(includes(&named.secrets, "tls-web", USED) && includes_unused(&named.secrets, "db", USED));
    assert!(!includes_unused(&named.secrets, "tls-web", USED), "a pattern only selects used names");
    assert!(!includes(&named.secrets, "other", USED));
}

#[test]
fn reloader_annotations_keep_their_meaning() {
    let found = choice(&[("reloader.stakater.com/auto", "true")], &[], &[]);
    assert!(includes(&found.secrets, "db", USED) && includes(&found.classes, "files", USED));
    let found = choice(&[("secret.reloader.stakater.com/reload", "db,tls-.*")], &[], &[]);
    assert!(
        includes(&found.secrets, "tls-web", USED)
            && includes_unused(&found.secrets, "db", USED)
            && !includes_unused(&found.secrets, "tls-web", USED)
            && !includes(&found.secrets, "xdb", USED)
    );
    let found = choice(&[("reloader.stakater.com/search", "true")], &[], &[]);
    let marked = Candidate::new(&annotations(&[("reloader.stakater.com/match", "true")]), true);
    assert!(includes(&found.secrets, "db", marked));
    assert!(!includes(&found.secrets, "db", USED));
    let found = choice(&[("secretproviderclass.reloader.stakater.com/reload", "files")], &[], &[]);
    assert!(includes(&found.classes, "files", USED) && !includes(&found.secrets, "db", USED));
    let excluded =
        [("reloader.stakater.com/auto", "true"), ("secrets.exclude.reloader.stakater.com/reload", "db")];
    assert!(!includes(&choice(&excluded, &[], &[]).secrets, "db", USED));
    let ignored = Candidate::new(&annotations(&[("reloader.stakater.com/ignore", "true")]), true);
    assert!(ignored.is_ignored);
}

#[test]
fn mistakes_in_expressions_of_reloader_name_their_key() {
    let key = "secret.reloader.stakater.com/reload";
    let names = vec!["db"; 65].join(",");
    for (list, expected) in
        [("db,(", "\"(\" is not a regular expression"), (&*names, "has 65 names; allowed: 64")]
    {
        let found = choice(&[(key, list)], &[], &[]);
        assert!(found.problems.len() == 1 && found.problems[0].starts_with(key), "{:?}", found.problems);
        assert!(found.problems[0].contains(expected), "{:?}", found.problems);
        assert!(!includes(&found.secrets, "db", USED));
    }
}

#[test]
fn reloader_annotations_of_templates_count_alone() {
    let auto = [("reloader.stakater.com/auto", "true")];
    assert!(includes(&choice(&[], &auto, &[]).secrets, "db", USED));
    assert!(!includes(&choice(&[("reloader.stakater.com/auto", "false")], &auto, &[]).secrets, "db", USED));
    // This product's annotations take precedence.
    assert!(!includes(&choice(&[("restart-secrets", "none")], &auto, &[]).secrets, "db", USED));
}

#[test]
fn without_the_setting_reloader_is_not_read() {
    let workload = annotations(&[("reloader.stakater.com/auto", "true")]);
    let empty = Annotations::new();
    let found = choose(&Places {
        workload: &workload,
        template: &empty,
        namespace: &empty,
        policy: None,
        default: Mode::Off,
        with_reloader: false,
    });
    assert!(found.mode == Mode::Off && !includes(&found.secrets, "db", USED));
}

#[test]
fn reloader_only_overrides_settings() {
    let workload = annotations(&[("reloader.stakater.com/auto", "true")]);
    let (empty, off) = (Annotations::new(), annotations(&[("restart", "off")]));
    let manual = annotations(&[("restart", "manual")]);
    let unreadable = annotations(&[("restart", "no")]);
    for (namespace, policy, default, expected) in [
        (&empty, None, Mode::Off, Mode::Auto),
        (&empty, None, Mode::Manual, Mode::Auto),
        (&off, None, Mode::Off, Mode::Off),
        (&manual, None, Mode::Manual, Mode::Manual),
        (&unreadable, None, Mode::Off, Mode::Off),
        (&empty, Some(Mode::Off), Mode::Off, Mode::Off),
    ] {
        let places =
            Places { workload: &workload, template: &empty, namespace, policy, default, with_reloader: true };
        let found = choose(&places);
        assert_eq!(found.mode, expected, "{namespace:?} {policy:?} {default:?}");
        // The same for the template's annotation.
        let found = choose(&Places { template: namespace, namespace: &empty, ..places });
        assert_eq!(found.mode, expected, "{namespace:?} {policy:?} {default:?}");
    }
    let both = annotations(&[("reloader.stakater.com/auto", "true"), ("restart-secrets", "A b")]);
    let found = choice(&[], &both.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>(), &[]);
    assert!(!includes(&found.secrets, "db", USED) && found.problems.len() == 1);
}

#[test]
fn windows_and_canaries_are_read() {
    let found = choice(
        &[("restart-canary", "true"), ("restart-release", &"x".repeat(100))],
        &[],
        &[
            ("restart-windows", "0 2 * * * for 1h; 0 14 * * 6 for 2h in Europe/Berlin"),
            ("restart-canary", "true"),
        ],
    );
    assert!(found.is_canary && found.windows.unwrap().len() == 2 && found.release.len() == 63);
    assert!(!choice(&[], &[], &[("restart-canary", "true")]).is_canary, "not of a namespace");
}
