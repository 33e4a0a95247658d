//! Holds the tables of `docs/src/configuration.md` against the schema they are made from.
//!
//! One table per object of a document, between `<!-- table: PATH -->` and `<!-- end -->`: every key with its default, what
//! it may be, and its description, in the schema's order. With `WRITE_PAGES=1` in the environment the page is rewritten
//! instead of compared.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

const BEGIN: &str = "<!-- table: ";
const BEGIN_END: &str = " -->\n";
const END: &str = "<!-- end -->";

/// Returns the schema of the object that a dotted path such as `Listener.spec.limits` names; `tools[]` is an item of the
/// list `tools`, `arguments{}` a value of the map `arguments`.
fn object_at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    let (kind, keys) = path.split_once('.').expect("a path is KIND.KEY");
    let kinds = schema["oneOf"].as_array().expect("the schema is a choice of kinds");
    let document = kinds.iter().find(|one| one["title"] == kind).unwrap_or_else(|| panic!("there is no kind {kind}"));
    keys.split('.').fold(document, |object, key| {
        let (name, within) = key.find(['[', '{']).map_or((key, ""), |at| key.split_at(at));
        let value = &object["properties"][name];
        match within {
            "[]" => object_of(&value["items"]).unwrap_or_else(|| panic!("{path} is no list of objects")),
            "{}" => &value["additionalProperties"],
            _ => object_of(value).unwrap_or(value),
        }
    })
}

/// The object that a schema is, or that it allows beside other things.
fn object_of(value: &Value) -> Option<&Value> {
    let is_object = |value: &&Value| value["properties"].is_object();
    Some(value).filter(is_object).or_else(|| value["anyOf"].as_array()?.iter().find(is_object))
}

fn table(object: &Value, path: &str) -> String {
    let properties = object["properties"].as_object().unwrap_or_else(|| panic!("{path} is no object"));
    let required = |key: &str| object["required"].as_array().is_some_and(|keys| keys.iter().any(|one| one == key));
    let mut table = String::from("| Key | Default | Allowed | Meaning |\n|---|---|---|---|\n");
    for (key, value) in properties {
        let default = if required(key) { "required".to_owned() } else { default(value) };
        writeln!(table, "| `{key}` | {default} | {} | {} |", allowed(value), meaning(value))
            .expect("a string takes all");
    }
    table
}

fn default(value: &Value) -> String {
    match &value["default"] {
        Value::Null => "—".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        other => format!("`{other}`"),
    }
}

fn allowed(value: &Value) -> String {
    let bound = |standard: &str, ours: &str| match (&value[standard], &value[ours]) {
        (Value::Null, Value::String(text)) => Some(format!("`{text}`")),
        (Value::Number(number), _) => Some(format!("`{number}`")),
        _ => None,
    };
    if let (Some(min), Some(max)) = (bound("minimum", "x-minimum"), bound("maximum", "x-maximum")) {
        return format!("{min} to {max}");
    }
    if value["x-any"] == true {
        return "any value".to_owned();
    }
    if let Some(words) = value["anyOf"].as_array().and_then(|options| options.iter().find_map(choices)) {
        return format!("{words}, or see below");
    }
    let words = choices(value).or_else(|| choices(&value["items"]));
    let kind = value["type"].as_str().unwrap_or("text");
    match (words, kind) {
        (Some(words), "array") => format!("a list of {words}"),
        (Some(words), _) => words,
        (None, "array") if object_of(&value["items"]).is_some() => {
            format!("a list of at most {}, see below", value["maxItems"])
        }
        (None, "object") if value["additionalProperties"].is_object() && value["properties"].is_null() => {
            let others = &value["additionalProperties"];
            let what = match choices(others) {
                _ if object_of(others).is_some() => ", see below".to_owned(),
                _ if others["type"] == "array" => " with lists of texts".to_owned(),
                _ if others["x-any"] == true => " with any values".to_owned(),
                Some(words) => format!(", each with one of {words}"),
                None => " with texts".to_owned(),
            };
            format!("at most {} keys{what}", value["maxProperties"])
        }
        (None, "array") => match &value["maxItems"] {
            Value::Null => "a list of texts".to_owned(),
            max => format!("a list of at most {max} texts"),
        },
        (None, "object") => "see below".to_owned(),
        (None, "boolean") => "`true`, `false`".to_owned(),
        (None, "string") => "a text".to_owned(),
        (None, "number") => "a number".to_owned(),
        (None, other) => panic!("the page has no word for {other}"),
    }
}

fn choices(value: &Value) -> Option<String> {
    if let Some(only) = value["const"].as_str() {
        return Some(format!("`{only}`"));
    }
    let words: Vec<String> =
        value["oneOf"].as_array()?.iter().map(|one| format!("`{}`", text(&one["const"]))).collect();
    Some(words.join(", "))
}

/// The description, without the default and range that limits repeat at its end, and with that of each choice.
fn meaning(value: &Value) -> String {
    let mut meaning = text(&value["description"]).to_owned();
    if let Some(end) = meaning.rfind(" Default ").filter(|_| meaning.contains("; from ")) {
        meaning.truncate(end);
    }
    let places = [value, &value["items"], &value["additionalProperties"]];
    let choices = places.into_iter().find_map(|place| place["oneOf"].as_array());
    for choice in choices.into_iter().flatten() {
        // Words that are names of their own have a page of their own.
        if let Some(description) = choice["description"].as_str() {
            write!(meaning, " `{}`: {description}", text(&choice["const"])).expect("a string takes all");
        }
    }
    meaning
}

fn text(value: &Value) -> &str {
    value.as_str().expect("it is a text")
}

/// Returns the page with every table made anew, and how many there are.
fn remade(page: &str, schema: &Value) -> (String, usize) {
    let (mut made, mut rest, mut count) = (String::new(), page, 0);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (path, after) = after.split_once(BEGIN_END).expect("a marker ends on its line");
        let (_, after) = after.split_once(END).expect("a table has an end");
        let table = table(object_at(schema, path), path);
        made.push_str(&format!("{before}{BEGIN}{path}{BEGIN_END}\n{table}\n{END}"));
        (rest, count) = (after, count + 1);
    }
    made.push_str(rest);
    (made, count)
}

#[test]
fn the_tables_of_the_configuration_page_are_those_of_the_schema() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/configuration.md");
    let page = std::fs::read_to_string(&path).expect("the page exists");

    let (made, count) = remade(&page, &quorate_config::schema());

    assert_eq!(count, 50, "one table for each object of a document that has fixed keys");
    if std::env::var_os("WRITE_PAGES").is_some() {
        std::fs::write(&path, &made).expect("the page can be written");
        return;
    }
    assert!(
        page == made,
        "docs/src/configuration.md is out of date: WRITE_PAGES=1 cargo test -p quorate-config --test page"
    );
}
