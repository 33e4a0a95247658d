//! The page of the user guide that shows the schema is the schema.
//!
//! `cargo run -p quorate-policy --example schema-page > docs/src/policy-schema.md` writes it anew. Here the committed
//! page is compared.

use std::collections::BTreeMap;

use quorate_policy::{ArgumentType, schema_page, schema_text};

/// The committed page.
const PAGE: &str = include_str!("../../../docs/src/policy-schema.md");

#[test]
fn the_page_in_the_guide_is_the_generated_one() {
    assert!(PAGE == schema_page(), "docs/src/policy-schema.md is not what the schema says; write it anew (see above)");
}

#[test]
fn the_text_is_a_schema_for_cedar_with_any_declaration() {
    let all: BTreeMap<String, ArgumentType> =
        ArgumentType::ALL.into_iter().map(|of| (format!("{} \"\\ü", of.as_str()), of)).collect();
    for arguments in [BTreeMap::new(), all] {
        let text = schema_text(&arguments);
        let parsed = cedar_policy::Schema::from_cedarschema_str(&text);
        let (schema, warnings) = parsed.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(warnings.count(), 0);
        assert_eq!(schema.actions().count(), quorate_policy::Action::ALL.len() + 2, "with their groups");
    }
}
