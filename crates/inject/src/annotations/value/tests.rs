use super::*;

#[test]
fn a_selection_is_all_none_or_names() {
    assert_eq!("*".parse(), Ok(Selection::All));
    assert_eq!("".parse(), Ok(Selection::Names(vec![])));
    assert_eq!(" a, b ,a".parse(), Ok(Selection::Names(vec!["a".into(), "b".into()])));
    assert!("a,*".parse::<Selection>().is_err());
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

#[test]
fn no_part_of_an_image_leads_out_of_another() {
    for text in ["agent", "r.example:5000/team/agent:1.0", "r.example/a@sha256:0", "r.example/"] {
        assert!(image(text).is_ok(), "{text}");
    }
    for text in
        ["", "r.example/a/../b", "r.example/./b", "r.example//b", "../b", "r.example/-b", "r.example/a b"]
    {
        assert!(image(text).is_err(), "{text}");
    }
}

#[test]
fn an_allow_list_refuses_lookalikes() {
    assert!(image_is_below("r.example/team/agent:1", "r.example/team/agent"));
    assert!(image_is_below("r.example/team/agent@sha256:0", "r.example"));
    assert!(!image_is_below("r.example/team/agent-evil:1", "r.example/team/agent"));
    assert!(!image_is_below("r.example:5000/agent", "r.example"));
    assert!(!image_is_below("r.example:5000/agent", "r.example/"));
}
