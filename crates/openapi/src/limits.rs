//! The bounds within which a document is read and compiled.
//!
//! A document comes from a vendor, often generated, and may be large or broken. Each bound exists because without it
//! the document decides how much memory and time we spend, or how much of a model's context its tools take. What is
//! above a bound is refused, left out or loosened, and always reported.

/// Bounds of one document and its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of the text: 32 MiB, twice the largest document among well-known public APIs (14 MiB).
    pub document_bytes_max: usize,
    /// The most values of the document, aliases expanded: 4 million, about 300 MB while it is compiled.
    pub document_values_max: usize,
    /// The most operations that become tools: 10,000, as many items as the gateway keeps of one server.
    pub operations_max: usize,
    /// The most `$ref`s in a row from one place to what it means: 16; documents have one or two.
    pub ref_hops_max: usize,
    /// The deepest nesting of one tool's schema, in schemas: 32. JSON nests two to three levels for each, and answers
    /// may have 128.
    pub schema_depth_max: usize,
    /// The most schemas in one tool's input or output, after `$ref`s: 2,000.
    pub schema_nodes_max: usize,
    /// The most bytes of a tool's input schema: 48 KiB, a tenth of a model's context.
    pub input_bytes_max: usize,
    /// The most bytes of a tool's output schema: 8 KiB. It helps a model to plan and is not needed to call, so it is
    /// the first to be cut.
    pub output_bytes_max: usize,
    /// The most bytes of all definitions of one document's tools: 64 MiB.
    pub tools_bytes_max: usize,
    /// The most characters of a tool's description: 4,096.
    pub description_chars_max: usize,
    /// The most characters of a description within a schema: 600.
    pub note_chars_max: usize,
    /// The most values of an `enum` that are listed: 200; a longer one is left open.
    pub choices_max: usize,
    /// The most bytes of a request's URI: 16 KiB; servers refuse request lines beyond 8 to 16 KiB.
    pub uri_bytes_max: usize,
    /// The most bytes of one header of a request: 8 KiB, as servers accept.
    pub header_bytes_max: usize,
    /// The most bytes of an error's body that a model gets: 8 KiB.
    pub error_bytes_max: usize,
}

/// The defaults of [`Limits`]; the reasons are at its fields.
pub const DEFAULTS: Limits = Limits {
    document_bytes_max: 32 << 20,
    document_values_max: 4_000_000,
    operations_max: 10_000,
    ref_hops_max: 16,
    schema_depth_max: 32,
    schema_nodes_max: 2_000,
    input_bytes_max: 48 << 10,
    output_bytes_max: 8 << 10,
    tools_bytes_max: 64 << 20,
    description_chars_max: 4_096,
    note_chars_max: 600,
    choices_max: 200,
    uri_bytes_max: 16 << 10,
    header_bytes_max: 8 << 10,
    error_bytes_max: 8 << 10,
};

// A chain of single schemas must fit into what answers may nest: three levels of JSON each, and ten around them.
const _: () = assert!(DEFAULTS.schema_depth_max * 3 + 10 <= 128);
// One tool must fit into all of them.
const _: () = assert!(DEFAULTS.input_bytes_max + DEFAULTS.output_bytes_max < DEFAULTS.tools_bytes_max);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        DEFAULTS
    }
}
