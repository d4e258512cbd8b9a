//! Values arrive unchanged, and an equivalent representation is not a change.

use scaivault_devserver::Route;
use scaivault_testkit::world::{Answer, Calls, Chance, Misbehaviour};

use crate::{
    answers::shuffle,
    application::{Application, SIGNAL},
    site::{Site, generation},
    support::until,
};

/// As text, because a JSON value in a program has already lost its digits.
const NUMBERS: [(&str, &str); 9] = [
    ("account", "123456789012345678901234567890"),
    ("id", "18446744073709551616"),
    ("fine", "18446744073709551615"),
    ("pin", "1.10"),
    ("rate", "0.1000000000000000055"),
    ("limit", "1e3"),
    ("capital", "1E+3"),
    ("zero", "-0"),
    ("small", "-9223372036854775809"),
];

fn numbers() -> Answer {
    let members: Vec<_> = NUMBERS.iter().map(|(name, digits)| format!("\"{name}\": {digits}")).collect();
    let nested = format!("{}, \"nested\": {{\"deep\": [1.10, 1e3]}}", members.join(", "));
    Answer::json(200, format!("{{\"path\": \"app/stripe\", \"version\": 1, \"data\": {{{nested}}}}}"))
}

#[tokio::test]
async fn numbers_keep_their_digits() {
    let site = Site::new().await;
    site.world.add(Calls::READ, Chance::Always, Misbehaviour::Answer(numbers()));
    let template: Vec<_> = NUMBERS.iter().map(|(name, _)| format!("{name}={{{{ data.{name} }}}};")).collect();
    let template = format!("template template=\"{}\"", template.concat());
    let fields: Vec<_> = NUMBERS.map(|(name, _)| (format!("app/stripe#{name}"), name)).into();
    let mut entries = vec![("app/stripe", "json"), ("app/stripe", template.as_str())];
    entries.extend(fields.iter().map(|(source, file)| (source.as_str(), *file)));
    // A list or an object cannot be written in a line-based format, so only formats that support
    // them get the whole secret.
    entries.push(("app/stripe", "yaml format=yaml"));
    let secrets = site.pod.mapping(&entries);
    site.run("init", &[("SECRETS", &secrets)]).await.check(0, &[]);
    for (name, digits) in NUMBERS {
        assert_eq!(site.pod.secret(name).as_deref(), Some(digits), "raw {name}");
        let template = site.pod.secret("template").unwrap();
        assert!(template.contains(&format!("{name}={digits};")), "{name}: {template}");
        let json = site.pod.secret("json").unwrap().replace([' ', '\n'], "");
        let ends = [',', '}'].iter().any(|end| json.contains(&format!("\"{name}\":{digits}{end}")));
        assert!(ends, "{name}: {json}");
        let yaml = site.pod.secret("yaml").unwrap();
        assert!(yaml.contains(digits), "{name}: {yaml}");
    }
    let json = site.pod.secret("json").unwrap().replace([' ', '\n'], "");
    assert!(json.contains("[1.10,1e3]"), "{json}");
}

#[tokio::test]
async fn numbers_keep_their_digits_in_lines() {
    let site = Site::new().await;
    let members: Vec<_> = NUMBERS.iter().map(|(name, digits)| format!("\"{name}\": {digits}")).collect();
    let body = format!("{{\"version\": 1, \"data\": {{{}}}}}", members.join(", "));
    site.world.add(Calls::READ, Chance::Always, Misbehaviour::Answer(Answer::json(200, body)));
    let secrets =
        site.pod.mapping(&[("app/stripe", "env format=env"), ("app/stripe", "properties format=properties")]);
    site.run("init", &[("SECRETS", &secrets)]).await.check(0, &[]);
    for (name, digits) in NUMBERS {
        let env = site.pod.secret("env").unwrap();
        assert!(env.lines().any(|line| line.trim_end_matches('\'').ends_with(digits)), "{name}: {env}");
        let properties = site.pod.secret("properties").unwrap();
        assert!(properties.lines().any(|line| line.ends_with(digits)), "{name}: {properties}");
    }
}

/// All formats of one secret whose responses differ in text but not in meaning.
#[tokio::test]
async fn equivalent_json_is_no_change() {
    let ways: [fn(&Site); 2] = [
        |site| site.world.add(Calls::READ, Chance::Always, Misbehaviour::Reshape(shuffle)),
        |site| {
            let plain = r#"{"version":1,"data":{"a":"A/\u00e9","b":{"c":[1,2],"d":null},"e":1.50,"f":true}}"#;
            let other = "{ \"data\" : {\n\t\"f\":true , \"e\": 1.50, \"b\": {\"d\": null, \"c\": [ 1 , 2 ]},\r\n \
                         \"a\": \"\\u0041\\/é\"}, \"new_member\": {}, \"version\": 1 }";
            let json = |text: &str| Misbehaviour::Answer(Answer::json(200, text));
            site.world.add(Calls::READ, Chance::Always, json(plain));
            site.world.add(Calls::READ, Chance::EveryOther, json(other));
        },
    ];
    for way in ways {
        let site = Site::with(SEED).await;
        way(&site);
        let file = site.pod.path("secrets/json");
        let application = Application::start(&[&file]).await;
        let watch = site.pod.mapping(&[
            ("app/stripe", "json"),
            ("app/stripe", "yaml format=yaml"),
            ("app/stripe#b", "field"),
            ("app/stripe", "template template=\"{{ data }} {{ data.b | tojson }} {{ data.a }}\""),
        ]);
        let variables = [
            ("WATCH_PATHS", watch.as_str()),
            ("REFRESH_INTERVAL", "1s"),
            ("RELOAD_SIGNAL", SIGNAL),
            ("RELOAD_TARGET", application.name()),
        ];
        let sidecar = site.sidecar(&variables);
        until(|| site.pod.secret("template").is_some()).await;
        let files = || ["json", "yaml", "field", "template"].map(|file| site.pod.secret(file));
        let (before, written) = (files(), generation(&site.pod.path("secrets")));
        assert!(written.is_some());
        let reads = site.pod.vault.requests(Route::Read) + site.world.seen(Calls::READ).len() as u64;
        let seen = || site.pod.vault.requests(Route::Read) + site.world.seen(Calls::READ).len() as u64;
        until(|| seen() >= reads + 8).await;
        assert_eq!(generation(&site.pod.path("secrets")), written);
        assert_eq!(files(), before);
        assert_eq!((application.signals(), sidecar.said("application signalled")), (0, 0));
        sidecar.end().await.check(0, &[]);
    }
}

const SEED: &str = r#"
policies: {billing: [{path_pattern: "app/**", permissions: [read]}]}
identities: [{id: "sa:billing", service_accounts: [billing/web], policies: [billing]}]
secrets:
  app/stripe: {data: {a: "A", b: {z: 1, y: [{q: 1, p: 2}], x: {}}, e: 5, f: true, c: "x", d: "y"}}
"#;
