use hyper::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::unix_seconds;

const NOW: u64 = 1_790_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn path(text: &str) -> SecretPath {
    text.parse().unwrap()
}

fn answer(body: &Value) -> Answer {
    Answer { status: 200, headers: HeaderMap::new(), body: body.to_string().into_bytes(), cut: None }
}

/// Number and seconds of the version of `app/db`.
fn read(body: &Value) -> Result<(u32, u64), ErrorKind> {
    let mut entries = of_batch(&answer(body), &[path("app/db")], now())?;
    entries.remove(&path("app/db")).unwrap().map(|version| (version.number, unix_seconds(version.created)))
}

fn of_entry(entry: &Value) -> Result<(u32, u64), ErrorKind> {
    read(&json!({"secrets": {"app/db": entry}, "errors": {}}))
}

#[test]
fn the_request_names_paths_and_nothing_else() {
    let content = batch(&[path("app/db"), path("app/key")]);
    let body: Value = serde_json::from_slice(&content.bytes).unwrap();
    assert_eq!(body, json!({"paths": ["app/db", "app/key"]}));
    assert_eq!(single_route(&path("app/db")), "/v1/secrets/app/db/metadata");
}

#[test]
fn entries_are_found_in_all_likely_members() {
    let entry = json!({"path": "app/db", "version": 7, "updated_at": "2026-09-21T14:13:20Z", "tags": [1]});
    for body in [
        json!({"secrets": {"app/db": entry}, "errors": {}}),
        json!({"metadata": {"app/db": entry}, "cost": {"calls": 1}}),
        json!({"data": [entry], "has_more": false}),
        json!({"results": [{"secret_path": "app/db", "metadata": entry}]}),
        json!({"items": [entry], "errors": []}),
        json!({"secrets": [entry, {"path": "app/other"}, 7, null]}),
        json!({"secrets": {}, "data": {"app/db": entry}}),
        json!({"app/db": entry}),
        json!([entry]),
    ] {
        assert_eq!(read(&body).unwrap(), (7, NOW), "{body}");
    }
}

#[test]
fn number_and_time_are_read_by_every_likely_name() {
    for (entry, expected) in [
        (json!({"version": 7, "updated_at": NOW}), (7, NOW)),
        (json!({"current_version": "7", "updated_at": NOW.to_string()}), (7, NOW)),
        (json!({"latest_version": "v7", "version_created_at": NOW, "updated_at": NOW + 60}), (7, NOW)),
        (json!({"version": 1, "created_at": NOW, "updated_at": null, "last_rotated_at": null}), (1, NOW)),
        // A user has written a version since the last rotation.
        (json!({"version": 7, "last_rotated_at": NOW - 60, "updated_at": NOW, "created_at": 5}), (7, NOW)),
        (json!({"version": 7, "rotated_at": NOW, "created_at": 5, "last_accessed_at": NOW + 9}), (7, NOW)),
        (json!({"current_version": {"version": 7, "created_at": NOW}, "updated_at": NOW + 60}), (7, NOW)),
        (json!({"version": {"number": 7, "created_at": NOW}}), (7, NOW)),
        (json!({"versions": [{"version": 6, "created_at": 5}, {"version": 7, "created_at": NOW}]}), (7, NOW)),
        (
            json!({"current_version": 6, "versions": [
                {"version": 7, "created_at": NOW}, {"version": 6, "created_at": NOW - 60}]}),
            (6, NOW - 60),
        ),
        // A number of versions is not the number of a version.
        (json!({"version_count": 3, "versions": 3, "updated_at": NOW}), (0, NOW)),
        (json!({"metadata": {"version": 7, "updated_at": NOW}}), (7, NOW)),
        (json!({"version": 7, "updated_at": NOW, "metadata": {"version": 9, "updated_at": 5}}), (7, NOW)),
        (json!({"version": u64::MAX, "updated_at": NOW}), (0, NOW)),
    ] {
        assert_eq!(of_entry(&entry).unwrap(), expected, "{entry}");
    }
}

#[test]
fn the_first_version_is_as_old_as_the_secret() {
    let entry = |number: u32| json!({"version": number, "created_at": NOW - 60, "updated_at": NOW});
    assert_eq!(of_entry(&entry(1)).unwrap(), (1, NOW - 60), "changed since: its tags");
    assert_eq!(of_entry(&entry(2)).unwrap(), (2, NOW));
}

#[test]
fn an_entry_without_a_plausible_time_is_an_error_of_its_path() {
    for entry in [
        json!({"version": 7}),
        json!({"version": 7, "updated_at": "soon"}),
        json!({"version": 7, "updated_at": NOW + 2 * 86_400}),
        json!({"version": 7, "updated_at": f64::MAX}),
        json!({"version": 7, "updated_at": -5}),
        json!({"version": 7, "versions": []}),
        json!({"metadata": {"metadata": {"metadata": {"metadata": {"updated_at": NOW}}}}}),
        json!("text"),
        json!([]),
    ] {
        assert!(matches!(of_entry(&entry), Err(ErrorKind::Answer(_))), "{entry}");
    }
}

#[test]
fn the_end_of_the_previous_version_is_read() {
    for name in ENDS {
        let body = json!({"secrets": {"app/db": {"version": 7, "updated_at": NOW, name: NOW + 3600}}});
        let mut entries = of_batch(&answer(&body), &[path("app/db")], now()).unwrap();
        let version = entries.remove(&path("app/db")).unwrap().unwrap();
        assert_eq!(version.previous_ends.map(unix_seconds), Some(NOW + 3600), "{name}");
    }
}

#[test]
fn each_path_has_its_own_error() {
    let denied = json!({"code": "access_denied", "message": "No policy"});
    for body in [
        json!({"secrets": {}, "errors": {"app/db": denied}}),
        json!({"errors": [{"path": "app/db", "code": "access_denied", "message": "No policy"}]}),
        json!({"secrets": {"app/db": {"error": denied}}}),
        json!({"secrets": {"app/db": {"error": "access_denied"}}}),
        json!({"secrets": {"app/db": {"version": 7, "updated_at": NOW}}, "errors": {"app/db": denied}}),
    ] {
        let Err(ErrorKind::Refused(refusal)) = read(&body) else { panic!("{body}") };
        assert_eq!(refusal.code.as_str(), "access_denied", "{body}");
    }
    let left_out = read(&json!({"secrets": {"app/other": {"version": 7, "updated_at": NOW}}}));
    assert!(matches!(left_out, Err(ErrorKind::Answer(AnswerFault::Missing(_)))), "{left_out:?}");
}

#[test]
fn an_answer_of_something_else_is_no_answer() {
    for body in [json!({"status": "ok"}), json!([]), json!("ok"), json!(7), json!(null)] {
        assert!(matches!(read(&body), Err(ErrorKind::Answer(AnswerFault::Json))), "{body}");
    }
}

#[test]
fn an_answer_about_another_secret_is_refused() {
    let single = |body: Value| of_single(&answer(&body), &path("app/db"), now());
    assert!(single(json!({"version": 7, "updated_at": NOW})).is_ok());
    assert!(single(json!({"path": "app/db", "version": 7, "updated_at": NOW})).is_ok());
    // The path of the secret ends like the route.
    let other = json!({"path": "app/db/metadata", "version": 7, "updated_at": NOW, "data": {}});
    assert!(matches!(single(other), Err(ErrorKind::Answer(AnswerFault::Missing(_)))));
}
