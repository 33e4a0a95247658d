//! A tool's input schema with `x-mcp-header`, and a call's arguments: the headers that we would send for the arguments
//! are the headers that we accept for them. Input: the schema on the first line, the arguments after it.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use quorate_fuzz::two_parts;
use quorate_mcp::param::{ParamRules, RULES_MAX};
use serde_json::value::RawValue;

fuzz_target!(|input: &str| {
    let (schema, arguments) = two_parts(input);
    let Ok(rules) = ParamRules::of(schema) else { return };
    // Arguments reach the check as part of a frame, which is JSON.
    let arguments = serde_json::from_str::<&RawValue>(arguments).ok().map(RawValue::get);

    let headers = rules.headers(arguments);
    assert!(headers.len() <= RULES_MAX);
    assert!(!rules.is_empty() || headers.is_empty());
    let mut head = HeaderMap::new();
    for (name, value) in headers {
        assert!(!head.contains_key(&name), "{name} is sent twice");
        head.insert(name, value);
    }
    let _ = rules.check(&HeaderMap::new(), arguments);
    if let Err(mismatch) = rules.check(&head, arguments) {
        // An argument of another type than the schema says is sent without its header, and only that is then missing.
        let without = rules.headers(arguments).len();
        assert!(without < rules_of(schema), "our own headers are refused: {mismatch}");
    }
});

/// How many annotations the schema has.
fn rules_of(schema: &str) -> usize {
    schema.matches("x-mcp-header").count() + schema.matches("\\u").count()
}
