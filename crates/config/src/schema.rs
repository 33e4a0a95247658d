//! The JSON schema of documents, generated from their forms.
//!
//! [`schema()`] is what `quorate schema` prints and editors use (draft 2020-12, everything inline).
//! The same schema of one kind drives [`crate::shape`], so an editor and the loader agree on keys,
//! types, choices and list lengths. Beyond the standard, `x-unit`, `x-minimum` and `x-maximum`
//! say the range of sizes and times, `x-secret` marks values that no error may show, and `x-file` those that name a file
//! whose text a cluster keeps ([`crate::inline`]).

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::form::model::PriceForm;
use crate::form::{
    ApiKeyForm, IssuerForm, ListenerForm, ModelForm, PolicyForm, ProviderForm, TenantForm, ToolServerForm, ToolsetForm,
};
use crate::resource::Kind;

/// The form of names (see `quorate_types::ResourceName`).
const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// Returns the JSON schema of a document of any kind.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Quorate resource",
        "description": "One document of a resource file.",
        "oneOf": Kind::ALL.map(of_kind),
    })
}

/// Whether what is at a place of a document of this kind is secret, by its JSON pointer (RFC 6901). What no schema knows is.
#[must_use]
pub fn is_secret(kind: &str, pointer: &str) -> bool {
    let Some(kind) = Kind::of(kind) else { return true };
    let mut here = vec![of_kind(kind)];
    for step in pointer.split('/').skip(1) {
        if here.iter().any(|schema| schema["x-secret"] == true) {
            return true;
        }
        let key = step.replace("~1", "/").replace("~0", "~");
        here = here.into_iter().flat_map(|schema| below(schema, &key)).collect();
    }
    // Of a map or list of secrets everything in it is one; its keys are not.
    let is_secret =
        |schema: &&Value| schema["x-secret"] == true && schema["type"] != "object" && schema["type"] != "array";
    here.is_empty() || here.iter().any(is_secret)
}

/// The schemas of a member or item of what has a schema.
fn below<'a>(schema: &'a Value, key: &str) -> Vec<&'a Value> {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().flat_map(|option| below(option, key)).collect();
    }
    if schema["items"].is_object() {
        return vec![&schema["items"]];
    }
    let others = Some(&schema["additionalProperties"]).filter(|others| others.is_object());
    schema["properties"].get(key).or(others).into_iter().collect()
}

/// Returns the schema of the documents of one kind.
pub(crate) fn of_kind(kind: Kind) -> &'static Value {
    static SCHEMAS: LazyLock<[Value; Kind::ALL.len()]> = LazyLock::new(|| Kind::ALL.map(document_schema));
    &SCHEMAS[kind as usize]
}

/// Returns the schema of a file with prices, by the names of models.
pub(crate) fn of_prices() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        json!({
            "type": "object",
            "properties": {},
            "maxProperties": crate::prices::MODELS_MAX,
            "additionalProperties": spec_schema::<PriceForm>(),
        })
    });
    &SCHEMA
}

fn document_schema(kind: Kind) -> Value {
    let spec = match kind {
        Kind::Listener => spec_schema::<ListenerForm>(),
        Kind::ToolServer => spec_schema::<ToolServerForm>(),
        Kind::Toolset => spec_schema::<ToolsetForm>(),
        Kind::Provider => spec_schema::<ProviderForm>(),
        Kind::Model => spec_schema::<ModelForm>(),
        Kind::Issuer => spec_schema::<IssuerForm>(),
        Kind::ApiKey => spec_schema::<ApiKeyForm>(),
        Kind::Tenant => spec_schema::<TenantForm>(),
        Kind::Policy => spec_schema::<PolicyForm>(),
    };
    let name = json!({
        "description": format!("The name, unique among resources of kind {kind}: lower-case letters, digits, `-` and `_`, at most 63."),
        "type": "string",
        "pattern": NAME_PATTERN,
    });
    let tenant = json!({
        "description": "The tenant that the resource belongs to. What belongs to tenant `default` may be used by every tenant.",
        "type": "string",
        "pattern": NAME_PATTERN,
        "default": "default",
    });
    json!({
        "title": kind.as_str(),
        "type": "object",
        "required": ["kind", "name", "spec"],
        "properties": {
            "kind": { "description": "The kind of the resource.", "const": kind.as_str() },
            "name": name,
            "tenant": tenant,
            "spec": spec,
        },
        "additionalProperties": false,
    })
}

fn spec_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Brings what the generator makes of Rust types into the form that people write: an optional
/// key may be absent but not null, and a choice is a list of words.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("title");
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            drop_null(object);
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            for (keyword, value) in object.iter_mut() {
                match value {
                    // Names of properties are no keywords: one may be `title`.
                    Value::Object(properties) if keyword == "properties" => properties.values_mut().for_each(tidy),
                    value => tidy(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes null from `type`, and unwraps `anyOf: [X, null]` into X.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(options)) = object.get_mut("anyOf") {
        options.retain(|one| one != &json!({ "type": "null" }));
        if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits every object of a schema.
    fn visit(schema: &Value, path: &str, check: &mut impl FnMut(&Map<String, Value>, &str)) {
        match schema {
            Value::Object(object) => {
                check(object, path);
                object.iter().for_each(|(key, value)| visit(value, &format!("{path}/{key}"), check));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, path, check)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_key_is_described_and_every_object_is_closed() {
        let mut properties_seen = 0;
        visit(&schema(), "", &mut |object, path| {
            if let Some(Value::Object(properties)) = object.get("properties") {
                for (key, value) in properties {
                    assert!(value["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path}/{key}");
                    properties_seen += 1;
                }
                assert!(object.contains_key("additionalProperties"), "{path} is open");
            }
            assert!(
                object.get("type").is_none_or(|one| one.is_string() || one.is_object()),
                "{path} has several types"
            );
            assert!(!object.contains_key("$ref"), "{path} is not inline");
        });
        assert!(properties_seen > 40, "only {properties_seen} keys");
    }

    #[test]
    fn secrets_are_known_by_their_place() {
        for (kind, pointer) in [
            ("ToolServer", "/spec/headers/x-key"),
            ("ToolServer", "/spec/credential/header/value"),
            ("ToolServer", "/spec/credential/clientCredentials/clientSecret"),
            ("ToolServer", "/spec/stdio/env/TOKEN"),
            ("ToolServer", "/spec/openapi/auth/a~1b/token"),
            ("Issuer", "/spec/introspection/clientSecret"),
            ("ApiKey", "/spec/keys/0/hmac"),
            ("ToolServer", "/spec/nothing"),
            ("Unheard", "/name"),
        ] {
            assert!(is_secret(kind, pointer), "{kind} {pointer}");
        }
        for (kind, pointer) in [
            ("ToolServer", ""),
            ("ToolServer", "/spec"),
            ("ToolServer", "/spec/urls/0"),
            ("ToolServer", "/spec/headers"),
            ("ToolServer", "/spec/stdio/env"),
            ("ToolServer", "/spec/credential"),
            ("ToolServer", "/spec/credential/header/name"),
            ("ApiKey", "/spec/keys/0/id"),
            ("Toolset", "/spec/servers/1"),
            ("Policy", "/spec/cedar"),
        ] {
            assert!(!is_secret(kind, pointer), "{kind} {pointer}");
        }
    }

    #[test]
    fn what_must_be_there_is_required() {
        let required = |kind: Kind| of_kind(kind)["properties"]["spec"]["required"].clone();
        assert_eq!(required(Kind::Listener), json!(["address"]));
        // Of the ways to a tool server one is needed, which is judged beyond the schema.
        assert_eq!(required(Kind::ToolServer), json!(null));
        assert_eq!(required(Kind::Toolset), json!(["servers"]));
        // An issuer vouches in one of three ways.
        assert_eq!(required(Kind::Issuer), json!(null));
        assert_eq!(required(Kind::ApiKey), json!(["keys"]));
        assert_eq!(required(Kind::Tenant), json!(null));
        assert_eq!(required(Kind::Policy), json!(["cedar"]));
    }

    #[test]
    fn limits_show_their_default_and_range() {
        let limits = &of_kind(Kind::Listener)["properties"]["spec"]["properties"]["limits"];
        let body = &limits["properties"]["body"];
        assert_eq!(body["default"], "4MiB");
        assert_eq!((&body["x-minimum"], &body["x-maximum"]), (&json!("1KiB"), &json!("64MiB")));
        let depth = &limits["properties"]["jsonDepth"];
        assert_eq!((&depth["default"], &depth["minimum"], &depth["maximum"]), (&json!(64), &json!(8), &json!(512)));
    }
}
