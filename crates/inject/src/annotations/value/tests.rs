use super::*;

#[test]
fn a_selection_is_everyone_or_names_or_nobody() {
    assert_eq!("*".parse(), Ok(Selection::All));
    assert_eq!("".parse(), Ok(Selection::Names(vec![])));
    assert_eq!(" a, b ,a".parse(), Ok(Selection::Names(vec!["a".into(), "b".into()])));
    assert!("a,*".parse::<Selection>().is_err());
}

#[test]
fn urls_are_https_or_http_with_a_host_and_nothing_clever() {
    for text in [
        "https://scaivault.scailabs.ai",
        "https://v.example:8200/base",
        "http://127.0.0.1:1",
        "https://[::1]:8200",
    ] {
        assert!(text.parse::<Url>().is_ok(), "{text}");
    }
    for text in [
        "",
        "vault",
        "ftp://v",
        "https://",
        "https://u:p@v",
        "https://v?x",
        "https://v#f",
        "https://v:0",
        "https://v:x",
        "https://v/a/../b",
        "https://v/a/./b",
        "https://v/a/%2e%2e/b",
        "https://v /",
        "https://v\n",
    ] {
        assert!(text.parse::<Url>().is_err(), "{text:?}");
    }
}

#[test]
fn an_allow_list_does_not_let_lookalikes_through() {
    let url: Url = "https://vault.example.evil".parse().unwrap();
    assert!(!url.is_below("https://vault.example"));
    assert!("https://vault.example/a".parse::<Url>().unwrap().is_below("https://vault.example/"));
    assert!(image_is_below("r.example/team/agent:1", "r.example/team/agent"));
    assert!(image_is_below("r.example/team/agent@sha256:0", "r.example"));
    assert!(!image_is_below("r.example/team/agent-evil:1", "r.example/team/agent"));
    assert!(!image_is_below("r.example:5000/agent", "r.example"));
    assert!(!image_is_below("r.example:5000/agent", "r.example/"));
}

#[test]
fn a_broken_template_is_refused_without_quoting_it() {
    assert!(template("{{ data.password }}").is_ok());
    let reason = template("first\n{{ hunter2").unwrap_err();
    assert!(reason.contains("line 2") && !reason.contains("hunter2"), "{reason}");
}

#[test]
fn reload_targets() {
    let target: ReloadTarget = "app/nginx".parse().unwrap();
    assert_eq!((target.container.as_deref(), &*target.process), (Some("app"), "nginx"));
    assert!("nginx".parse::<ReloadTarget>().unwrap().container.is_none());
    for text in ["", "/nginx", "app/", "/usr/bin/nginx"] {
        assert!(text.parse::<ReloadTarget>().is_err(), "{text}");
    }
}

#[test]
fn object_names_are_dns_subdomains() {
    assert!(object_name("a.b-c").is_ok());
    for text in ["", "A", "a..b", "-a", "a-", "a/b"] {
        assert!(object_name(text).is_err(), "{text}");
    }
}

/// Each of these overflows the stack of minijinja's parser when it is some thousand operators long.
#[test]
fn templates_that_would_overflow_the_parsers_stack_are_refused_before_it() {
    let deep = |count: usize| {
        [
            format!("{{{{ {}a }}}}", "-".repeat(count)),
            format!("{{{{ {}a }}}}", "not ".repeat(count)),
            format!("{{{{ a{} }}}}", "+a".repeat(count)),
            format!("{{{{ a{} }}}}", "~a".repeat(count)),
            format!("{{{{ a{} }}}}", ".a".repeat(count)),
            format!("{{{{ a{} }}}}", "|a".repeat(count)),
            format!("{{{{ a{} }}}}", "[0]".repeat(count)),
            format!("{{{{ a{} }}}}", " and a".repeat(count)),
            format!("{{{{ a{} }}}}", " is a".repeat(count)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(count / 4)),
        ]
    };
    for text in deep(TEMPLATE_OPERATORS + 4) {
        assert!(template(&text).unwrap_err().contains("operators"), "{}", &text[..40]);
    }
    // And at the limit the parser comes back, on the stack of a test's thread.
    for text in deep(TEMPLATE_OPERATORS - 20) {
        let _ = template(&text);
    }
    assert!(template(&"a".repeat(TEMPLATE_BYTES + 1)).unwrap_err().contains("bytes"));
}
