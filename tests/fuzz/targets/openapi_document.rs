//! An OpenAPI document, and arguments for each of its tools: definitions are JSON objects of bounded size, and requests
//! go nowhere but to the servers of the document. Input: the arguments on the first line, the document after it.
#![no_main]

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use quorate_fuzz::two_parts;
use quorate_openapi::{Answer, Config, Document, Format, Limits, compile, limits};
use serde_json::Value;

/// Small, so that a run sees many documents.
const LIMITS: Limits = Limits { document_values_max: 5_000, operations_max: 50, ..limits::DEFAULTS };

fuzz_target!(|input: &str| {
    let (arguments, text) = two_parts(input);
    let format = if text.starts_with('{') { Format::Json } else { Format::Yaml };
    let Ok(document) = Document::read(text, format, &LIMITS) else { return };
    let Ok(compiled) = compile(&document, &Config::default()) else { return };
    for tool in compiled.api.tools() {
        let definition: Value = serde_json::from_str(tool.definition()).expect("a definition is JSON");
        assert_eq!(definition["inputSchema"]["type"], "object");
        assert!(definition.get("outputSchema").is_none_or(|schema| schema["type"] == "object"));
        assert!((1..=64).contains(&tool.name().len()), "{}", tool.name());

        let Ok(request) = tool.call(arguments) else { continue };
        let uri = request.uri().to_string();
        assert!(uri.starts_with(tool.base()) || uri.starts_with(&format!("{}/", tool.base())), "{uri}");
        let answer = Answer {
            status: StatusCode::OK,
            headers: &HeaderMap::new(),
            uri: request.uri(),
            body: arguments.as_bytes(),
        };
        let result: Value = serde_json::from_str(&tool.result(&answer)).expect("a result is JSON");
        assert!(result["content"].is_array());
    }
});
