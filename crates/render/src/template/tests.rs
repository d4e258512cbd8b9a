//! Every template that the injector accepts can be rendered by the agent.

use minijinja::Environment;
use proptest::prelude::*;
use scaivault_client::SecretData;
use scaivault_contract::{TEMPLATE_FILTERS, TEMPLATE_FUNCTIONS, TEMPLATE_TESTS};
use serde_json::json;

use super::*;

fn environment() -> Environment<'static> {
    let mut environment = template_environment();
    filters::install(&mut environment);
    environment
}

/// Renders a template of one secret on this thread.
fn rendered(text: &str) -> Result<String, TemplateError> {
    let source = Source::Secrets("a/b".parse().unwrap());
    let template = Template::parse(text.to_owned(), &source)?;
    let data = json!({"a": "x", "b": {"c": [1, 2]}, "n": 5, "list": ["x", "y"]}).to_string();
    let data = SecretData::new(&data).unwrap();
    let (text, _) =
        template.render_here(&source, &[Content { version: Some(3), data: &data }], TEMPLATE_FUEL)?;
    Ok(text)
}

#[test]
fn several_files_share_their_steps() {
    let source = Source::Secrets("a/b".parse().unwrap());
    let template = |text: &str| Template::parse(text.to_owned(), &source).unwrap();
    let data = SecretData::new("{}").unwrap();
    let render = |template: &Template, fuel: &mut u64| {
        template.render(&source, &[Content { version: None, data: &data }], fuel)
    };
    let costly = template("{{ path }}{% for a in range(9000) %}{{ a }}{% endfor %}");
    let mut fuel = 2 * TEMPLATE_FUEL;
    render(&costly, &mut fuel).unwrap();
    let used = 2 * TEMPLATE_FUEL - fuel;
    assert!(used > 9000, "{used}");
    fuel = used - 1;
    assert_eq!(render(&costly, &mut fuel), Err(TemplateError::OutOfFuel));
    assert_eq!(fuel, 0, "a failure takes all that it was allowed");
    let endless = template(
        "{{ path }}{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
    );
    fuel = 2 * TEMPLATE_FUEL;
    assert_eq!(render(&endless, &mut fuel), Err(TemplateError::OutOfFuel));
    assert_eq!(fuel, TEMPLATE_FUEL, "one file takes no more than alone");
}

/// Names that exist only in the agent's environment or only in the contract.
#[test]
fn the_environment_has_exactly_the_names_of_the_contract() {
    let environment = environment();
    // The library has no other way to list its names.
    let debug = format!("{environment:?}");
    let names = |field: &str| {
        let (_, rest) = debug.split_once(&format!("{field}: [")).unwrap();
        let (list, _) = rest.split_once(']').unwrap();
        list.split(", ").map(|name| name.trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("filters"), TEMPLATE_FILTERS);
    assert_eq!(names("tests"), TEMPLATE_TESTS);
    let functions: Vec<_> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(functions, TEMPLATE_FUNCTIONS);
}

#[test]
fn loop_has_exactly_the_members_of_the_contract() {
    let text = "{% for a in [1, 2, 3] %}{% if loop.index == 2 %}{{ loop.depth }}{{ loop.depth0 }}{{ loop.first }}\
                {{ loop.index0 }}{{ loop.last }}{{ loop.length }}{{ loop.nextitem }}{{ loop.previtem }}\
                {{ loop.revindex }}{{ loop.revindex0 }}{{ loop.changed(a) }}{{ loop.cycle(7, 8) }}{% endif %}{% endfor %}\
                {{ data.a }}";
    assert_eq!(rendered(text).unwrap(), "10false1false33121true8x");
}

#[test]
fn a_name_is_refused_before_any_secret_is_fetched() {
    let said = rendered("{{ data.a | uper }}").unwrap_err().to_string();
    assert_eq!(said, "line 1 of the template: there is no filter \"uper\"");
}

/// Expressions in which about one name in ten does not exist.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        8 => Just("data.a"),
        2 => Just("data['list']"),
        2 => Just("version"),
        1 => Just("path"),
        1 => Just("data"),
        1 => Just("7"),
        1 => Just("'text'"),
        1 => Just("range(3)"),
        1 => Just("path.x"),
        1 => Just("dta"),
    ]
    .prop_map(str::to_owned);
    let name = |known: &'static [&'static str]| prop_oneof![12 => proptest::sample::select(known), 1 => Just("uper"), 1 => Just("a.b")];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            (inner.clone(), name(TEMPLATE_FILTERS)).prop_map(|(value, filter)| format!("{value} | {filter}")),
            (inner.clone(), name(TEMPLATE_FILTERS), inner.clone())
                .prop_map(|(value, filter, with)| format!("({value} | {filter}({with}))")),
            (inner.clone(), name(TEMPLATE_TESTS)).prop_map(|(value, test)| format!("({value} is {test})")),
            (inner.clone(), name(TEMPLATE_FILTERS))
                .prop_map(|(value, filter)| format!("[{value}] | map('{filter}') | list")),
            (inner.clone(), name(TEMPLATE_TESTS), inner.clone())
                .prop_map(|(value, test, with)| format!("[{value}] | select('{test}', {with})")),
            (inner.clone(), name(TEMPLATE_TESTS))
                .prop_map(|(value, test)| format!("[{value}] | rejectattr('a', '{test}')")),
            (name(TEMPLATE_FUNCTIONS), inner.clone()).prop_map(|(name, value)| format!("{name}({value})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} ~ {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} == {b})")),
            inner.clone().prop_map(|value| format!("({value}).items()")),
            inner.prop_map(|value| format!("({value})[0:2]")),
        ]
    })
}

/// Statements on the variables `x`, `y` and `z`, which can only fail because of an undefined name.
fn statements() -> impl Strategy<Value = String> {
    let variable = || prop_oneof![Just("x"), Just("y"), Just("z")];
    let value = move || prop_oneof![3 => variable(), 1 => Just("1"), 1 => Just("version")];
    let leaf = prop_oneof![
        value().prop_map(|value| format!("{{{{ {value} }}}}")),
        (variable(), value()).prop_map(|(name, value)| format!("{{% set {name} = {value} %}}")),
        Just("text\n".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let body = || proptest::collection::vec(inner.clone(), 0..4).prop_map(|parts| parts.concat());
        prop_oneof![
            4 => body(),
            1 => body().prop_map(|body| format!("{{% if version %}}{body}{{% endif %}}")),
            1 => (variable(), value(), body())
                .prop_map(|(name, value, body)| format!("{{% for {name} in [{value}] %}}{body}{{% endfor %}}")),
            1 => (variable(), value(), value(), body()).prop_map(|(name, value, filter, body)| {
                format!("{{% for {name} in [{value}] if {filter} %}}{body}{{{{ loop.index }}}}{{% endfor %}}")
            }),
            1 => (variable(), body())
                .prop_map(|(name, body)| format!("{{% for {name} in [] %}}{{% else %}}{body}{{% endfor %}}")),
            1 => (variable(), value(), variable(), body()).prop_map(|(name, value, other, body)| {
                format!("{{% with {name} = {value}, {other} = {name} %}}{body}{{% endwith %}}")
            }),
            1 => (variable(), body()).prop_map(|(name, body)| format!("{{% set {name} %}}{body}{{% endset %}}")),
            1 => body().prop_map(|body| format!("{{% filter upper %}}{body}{{% endfilter %}}")),
            1 => (variable(), variable(), value(), body()).prop_map(|(name, parameter, default, body)| {
                format!(
                    "{{% macro m_{name}({parameter}, q={default}) %}}{body}{{{{ q }}}}{{% endmacro %}}{{{{ m_{name}(1) }}}}"
                )
            }),
            1 => (variable(), body()).prop_map(|(name, body)| {
                format!(
                    "{{% macro c() %}}{{{{ caller(1) }}}}{{% endmacro %}}{{% call({name}) c() %}}{body}{{% endcall %}}"
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_accepted_template_has_no_unknown_names(expression in expression()) {
        let text = format!("{{{{ {expression} }}}}");
        if let Err(TemplateError::Rendering(Fault { kind, .. })) = rendered(&text) {
            let is_unknown = matches!(
                kind,
                ErrorKind::UnknownFilter
                    | ErrorKind::UnknownTest
                    | ErrorKind::UnknownFunction
                    | ErrorKind::UnknownMethod
                    | ErrorKind::SyntaxError
            );
            prop_assert!(!is_unknown, "{kind}: {text}");
        }
    }

    #[test]
    fn an_accepted_variable_is_set_while_rendering(statements in statements()) {
        let outcome = rendered(&statements);
        prop_assert!(
            matches!(outcome, Ok(_) | Err(TemplateError::Invalid(_) | TemplateError::OutOfFuel)),
            "{outcome:?}: {statements}"
        );
    }
}
