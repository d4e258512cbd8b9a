//! Secrets that a reader could misinterpret.

use serde_json::{Map, Value, json};

/// The formats that programs read.
pub(crate) const FORMATS: [&str; 5] = ["json", "yaml", "env", "dotenv", "properties"];

/// Texts that every format supports.
const TEXTS: &[&str] = &[
    "plain",
    "",
    "a b",
    " lead",
    "trail ",
    "\tlead",
    "trail\t",
    "a#b",
    "a #b",
    "#",
    "it's",
    "it's#1",
    "say \"x\"",
    "\"x\"",
    "'x'",
    "'",
    "\"",
    "`x`",
    "it's \"x\"",
    "a'b`c\"d",
    "C:\\data\\",
    "C:\\new\\table\\readme",
    "a\\\\b",
    "\\",
    "\\'",
    "\\\"",
    "\\$x",
    "\\u0041",
    "a$b",
    "$HOME",
    "a$$b",
    "$(id)",
    "`id`",
    "${X",
    "a\nb",
    "\n",
    "a\n\nb\n",
    "x\nNEXT=evil\nB='y",
    "-----BEGIN KEY-----\nabc+/=\n-----END KEY-----\n",
    "é😀",
    "\u{2028}\u{2029}\u{85}",
    "\u{a0}x\u{a0}",
    "\u{feff}x",
    "\u{1}\u{1b}\u{7f}\u{b}\u{c}",
    "a=b",
    "=",
    "export x",
    "a;b&c|d<e>f(g)h*i?j!k~l%m^n",
    "{\"a\":\"b\"}",
    "a: b",
    "- a",
    "null",
    "yes",
    "0x10",
    "1e3",
    "2020-01-01",
    "<<",
];

/// Texts that no form of dotenv preserves for all of its readers.
const NOT_DOTENV: &[&str] =
    &["a\r\nb", "\r", "a${X}b", "${X:-y}", "it's \"#1\"", "it's C:\\ ", "a\\\\\nb", "$\\", "\n\\", "'$\""];

/// Names that YAML and properties files support, but variables do not.
const NAMES: &[&str] =
    &["a b", "a:b", "#x", "!x", "=", "", " lead", "<<", "1", "-", "? x", "é", "a\nb", "\\", "a.b-c"];

/// A secret, and the formats that reject it.
pub(crate) struct Case {
    pub(crate) data: Map<String, Value>,
    refused: &'static [&'static str],
}

impl Case {
    /// With a second field, which a reader would lose or change after an error.
    fn new(name: &str, value: impl Into<Value>, refused: &'static [&'static str]) -> Self {
        let data = Map::from_iter([(name.to_owned(), value.into()), ("NEXT".to_owned(), "n".into())]);
        Self { data, refused }
    }

    pub(crate) fn is_refused_by(&self, format: &str) -> bool {
        self.refused.contains(&format)
    }

    /// The data with every value converted to text.
    pub(crate) fn texts(&self) -> Map<String, Value> {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.data.iter().map(|(name, value)| (name.clone(), text(value).into())).collect()
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = TEXTS.iter().map(|text| Case::new("A", *text, &[])).collect();
    cases.extend(NOT_DOTENV.iter().map(|text| Case::new("A", *text, &["dotenv"])));
    cases.push(Case::new("A", "x\0y", &["env", "dotenv"]));
    cases.extend(["\u{fffe}", "\u{fdd0}", "\u{10ffff}"].map(|text| Case::new("A", text, &["env"])));
    cases.push(Case::new("A", "x".repeat(200_000), &[]));
    cases.push(Case::new("A", "x'\n".repeat(50_000), &[]));
    cases.extend(NAMES.iter().map(|name| Case::new(name, "v", &["env", "dotenv"])));
    cases.extend(["export", "if", "A1_", "null", "yes", "PATH_"].map(|name| Case::new(name, "v", &[])));
    cases.extend(["UID", "RANDOM", "OPTIND", "_"].map(|name| Case::new(name, "v", &["env"])));
    cases.push(Case::new("__proto__", "v", &["dotenv"]));
    cases.push(Case::new(&"k".repeat(1100), "v", &["yaml", "env", "dotenv"]));
    let values = [
        json!(true),
        json!(null),
        json!(5432),
        json!(-1.5),
        json!([]),
        json!({}),
        json!([1, "a'b", null, [true]]),
        json!({"a": {"b": "é\u{85}\n"}, "x y": "#"}),
        json!({"a": "\"'"}),
    ];
    cases.push(Case::new("A", json!({"a": "é'"}), &["dotenv"]));
    cases.extend(values.map(|value| Case::new("A", value, &[])));
    cases
}
