use super::*;

#[test]
fn reads_the_words_in_any_order_and_writes_them_in_one() {
    for (text, canonical) in [
        ("engine=postgres-prod role=readonly ttl=2h", "engine=postgres-prod role=readonly ttl=2h"),
        ("  ttl=120m\trole=readonly   engine=postgres-prod ", "engine=postgres-prod role=readonly ttl=120m"),
        ("role=R_1 engine=E", "engine=E role=R_1"),
    ] {
        let dynamic: DynamicRef = text.parse().unwrap();
        assert_eq!(dynamic.to_string(), canonical);
        assert_eq!(canonical.parse(), Ok(dynamic));
    }
}

#[test]
fn errors_name_the_problem() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = text.parse::<DynamicRef>().unwrap_err().to_string();
        assert!(said.starts_with(expected), "{text:?}: {said}");
    }
    let write = format!("allowed: {}", DynamicRef::ALLOWED);
    check("", &format!("\"\" has no engine=; {write}"));
    check("engine=e", &format!("\"engine=e\" has no role=; {write}"));
    check("role=r ttl=1h", "\"role=r ttl=1h\" has no engine=");
    check("engine=e role=r ttl=1h ttl=1h", "ttl= is given twice");
    check("engine=e engine=f role=r", "engine= is given twice");
    check(
        "engine=e role=r max=1h",
        &format!("\"max=1h\" is not of the form engine=E, role=R or ttl=D; {write}"),
    );
    check("engine = e role=r", "\"engine\" is not of the form");
    check("Engine=e role=r", "\"Engine=e\" is not of the form");
    check("engine= role=r", "engine: \"\" is not a name; allowed: 1 to 128 of A-Z, a-z, 0-9, - and _");
    check("engine=a/../b role=r", "engine: \"a/../b\" is not a name");
    check("engine=e role=r=s", "role: \"r=s\" is not a name");
    check(&format!("engine=e role={}", "r".repeat(129)), "role: \"rrrr");
    check("engine=e role=r ttl=2", "ttl: \"2\" is not a duration: it has no unit");
    check("engine=e role=r ttl=0s", "ttl: \"0s\" is not a duration: it is zero");
}
