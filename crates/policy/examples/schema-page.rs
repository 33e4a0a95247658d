//! Prints the page of the user guide that shows the schema.
//!
//! `cargo run -p quorate-policy --example schema-page > docs/src/policy-schema.md` writes it anew; `tests/page.rs`
//! compares the committed page with it.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]

fn main() {
    print!("{}", quorate_policy::schema_page());
}
