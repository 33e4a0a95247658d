//! What tidy knows about one Rust file: its lines, header, functions and public items.
//!
//! Files are parsed with syn, so that strings and comments cannot mislead a count. A function's length is the lines
//! from its `fn` to its closing brace, attributes and documentation apart. A file is a test file when it lies in a
//! `tests`, `benches` or `examples` folder or in the tests package, or is called `tests.rs`; code below `#[cfg(test)]`
//! or `#[test]` is test code. What a macro expands to, and what stands inside a macro call, is invisible here.

use proc_macro2::Span;
use syn::{
    Attribute, Block, Field, Fields, ImplItemFn, Item, ItemFn, ItemMod, Signature, TraitItem, TraitItemFn, Visibility,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use super::{Finding, tree::Tree};

/// Least lines of a header: what it does, what flows, what holds. A test file says in one what it is about: its tests'
/// names say the rest.
const HEADER_LINES_MIN: usize = 3;

/// Most lines of prose in a header (diagrams, tables and blank lines apart): what is longer belongs to the items.
const HEADER_LINES_MAX: usize = 20;

/// The lines of prose that a header should have at most.
pub(super) const HEADER_LINES_TARGET: usize = 10;

/// One Rust file.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    pub(super) path: String,
    /// Whether the whole file is test code.
    pub(super) is_test: bool,
    /// All lines, inline tests included.
    pub(super) lines: usize,
    /// Lines of the `//!` header that opens the file; 0 without one.
    pub(super) header_lines: usize,
    /// Those of them that are prose.
    pub(super) header_prose_lines: usize,
    pub(super) functions: Vec<Function>,
    /// Public items that can carry documentation.
    pub(super) public_items: usize,
    /// Those of them that carry none, by name and line.
    pub(super) undocumented: Vec<(String, usize)>,
}

/// One function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its `fn`.
    pub(super) line: usize,
    pub(super) lines: usize,
    pub(super) is_test: bool,
}

/// Reads every Rust file of the tree; one that cannot be parsed is a finding.
pub(super) fn read_all(tree: &Tree) -> (Vec<Source>, Vec<Finding>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".rs")) {
        match read(path, text) {
            Ok(source) => sources.push(source),
            Err(error) => findings.push(Finding::new("syntax", path, format!("cannot be parsed: {error}"))),
        }
    }
    (sources, findings)
}

/// Every file opens with a header of a useful length.
pub(super) fn check_headers(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Source { header_lines, header_prose_lines, .. } = *source;
        let message = if header_lines == 0 {
            "does not open with a `//!` header".to_owned()
        } else if header_lines < HEADER_LINES_MIN && !source.is_test {
            format!("its header has {header_lines} lines, at least {HEADER_LINES_MIN} say what a reader needs")
        } else if header_prose_lines > HEADER_LINES_MAX {
            format!("its header has {header_prose_lines} lines of prose, at most {HEADER_LINES_MAX}")
        } else {
            continue;
        };
        findings.push(Finding::new("header", &source.path, message));
    }
    findings
}

/// Every public item of production code is documented.
pub(super) fn check_documented(sources: &[Source]) -> Vec<Finding> {
    let production = sources.iter().filter(|source| !source.is_test);
    production
        .flat_map(|source| source.undocumented.iter().map(move |(name, line)| (source, name, line)))
        .map(|(source, name, line)| {
            Finding::new("documented", format!("{}:{line}", source.path), format!("`{name}` is public"))
        })
        .collect()
}

fn read(path: &str, text: &str) -> Result<Source, syn::Error> {
    let file = syn::parse_file(text)?;
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let is_test = is_test_path(path);
    let mut visitor = Visitor { test_depth: usize::from(is_test), ..Visitor::default() };
    visitor.visit_file(&file);
    Ok(Source {
        path: path.to_owned(),
        is_test,
        lines: text.lines().count(),
        header_lines: header.len(),
        header_prose_lines: prose(&header),
        functions: visitor.functions,
        public_items: visitor.public_items,
        undocumented: visitor.undocumented,
    })
}

fn is_test_path(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.any(|part| matches!(part, "tests" | "benches" | "examples" | "tests.rs"))
}

/// Lines that are neither blank, nor a row of a table, nor inside a fence.
fn prose(header: &[&str]) -> usize {
    let mut fenced = false;
    let mut count = 0;
    for line in header.iter().map(|line| line.trim_start_matches("//!").trim()) {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.is_empty() && !line.starts_with('|') {
            count += 1;
        }
    }
    count
}

/// Collects functions and public items.
#[derive(Debug, Default)]
struct Visitor {
    /// How many enclosing items are test code.
    test_depth: usize,
    /// How many enclosing items are not public: what is in them cannot be either.
    hidden_depth: usize,
    functions: Vec<Function>,
    public_items: usize,
    undocumented: Vec<(String, usize)>,
}

// === impl Visitor ===

impl Visitor {
    fn within_test(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let test = usize::from(attributes.iter().any(is_test_attribute));
        self.test_depth += test;
        visit(self);
        self.test_depth -= test;
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span().start().line;
        let last = block.brace_token.span.close().end().line;
        let is_test = self.test_depth > 0;
        self.functions.push(Function {
            name: signature.ident.to_string(),
            line: first,
            lines: last + 1 - first,
            is_test,
        });
    }

    fn item(&mut self, visibility: &Visibility, attributes: &[Attribute], name: &str, span: Span) {
        if matches!(visibility, Visibility::Public(_)) {
            self.public_item(attributes, name, span);
        }
    }

    fn public_item(&mut self, attributes: &[Attribute], name: &str, span: Span) {
        if self.test_depth > 0 || self.hidden_depth > 0 {
            return;
        }
        self.public_items += 1;
        if !attributes.iter().any(|attribute| attribute.path().is_ident("doc")) {
            self.undocumented.push((name.to_owned(), span.start().line));
        }
    }

    fn named_field(&mut self, owner: &str, field: &Field) {
        if let Some(name) = &field.ident {
            self.item(&field.vis, &field.attrs, &format!("{owner}.{name}"), field.span());
        }
    }

    /// Fields of public types, as rustc's `missing_docs` counts them: named ones, and those of variants.
    fn members(&mut self, item: &Item) {
        match item {
            Item::Struct(item) if is_public(&item.vis) => {
                item.fields.iter().for_each(|field| self.named_field(&item.ident.to_string(), field));
            }
            Item::Enum(item) if is_public(&item.vis) => {
                for variant in &item.variants {
                    let name = format!("{}::{}", item.ident, variant.ident);
                    self.public_item(&variant.attrs, &name, variant.span());
                    let Fields::Named(fields) = &variant.fields else { continue };
                    for field in &fields.named {
                        let field_name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                        self.public_item(&field.attrs, &format!("{name}.{field_name}"), field.span());
                    }
                }
            }
            Item::Trait(item) if is_public(&item.vis) => {
                for member in &item.items {
                    let (attributes, name) = match member {
                        TraitItem::Fn(member) => (&member.attrs, &member.sig.ident),
                        TraitItem::Const(member) => (&member.attrs, &member.ident),
                        TraitItem::Type(member) => (&member.attrs, &member.ident),
                        _ => continue,
                    };
                    self.public_item(attributes, &format!("{}::{name}", item.ident), member.span());
                }
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Const(i) => self.item(&i.vis, &i.attrs, &i.ident.to_string(), i.ident.span()),
            Item::Enum(i) => self.item(&i.vis, &i.attrs, &i.ident.to_string(), i.ident.span()),
            Item::Static(i) => self.item(&i.vis, &i.attrs, &i.ident.to_string(), i.ident.span()),
            Item::Struct(i) => self.item(&i.vis, &i.attrs, &i.ident.to_string(), i.ident.span()),
            Item::Trait(i) => self.item(&i.vis, &i.attrs, &i.ident.to_string(), i.ident.span()),
            Item::Type(i) => self.item(&i.vis, &i.attrs, &i.ident.to_string(), i.ident.span()),
            _ => {}
        }
        self.members(item);
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        // The header of a module's file documents it; only an inline one is an item of this file.
        if module.content.is_some() {
            self.item(&module.vis, &module.attrs, &module.ident.to_string(), module.ident.span());
        }
        self.within_test(&module.attrs, |visitor| visit::visit_item_mod(visitor, module));
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.item(&function.vis, &function.attrs, &function.sig.ident.to_string(), function.sig.ident.span());
        self.within_test(&function.attrs, |visitor| {
            visitor.function(&function.sig, &function.block);
            visitor.hidden_depth += 1;
            visit::visit_item_fn(visitor, function);
            visitor.hidden_depth -= 1;
        });
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.item(&function.vis, &function.attrs, &function.sig.ident.to_string(), function.sig.ident.span());
        self.within_test(&function.attrs, |visitor| {
            visitor.function(&function.sig, &function.block);
            visitor.hidden_depth += 1;
            visit::visit_impl_item_fn(visitor, function);
            visitor.hidden_depth -= 1;
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`; not `#[cfg(not(test))]`.
fn is_test_attribute(attribute: &Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("cfg") {
        return attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"));
    }
    path.segments.last().is_some_and(|segment| segment.ident == "test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::messages;

    fn source(path: &str, text: &str) -> Source {
        read(path, text).expect("the source of a test parses")
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace_wherever_they_are() {
        let text = "/// Doc.\n#[inline]\nfn free(\n) {\n}\nimpl A { fn method() {} }\ntrait B {\n fn default() {\n }\n fn none();\n}\n";

        let found = source("a.rs", text).functions;

        let lines: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(lines, [("free", 3, 3), ("method", 6, 1), ("default", 8, 2)]);
    }

    #[test]
    fn code_below_cfg_test_is_test_code_and_code_below_its_opposite_is_not() {
        let text =
            "#[cfg(not(test))]\nfn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n#[tokio::test]\nasync fn c() {}\n";

        let found = source("a.rs", text).functions;

        assert_eq!(found.iter().map(|f| f.is_test).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn public_items_without_documentation_are_found() {
        let text = "
            pub struct S { pub a: u8, b: u8 }
            pub struct T(pub u8);
            pub enum E { V { f: u8 }, W(u8) }
            pub trait R { fn m(&self); }
            impl S { pub fn n() {} fn o() {} }
            pub(crate) struct P { pub a: u8 }
            pub fn f() {}
            pub mod elsewhere;
            pub use other::Thing;
            /// Documented.
            pub const C: u8 = 0;
            #[cfg(test)]
            mod tests { pub fn t() {} }
        ";

        let found = source("crates/a/src/lib.rs", text);

        let names: Vec<&str> = found.undocumented.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["S", "S.a", "T", "E", "E::V", "E::V.f", "E::W", "R", "R::m", "n", "f"]);
        assert_eq!(found.public_items, 12);
        assert_eq!(check_documented(&[found]).len(), 11);
    }

    #[test]
    fn a_header_is_needed_and_neither_too_short_nor_too_long() {
        let long = "//! prose\n".repeat(HEADER_LINES_MAX + 1);
        let diagram = format!("//! one\n//!\n//! ```text\n{}//! ```\n//! | a | b |\n", "//! ─▶\n".repeat(40));
        let cases = [
            ("", "does not open"),
            ("\n//! late\n", "does not open"),
            ("//! one\n", "has 1 lines"),
            (long.as_str(), "lines of prose"),
        ];

        for (text, expected) in cases {
            let found = messages(&check_headers(&[source("a.rs", text)]));
            assert!(found.len() == 1 && found[0].contains(expected), "{text:?}: {found:?}");
        }
        assert_eq!(check_headers(&[source("a.rs", &diagram)]), []);
        assert_eq!(check_headers(&[source("a/tests/b.rs", "//! one\n")]), []);
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_a_finding() {
        let (sources, findings) = read_all(&Tree::of([("a.rs", "fn {"), ("b.rs", "fn b() {}"), ("c.md", "fn {")]));

        assert_eq!((sources.len(), findings.len()), (1, 1));
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in
            ["tests/src/lib.rs", "crates/a/tests/x.rs", "crates/a/src/machine/tests.rs", "crates/a/examples/e.rs"]
        {
            assert!(is_test_path(path), "{path}");
        }
        for path in ["crates/a/src/lib.rs", "crates/tests_of/src/lib.rs", "xtask/src/test/mod.rs"] {
            assert!(!is_test_path(path), "{path}");
        }
    }
}
