//! The generated parts of a Helm chart: `values.schema.json` gets its descriptions from the
//! comments in `values.yaml`, and in the injector's chart the keys of `injector.defaults` from the
//! annotation registry; `README.md` gets its table of values.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

mod values;

use values::Item;

/// The markers of the table of values in the chart's README.
const TABLE_START: &str = "<!-- Written by `cargo xtask docs` from values.yaml, down to the next mark. -->\n";
const TABLE_END: &str = "<!-- End of the values. -->\n";

/// The registry's text for keys that the injector's configuration may set.
const IN_CONFIGURATION: &str = "in the injector's configuration";

/// A value in the schema that is not in `values.yaml`: Helm passes it to every chart.
const GLOBAL: &str = "global";

/// The registry, as printed by the program.
pub(super) struct Registry {
    /// `annotations --format json`.
    pub(super) table: String,
    /// `annotations --format schema`.
    pub(super) schema: String,
}

/// The updated schema: types and limits of the existing `schema` are kept. With a registry,
/// `injector.defaults` gets its keys.
pub(super) fn schema(schema: &str, values: &str, registry: Option<&Registry>) -> Result<String> {
    let mut schema: Value = serde_json::from_str(schema).context("values.schema.json is not JSON")?;
    let items: Vec<_> = values::read(values)?.into_iter().flat_map(|chapter| chapter.items).collect();
    if let Some(registry) = registry {
        let defaults = schema
            .pointer_mut("/properties/injector/properties/defaults")
            .context("values.schema.json has no injector.defaults")?;
        *defaults = self::defaults(registry)?;
    }
    for item in &items {
        let entry = schema.pointer_mut(&item.pointer()).with_context(|| {
            format!("values.yaml has {}, which values.schema.json does not allow", item.name())
        })?;
        if item.default.is_some() {
            let entry = entry.as_object_mut().context("an entry of values.schema.json is no object")?;
            entry.shift_remove("description");
            entry.shift_insert(0, "description".to_owned(), Value::from(item.doc.replace('`', "")));
        }
    }
    let maps = items.iter().filter(|item| item.default.is_none()).map(Item::pointer);
    for map in maps.chain([String::new()]) {
        let Some(map_schema) = schema.pointer_mut(&map).and_then(Value::as_object_mut) else { continue };
        let allowed = map_schema.get("properties").and_then(Value::as_object);
        let keys: Vec<_> =
            allowed.into_iter().flat_map(Map::keys).filter(|key| *key != GLOBAL).cloned().collect();
        for key in &keys {
            let pointer = format!("{map}/properties/{key}");
            ensure!(
                items.iter().any(|item| item.pointer() == pointer),
                "values.schema.json allows {pointer}, which values.yaml does not have"
            );
        }
        // With `null`, helm deletes a value and its default, and a template without the value might
        // render something less strict.
        map_schema.insert("required".to_owned(), Value::from(keys));
    }
    Ok(format!("{schema:#}\n"))
}

/// The updated README: everything except the table is kept.
pub(super) fn readme(readme: &str, values: &str) -> Result<String> {
    let (head, rest) =
        readme.split_once(TABLE_START).context("README.md has no mark for the table of values")?;
    let (_, tail) = rest.split_once(TABLE_END).context("README.md has no mark for the end of the values")?;
    let mut table = String::new();
    for chapter in values::read(values)? {
        write!(table, "\n### {}\n\n| value | default | what it is |\n|---|---|---|\n", chapter.title)?;
        for item in &chapter.items {
            if let Some(default) = &item.default {
                let (name, doc) = (item.name(), item.doc.replace('|', "\\|"));
                writeln!(table, "| `{name}` | `{default}` | {doc} |")?;
            }
        }
    }
    Ok(format!("{head}{TABLE_START}{table}\n{TABLE_END}{tail}"))
}

/// The schema of `injector.defaults`: the keys without their prefix.
fn defaults(registry: &Registry) -> Result<Value> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        key: String,
        set_on: String,
    }
    let rows: Vec<Row> =
        serde_json::from_str(&registry.table).context("the table of annotations is not what was expected")?;
    let schema: Value =
        serde_json::from_str(&registry.schema).context("the schema of annotations is not JSON")?;
    let mut properties = Map::new();
    for row in rows.iter().filter(|row| row.set_on.contains(IN_CONFIGURATION)) {
        let entry =
            schema["properties"].get(&row.key).with_context(|| format!("no schema for {}", row.key))?;
        let key = row.key.rsplit_once('/').map_or(row.key.as_str(), |(_, key)| key);
        properties.insert(key.to_owned(), entry.clone());
    }
    ensure!(!properties.is_empty(), "the injector's configuration allows no annotation");
    Ok(json!({"type": "object", "additionalProperties": false, "properties": properties}))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "# Names\n\n# Takes the place of `it`.\nname: \"\"\ninjector:\n  # The lowest | layer.\n  defaults: {}\n";
    const SCHEMA: &str = r#"{"properties": {"global": {}, "name": {"type": "string", "description": "old"}, "injector": {"properties": {"defaults": {}}}}}"#;

    fn registry() -> Registry {
        Registry {
            table: r#"[{"key": "x.ai/url", "setOn": "the pod or in the injector's configuration"}, {"key": "x.ai/inject", "setOn": "the pod"}]"#.to_owned(),
            schema: r#"{"properties": {"x.ai/url": {"type": "string"}, "x.ai/inject": {}}}"#.to_owned(),
        }
    }

    #[test]
    fn values_and_schema_have_the_same_keys() {
        let more = format!("{VALUES}# Another.\nother: 1\n");
        let error = schema(SCHEMA, &more, Some(&registry())).unwrap_err().to_string();
        assert!(error.contains("other"), "{error}");
        let more = SCHEMA.replace(r#""global""#, r#""extra": {}, "global""#);
        let error = schema(&more, VALUES, Some(&registry())).unwrap_err().to_string();
        assert!(error.contains("extra"), "{error}");
    }
}
