use super::*;

fn check(text: &str) -> Result<Vec<TemplateWarning>, TemplateError> {
    check_template(text, &TemplateNames::Secret).map(|checked| checked.warnings)
}

#[track_caller]
fn refused(text: &str) -> String {
    check(text).expect_err(text).to_string()
}

#[test]
fn limits_count_the_operators_of_one_tag_only() {
    let text = "a.b-c=[x]|(y)\n".repeat(2_000);
    assert!(check_template(&text, &TemplateNames::Secret).is_ok());
    let properties =
        "spring.datasource.url=jdbc:postgresql://{{ data.host | lower }}:{{ data.port }}/x?a=b\n";
    assert_eq!(check(&properties.repeat(350)), Ok(vec![]));
    assert_eq!(
        check(&"a".repeat(TEMPLATE_MAX_BYTES + 1)),
        Err(TemplateSizeError::TooLong(TEMPLATE_MAX_BYTES + 1).into())
    );
}

/// Without the limit, each of these overflows the stack of the parser, of code generation or of
/// drop when it has some thousand operators.
#[test]
fn deep_templates_are_refused_before_they_are_parsed() {
    let deep = |count: usize| {
        [
            format!("\n{{{{ {}data }}}}", "-".repeat(count)),
            format!("\n{{{{ {}data }}}}", "not ".repeat(count)),
            format!("\n{{{{ data{} }}}}", "+data".repeat(count)),
            format!("\n{{{{ data{} }}}}", "~data".repeat(count)),
            format!("\n{{{{ data{} }}}}", ".a".repeat(count)),
            format!("\n{{{{ data{} }}}}", "|e".repeat(count)),
            format!("\n{{{{ data{} }}}}", "[0]".repeat(count)),
            format!("\n{{{{ {}data{} }}}}", "(".repeat(count), ")".repeat(count)),
            format!("\n{{% set {}data{} = 1 %}}", "(".repeat(count), ")".repeat(count)),
            format!("\n{{{{ data{} }}}}", " and data".repeat(count)),
            format!("\n{{{{ data{} }}}}", " is true".repeat(count)),
            format!("\n{{{{ data{} }}}}", " if data else data".repeat(count / 2 + 1)),
            format!("\n{{% if data %}}{}{{% endif %}}", "{% elif data %}".repeat(count)),
        ]
    };
    for text in deep(TEMPLATE_MAX_OPERATORS + 1) {
        assert!(
            matches!(
                check(&text),
                Err(TemplateError::Size(
                    TemplateSizeError::TooManyOperators(2) | TemplateSizeError::TooManyBranches(2)
                ))
            ),
            "{}",
            &text[..40]
        );
    }
    // At the limit they all return, on the stack of a test thread.
    for text in deep(TEMPLATE_MAX_OPERATORS - 2) {
        let _ = check(&text);
        let _ = template_environment().template_from_str(&text);
    }
}

#[test]
fn the_tags_of_a_template_are_bounded_together() {
    let tokens = |count: usize| format!("{}{{{{ data.a }}}}", "{{ 7 }}".repeat((count - 5) / 3));
    let checked = check_template(&tokens(9_998), &TemplateNames::Secret);
    assert_eq!(checked, Ok(CheckedTemplate { warnings: vec![], tokens: 9_998 }));
    assert!(refused(&tokens(10_001)).contains("more than 10000 tokens"));
}

#[test]
fn a_syntax_error_has_its_line_and_no_text() {
    let said = refused("first\nhunter2 {{ hunter3");
    assert_eq!(
        said,
        "the template does not parse: line 2: unexpected end of input, expected end of variable block"
    );
    for (text, expected) in [
        ("{{ .Values.x }}", "line 1: unexpected `.`"),
        ("{% include 'hunter2' %}", "line 1: unknown statement include"),
        ("a\n{% if data.hunter2 %}x", "line 2: "),
        ("{# hunter2", "line 1: unexpected end of comment"),
    ] {
        let said = refused(text);
        assert!(said.contains(expected) && !said.contains("hunter2"), "{text}: {said}");
    }
}

#[test]
fn unknown_names_are_named_in_every_branch() {
    for (text, expected) in [
        ("{{ data.a | uper }}", "line 1 of the template: there is no filter \"uper\""),
        (
            "{% if false %}\n{{ data.a | uper }}{% endif %}",
            "line 2 of the template: there is no filter \"uper\"",
        ),
        ("{{ data.a | pprint }}", "no filter \"pprint\""),
        ("{% filter uper %}x{% endfilter %}", "no filter \"uper\""),
        ("{% set x | uper %}x{% endset %}{{ x }}", "no filter \"uper\""),
        ("{{ data.a | map('uper') }}", "no filter \"uper\""),
        ("{{ data.a | default(data.b | uper) }}", "no filter \"uper\""),
        ("{{ data.a is evn }}", "no test \"evn\""),
        ("{{ data.a | select('evn') | list }}", "no test \"evn\""),
        ("{{ data.a | rejectattr('x', 'evn') }}", "no test \"evn\""),
        ("{{ data.a | map(data.b) }}", "\"map\" needs the name of a filter or test in quotes"),
        ("{{ data.a | selectattr(*data.b) }}", "\"selectattr\" needs the name of a filter or test in quotes"),
        ("{{ debug() }}", "no function \"debug\""),
        ("{{ data() }}", "no function \"data\""),
        ("{{ data.items() }}", "\"items\" is called as a method"),
        ("{{ dta.a }}", "no variable \"dta\""),
        ("{{ dta.a | default('') }}", "no variable \"dta\""),
        ("{{ dta[1:2] }}", "no variable \"dta\""),
        ("{% autoescape dta %}{{ data.a }}{% endautoescape %}", "no variable \"dta\""),
        ("{% set x = x %}{{ x }}", "the variable \"x\" is not set here"),
        ("{% for a in data %}{% set x = a %}{% endfor %}{{ x }}", "the variable \"x\" is not set here"),
        (
            "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}",
            "the variable \"x\" is not set here",
        ),
        (
            "{% set x = 1 %}{% macro m(x, q=x) %}{{ q }}{% endmacro %}{{ m() }}",
            "the variable \"x\" is not set here",
        ),
        (
            "{% set x = 1 %}{% macro m() %}{% set x = x %}{% endmacro %}{{ m() }}",
            "the variable \"x\" is not set here",
        ),
        (
            "{% set x = 'a' %}{% macro m() %}{{ x[0:1] }}{% endmacro %}{{ m() }}",
            "the variable \"x\" is not set here",
        ),
        ("{% for a in data %}{{ loop.indx }}{% endfor %}", "loop has no \"indx\""),
        ("{{ loop.index }}", "no variable \"loop\""),
        ("{{ self }}", "no variable \"self\""),
        ("{{ path.parent }}", "\"parent\" is read as one"),
        ("{{ secrets.db.data.a }}", "no variable \"secrets\""),
        ("{{ [1] * 100000000 }}", "the operator \"*\" repeats a list"),
    ] {
        let said = refused(text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn macros_are_not_nested_without_a_bound() {
    let nested = |depth: usize| {
        let open = (0..depth).map(|level| format!("{{% macro m{level}() %}}")).collect::<Vec<_>>().concat();
        format!("{open}{{{{ data.a }}}}{}", "{% endmacro %}".repeat(depth))
    };
    assert!(check(&nested(8)).is_ok());
    assert!(refused(&nested(9)).contains("the macro \"m8\" is nested too deeply"));
}

#[test]
fn all_unknown_names_are_reported_at_once() {
    let Err(TemplateError::Names(unknown)) = check("{{ dta.a | uper }}\n{{ data.b is evn }}{{ path.x }}")
    else {
        panic!("accepted")
    };
    assert_eq!(unknown.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["uper", "dta", "evn", "x"]);
    assert_eq!(unknown[2].line, 2);
    assert!(unknown[0].known.contains(&"upper".to_owned()));
    assert_eq!(unknown[1].known, ["data", "path", "version"]);
    let many = (0..50).map(|index| format!("{{{{ x{index} }}}}")).collect::<Vec<_>>().concat();
    assert!(refused(&many).ends_with("; and 4 more"));
}

#[test]
fn names_depend_on_the_files_sources() {
    let of = |text: &str, names: &TemplateNames<'_>| {
        check_template(text, names).map(|checked| checked.warnings).map_err(|error| error.to_string())
    };
    let named = TemplateNames::Secrets(vec!["db", "tls"]);
    assert_eq!(of("{{ secrets.db.data.a }}{{ secrets['tls'].version }}", &named), Ok(vec![]));
    for (text, expected) in [
        ("{{ secrets.dbb.data.a }}", "no secret with the alias \"dbb\""),
        ("{{ secrets['dbb'].data.a }}", "no secret with the alias \"dbb\""),
        ("{{ secrets.db.a }}", "a secret of secrets.<alias> has no \"a\""),
        ("{{ secrets.db.path.x }}", "\"x\" is read as one"),
        ("{{ data.a }}", "no variable \"data\""),
    ] {
        let said = of(text, &named).expect_err(text);
        assert!(said.contains(expected), "{text}: {said}");
    }
    assert_eq!(of("{{ data.a }}{{ path }}", &TemplateNames::Lease), Ok(vec![]));
    assert!(
        of("{{ version }}", &TemplateNames::Lease).expect_err("a lease has none").contains("\"version\"")
    );
}

#[test]
fn templates_that_the_agent_can_render_are_accepted() {
    for text in [
        "{{ data.a }}{{ data['b'] }}{{ data.c.d[0] }}{{ version }}@{{ path }}",
        "{{ data.port | default(5432) }}{{ 'x' if data.a is defined else 'y' }}",
        "{% if data.tls == 'on' %}{% set s = 'https' %}{% else %}{% set s = 'http' %}{% endif %}{{ s }}",
        "{% for key, value in data | items if value %}{{ loop.index }}{{ loop.cycle(1, 2) }}{{ key }}{{ value }}{% else %}-{% endfor %}",
        "{% for a in data.tree recursive %}{{ loop(a.children) }}{% endfor %}",
        "{% macro m(a, b='x') %}{{ a }}{{ b }}{{ path }}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ data.a }}{% endcall %}",
        "{% set ns = namespace(n=0) %}{% for a in data %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{% set x = 'a' %}{% macro m(y) %}{{ x }}{{ y[0:1] }}{{ data.a[0:1] }}{% endmacro %}{{ m('b') }}",
        "{% with a = data.a, b = a %}{{ b }}{% endwith %}{% set x %}{{ data.a }}{% endset %}{{ x | upper }}",
        "{{ data.list | map('upper') | select('ne', 'X') | map(attribute='a') | join(',') }}",
        "{{ range(3) | list }}{{ dict(a=data.a) | tojson }}{{ data | dictsort | tojson }}",
        "{% raw %}{{ no.name | no }}{# no comment #}{% endraw %}{{ data.a }}",
        "{% set data = {'x': 1} %}{{ data.x }}{{ path }}",
        "{{ data.a }}\n",
    ] {
        assert_eq!(check(text), Ok(vec![]), "{text}");
    }
}

#[test]
fn text_that_is_not_written_is_warned_about() {
    for (text, expected) in [
        ("{{ data.a }}\n{# note #}", TemplateWarning::Comment(2)),
        ("n=${#list[@]} #}\n{{ data.a }}", TemplateWarning::Comment(1)),
        ("a={{ data.a -}}\nb={{ data.b }}", TemplateWarning::Joined(1)),
        ("a={{ data.a -}}\n{{ data.b }}", TemplateWarning::Joined(1)),
        ("{{ data.a }}\nx\n{{- data.b }}", TemplateWarning::Joined(2)),
        ("a\n{%- if data.x -%}\nb{% endif %}", TemplateWarning::Joined(1)),
        ("{% macro m() %}x{% endmacro %}{{ data.a }}", TemplateWarning::UnusedMacro(1, Excerpt::new("m"))),
        ("{{ data.a }}\n{% set x %}y{% endset %}", TemplateWarning::UnusedVariable(2, Excerpt::new("x"))),
        ("{% autoescape true %}{{ data.a }}{% endautoescape %}", TemplateWarning::AutoEscape(1)),
        ("password=$data.password", TemplateWarning::NoSecret("data.<field>")),
        ("", TemplateWarning::NoSecret("data.<field>")),
    ] {
        assert_eq!(check(text), Ok(vec![expected]), "{text}");
    }
}

#[test]
fn usual_white_space_control_is_not_warned_about() {
    for text in [
        "{% if data.a -%}\nx\n{%- endif %}\n{{ data.b }}",
        "{%- for a in data -%}\n  {{ a }}\n{%- endfor %}\n",
        "a\n{%- if data.a %}\nb\n{%- endif %}\nc\n",
        "{{- data.a -}} {{ data.b }}",
        "{{ data.a -}}\n",
    ] {
        assert_eq!(check(text), Ok(vec![]), "{text}");
    }
}

#[test]
fn the_lists_of_names_are_sorted() {
    for list in
        [TEMPLATE_FILTERS, TEMPLATE_TESTS, TEMPLATE_FUNCTIONS, names::SECRET_MEMBERS, names::LOOP_MEMBERS]
    {
        assert!(list.is_sorted(), "{list:?}");
    }
}
