//! Documents of resources, as YAML and as JSON: a set, or problems that all say something. Whoever may write them is
//! trusted with the configuration, not with the process.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use quorate_config::{Source, parse};

fuzz_target!(|input: &str| {
    for file in ["resources.yaml", "resources.json"] {
        let source = Source { file: PathBuf::from(file), text: input.to_owned() };
        match parse(std::slice::from_ref(&source)) {
            Ok(set) => {
                for toolset in set.toolsets() {
                    assert!(toolset.servers().all(|server| set.tool_server(server).is_some()));
                }
                // A set has only policies that compile.
                let _ = set.compiled_policies();
                // The same text always makes the same set.
                assert_eq!(parse(&[source]).expect("it was a set before"), set);
            }
            Err(errors) => {
                assert!(!errors.problems().is_empty());
                assert!(!errors.to_string().is_empty());
            }
        }
    }
});
