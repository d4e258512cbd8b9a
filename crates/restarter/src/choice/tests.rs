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

const USED: Candidate = Candidate { is_used: true, asks: false, is_match: false, is_ignored: false };

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
    assert!(!none.secrets.lookup().includes("db", USED));
    assert!(none.secrets.lookup().includes("db", Candidate { asks: true, ..USED }));
    assert!(!none.secrets.lookup().includes("db", Candidate { asks: true, is_used: false, ..USED }));
    let all = choice(&[("restart-secrets", "all")], &[], &[]);
    assert!(all.secrets.lookup().includes("db", USED));
    assert!(!all.secrets.lookup().includes("db", Candidate { is_ignored: true, ..USED }));
    let matching = choice(&[("restart-secrets", "matching")], &[], &[]);
    assert!(matching.secrets.lookup().includes("db", Candidate { is_match: true, ..USED }));
    assert!(!matching.secrets.lookup().includes("db", USED));
    let named = choice(&[("restart-secrets", "db, tls-*")], &[], &[]);
    assert!(named.secrets.lookup().includes("tls-web", Candidate::default()));
    assert!(!named.secrets.lookup().includes("other", USED));
}

#[test]
fn reloader_annotations_keep_their_meaning() {
    let found = choice(&[("reloader.stakater.com/auto", "true")], &[], &[]);
    assert!(found.secrets.lookup().includes("db", USED) && found.classes.lookup().includes("files", USED));
    let found = choice(&[("secret.reloader.stakater.com/reload", "db,tls-.*")], &[], &[]);
    assert!(
        found.secrets.lookup().includes("tls-web", Candidate::default())
            && !found.secrets.lookup().includes("xdb", USED)
    );
    let found = choice(&[("reloader.stakater.com/search", "true")], &[], &[]);
    let marked = Candidate::new(&annotations(&[("reloader.stakater.com/match", "true")]), true);
    assert!(found.secrets.lookup().includes("db", Candidate { is_used: true, ..marked }));
    assert!(!found.secrets.lookup().includes("db", USED));
    let found = choice(&[("secretproviderclass.reloader.stakater.com/reload", "files")], &[], &[]);
    assert!(found.classes.lookup().includes("files", USED) && !found.secrets.lookup().includes("db", USED));
    let excluded =
        [("reloader.stakater.com/auto", "true"), ("secrets.exclude.reloader.stakater.com/reload", "db")];
    assert!(!choice(&excluded, &[], &[]).secrets.lookup().includes("db", USED));
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
        assert!(!found.secrets.lookup().includes("db", USED));
    }
}

#[test]
fn reloader_annotations_of_templates_count_alone() {
    let auto = [("reloader.stakater.com/auto", "true")];
    assert!(choice(&[], &auto, &[]).secrets.lookup().includes("db", USED));
    assert!(
        !choice(&[("reloader.stakater.com/auto", "false")], &auto, &[]).secrets.lookup().includes("db", USED)
    );
    // This product's annotations win.
    assert!(!choice(&[("restart-secrets", "none")], &auto, &[]).secrets.lookup().includes("db", USED));
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
    assert!(found.mode == Mode::Off && !found.secrets.lookup().includes("db", USED));
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
