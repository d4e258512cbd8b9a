//! Translates expressions of Go's templates to the agent's template language.

use super::{Fields, NamedPath, lexer::Token};

/// Reserved words of the agent's template language.
const RESERVED: &[&str] = &[
    "and",
    "autoescape",
    "block",
    "call",
    "do",
    "elif",
    "else",
    "endautoescape",
    "endblock",
    "endcall",
    "endfilter",
    "endfor",
    "endif",
    "endmacro",
    "endset",
    "endwith",
    "extends",
    "false",
    "False",
    "filter",
    "for",
    "from",
    "if",
    "import",
    "in",
    "include",
    "is",
    "loop",
    "macro",
    "none",
    "None",
    "not",
    "or",
    "recursive",
    "self",
    "set",
    "true",
    "True",
    "with",
];

pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The name of a Go variable in the agent's template language, changed if it is reserved, such as
/// `data`.
pub(super) fn variable(name: &str) -> String {
    let is_taken = is_reserved(name)
        || ["data", "version", "path", "secrets", "dict", "namespace", "range"].contains(&name);
    if is_taken { format!("{name}_") } else { name.to_owned() }
}

/// The meaning of a dot or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A secret, with its path.
    Secret(String),
    /// Key and value of a loop, with their names in the agent's template language.
    Item { key: String, item: String },
}

/// The names that are in scope at a position of the template.
pub(super) struct Names<'a> {
    pub(super) secrets: &'a [NamedPath],
    pub(super) fields: &'a dyn Fields,
    /// The enclosing blocks, the innermost last.
    pub(super) scopes: Vec<Base>,
}

impl Names<'_> {
    /// The prefix of a secret's fields, empty if it is the only secret.
    fn prefix(&self, path: &str) -> String {
        match self.secrets {
            [_] => String::new(),
            secrets => {
                let alias = secrets.iter().find(|named| named.path == path).map_or("", |named| &named.alias);
                format!("secrets.{alias}.")
            }
        }
    }

    /// The secret to which the dot refers.
    fn dot(&self) -> Result<&str, String> {
        match self.scopes.last() {
            Some(Base::Secret(path)) => Ok(path),
            Some(Base::Item { .. }) => {
                Err("the dot inside of `range` is not translated; use its variables".to_owned())
            }
            None => Err("expected {{ with secret \"path\" }} before it".to_owned()),
        }
    }

    /// The data of a secret, if these tokens refer to all of its fields.
    pub(super) fn all_fields(&self, tokens: &[Token]) -> Option<Result<String, String>> {
        let (path, names) = match tokens {
            [Token::Path { names, .. }] => (self.dot(), names),
            [
                Token::Open,
                Token::Word(word),
                Token::Text(path),
                Token::Close,
                Token::Path { names, is_joined: true },
            ] if word == "secret" => (Ok(path.as_str()), names),
            _ => return None,
        };
        if !is_data(names) {
            return None;
        }
        Some(path.and_then(|path| {
            if self.fields.has_renamed(path) {
                return Err("a loop over all fields is not translated for a path whose `fields` have other names in the map".to_owned());
            }
            Ok(format!("{}data", self.prefix(path)))
        }))
    }

    /// One field or all data of a secret.
    fn of_secret(&self, path: &str, names: &[String]) -> Result<String, String> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let prefix = self.prefix(path);
        let fields = match names.as_slice() {
            ["Data", "metadata", "version"] => return Ok(format!("{prefix}version")),
            ["Data", "metadata", ..] => {
                return Err("of the metadata, only the version has an equivalent".to_owned());
            }
            ["Data", "data", fields @ ..] | ["Data", fields @ ..] => fields,
            [] => return Err("the whole answer of Vault has no equivalent; name .Data.data".to_owned()),
            [other, ..] => {
                return Err(format!("`.{other}` of Vault's answer has no equivalent; only .Data has"));
            }
        };
        let mut text = format!("{prefix}data");
        for (index, name) in fields.iter().enumerate() {
            let name = if index == 0 { self.fields.field(path, name) } else { (*name).to_owned() };
            attribute(&mut text, &name);
        }
        Ok(text)
    }
}

fn is_data(names: &[String]) -> bool {
    matches!(names, [data] if data == "Data")
        || matches!(names, [data, inner] if data == "Data" && inner == "data")
}

fn attribute(text: &mut String, name: &str) {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !is_reserved(name);
    if is_plain {
        text.extend([".", name]);
    } else {
        text.extend(["[", &serde_json::Value::from(name).to_string(), "]"]);
    }
}

/// `a b | c d`.
pub(super) struct Pipeline {
    stages: Vec<Vec<Operand>>,
}

enum Operand {
    Word(String),
    Text(String),
    Variable(String),
    Path(Vec<String>),
    /// In parentheses, with the names after them.
    Nested(Pipeline, Vec<String>),
}

impl Pipeline {
    pub(super) fn parse(tokens: &[Token]) -> Result<Self, String> {
        let mut rest = tokens;
        let pipeline = Self::until_close(&mut rest, 0)?;
        if rest.is_empty() { Ok(pipeline) } else { Err("a closing bracket has no opening one".to_owned()) }
    }

    fn until_close(tokens: &mut &[Token], depth: usize) -> Result<Self, String> {
        if depth > 16 {
            return Err("brackets are nested too deeply".to_owned());
        }
        let mut stages = vec![Vec::new()];
        while let Some((token, rest)) = tokens.split_first() {
            if *token == Token::Close {
                break;
            }
            *tokens = rest;
            let operand = match token {
                Token::Pipe => {
                    stages.push(Vec::new());
                    continue;
                }
                Token::Open => {
                    let inner = Self::until_close(tokens, depth + 1)?;
                    let Some((Token::Close, rest)) = tokens.split_first() else {
                        return Err("a bracket is not closed".to_owned());
                    };
                    *tokens = rest;
                    let names = match tokens.split_first() {
                        Some((Token::Path { names, is_joined: true }, rest)) => {
                            *tokens = rest;
                            names.clone()
                        }
                        _ => Vec::new(),
                    };
                    Operand::Nested(inner, names)
                }
                Token::Word(word) => Operand::Word(word.clone()),
                Token::Text(text) => Operand::Text(text.clone()),
                Token::Variable(name) => Operand::Variable(name.clone()),
                Token::Path { names, .. } => Operand::Path(names.clone()),
                Token::Comma | Token::Assign | Token::Close => {
                    return Err("a comma or `:=` is not expected here".to_owned());
                }
            };
            stages.last_mut().expect("at least one stage exists").push(operand);
        }
        if stages.iter().any(Vec::is_empty) {
            return Err("a value is missing".to_owned());
        }
        Ok(Self { stages })
    }
}

/// Translates the expression as an output value.
pub(super) fn value(pipeline: &Pipeline, names: &Names<'_>) -> Result<String, String> {
    let mut piped = None;
    for stage in &pipeline.stages {
        piped = Some(call(stage, piped, names)?);
    }
    piped.ok_or_else(|| "a value is missing".to_owned())
}

/// Translates the expression as a condition. A missing field is false in Go, and an error in the
/// agent.
pub(super) fn condition(pipeline: &Pipeline, names: &Names<'_>) -> Result<String, String> {
    let [stage] = pipeline.stages.as_slice() else {
        return Err("a condition with | is not translated".to_owned());
    };
    let conditions = |operands: &[Operand]| -> Result<Vec<String>, String> {
        operands.iter().map(|operand| single_condition(operand, names)).collect()
    };
    match stage.as_slice() {
        [operand] => single_condition(operand, names),
        [Operand::Word(word), operand] if word == "not" => {
            Ok(format!("not ({})", single_condition(operand, names)?))
        }
        [Operand::Word(word), operands @ ..] if word == "and" || word == "or" => {
            let conditions: Vec<_> =
                conditions(operands)?.into_iter().map(|text| format!("({text})")).collect();
            Ok(conditions.join(&format!(" {word} ")))
        }
        [Operand::Word(word), left, right] if word == "eq" || word == "ne" => {
            let sign = if word == "eq" { "==" } else { "!=" };
            Ok(format!("{} {sign} {}", operand(left, names)?, operand(right, names)?))
        }
        [Operand::Word(word), ..] => Err(format!("`{word}` in a condition is not translated")),
        _ => Err("this condition is not translated".to_owned()),
    }
}

fn single_condition(value: &Operand, names: &Names<'_>) -> Result<String, String> {
    if let Operand::Nested(inner, fields) = value
        && fields.is_empty()
    {
        return condition(inner, names);
    }
    let text = operand(value, names)?;
    let is_field = matches!(value, Operand::Path(_) | Operand::Nested(..));
    Ok(if is_field { format!("{text} is defined and {text}") } else { text })
}

/// One stage of a pipeline, with the result of the previous stage as last argument.
fn call(stage: &[Operand], piped: Option<String>, names: &Names<'_>) -> Result<String, String> {
    let Some((Operand::Word(function), arguments)) = stage.split_first() else {
        return match (stage, piped) {
            ([single], None) => operand(single, names),
            _ => Err("expected a function after | and before other values".to_owned()),
        };
    };
    if let (Some(literal), true, None) = (literal(function), arguments.is_empty(), &piped) {
        return Ok(literal);
    }
    if function == "secret" {
        return Err("expected {{ with secret \"path\" }} or (secret \"path\").Data.data".to_owned());
    }
    if function == "index" && piped.is_none() {
        return index(arguments, names);
    }
    let mut values: Vec<String> =
        arguments.iter().map(|argument| operand(argument, names)).collect::<Result<_, _>>()?;
    values.extend(piped);
    apply(function, &values)
}

fn apply(function: &str, values: &[String]) -> Result<String, String> {
    let filter = match function {
        "toJSON" => "tojson",
        "base64Decode" => "b64decode",
        "base64Encode" => "b64encode",
        "toUpper" => "upper",
        "toLower" => "lower",
        "trimSpace" => "trim",
        "urlquery" => "urlencode",
        "replaceAll" => {
            let [old, new, text] = values else { return Err("`replaceAll` takes three values".to_owned()) };
            return Ok(format!("{text}|replace({old}, {new})"));
        }
        "join" => {
            let [separator, list] = values else { return Err("`join` takes two values".to_owned()) };
            return Ok(format!("{list}|join({separator})"));
        }
        _ => return Err(format!("the function `{function}` is not translated; write this template by hand")),
    };
    match values {
        [value] => Ok(format!("{value}|{filter}")),
        _ => Err(format!("`{function}` takes one value")),
    }
}

/// `index .Data.data "name" …`.
fn index(arguments: &[Operand], names: &Names<'_>) -> Result<String, String> {
    let Some((of, keys)) = arguments.split_first() else { return Err("`index` takes values".to_owned()) };
    let keys: Option<Vec<&String>> = keys
        .iter()
        .map(|key| match key {
            Operand::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    let keys =
        keys.filter(|keys| !keys.is_empty()).ok_or("`index` is only translated with strings as keys")?;
    let path = match of {
        Operand::Path(path) => Some((names.dot()?.to_owned(), path)),
        Operand::Nested(inner, path) => {
            Some((secret_call(inner).ok_or("`index` of this value is not translated")?.to_owned(), path))
        }
        _ => None,
    };
    let (secret, path) = path.ok_or("`index` of this value is not translated")?;
    let path: Vec<String> = path.iter().chain(keys).cloned().collect();
    names.of_secret(&secret, &path)
}

fn operand(operand: &Operand, names: &Names<'_>) -> Result<String, String> {
    match operand {
        Operand::Text(text) => Ok(serde_json::Value::from(text.as_str()).to_string()),
        Operand::Word(word) => literal(word).ok_or_else(|| format!("`{word}` is not translated here")),
        Operand::Variable(name) => {
            let name = variable(name);
            let is_known = names
                .scopes
                .iter()
                .any(|scope| matches!(scope, Base::Item { key, item } if *key == name || *item == name));
            if is_known { Ok(name) } else { Err(format!("the variable ${name} is not translated")) }
        }
        Operand::Path(path) => names.of_secret(names.dot()?, path),
        Operand::Nested(inner, path) if path.is_empty() => Ok(format!("({})", value(inner, names)?)),
        Operand::Nested(inner, path) => {
            let secret =
                secret_call(inner).ok_or("fields of an expression in brackets are not translated")?;
            names.of_secret(secret, path)
        }
    }
}

/// The path of `secret "path"`.
fn secret_call(pipeline: &Pipeline) -> Option<&str> {
    match pipeline.stages.as_slice() {
        [stage] => match stage.as_slice() {
            [Operand::Word(word), Operand::Text(path)] if word == "secret" => Some(path),
            _ => None,
        },
        _ => None,
    }
}

fn literal(word: &str) -> Option<String> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    (is_number || word == "true" || word == "false").then(|| word.to_owned())
}
