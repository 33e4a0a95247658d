//! The limits of policies, groups and questions, each with its reason.
//!
//! They bound what a document can make a node spend when it is compiled (text, policies, groups) and what a call can
//! make it spend when it is decided (arguments). What is over a limit is refused, or counts as not evaluable; nothing is
//! cut short silently.

/// The longest document in bytes: about a thousand policies. A longer one is refused without being read.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// The most bytes of all documents: compiling them takes half a minute at most (measured: 0.6 ms a policy).
pub const TOTAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most documents: one for each tool server of a large node, twice over.
pub const DOCUMENTS_MAX: usize = 2_000;

/// The most policies in all documents: five times what the numbers are promised for.
pub const POLICIES_MAX: usize = 10_000;

/// The deepest nesting of brackets in a policy: far beyond what is legible, and no depth for the parser's stack.
pub const NESTING_MAX: usize = 32;

/// The most operators in one policy: a chain of them is as deep as it is long for whoever walks it, evaluation included.
pub const OPERATORS_MAX: usize = 400;

/// The stack that compiling gets: Cedar's validator takes up to 100 KiB a level where it is not optimised. Address
/// space, of which only what is used becomes memory.
pub(crate) const COMPILE_STACK_BYTES: usize = 256 * 1024 * 1024;

/// The depth of a condition, in its JSON form, up to which it is evaluated on the stack of whoever asks: six operators
/// deep take less than what Cedar leaves of the smallest.
pub(crate) const EASY_DEPTH_MAX: usize = 24;

/// The stack that a deeper condition gets: four hundred operators at 40 KiB, where Cedar is not optimised.
pub(crate) const EVALUATE_STACK_BYTES: usize = 16 * 1024 * 1024;

/// The most problems that are told of at once: whoever has more starts with these.
pub const PROBLEMS_MAX: usize = 100;

/// The most arguments that a document declares: more than tools have that are called with typed arguments.
pub const ARGUMENTS_MAX: usize = 64;

/// The longest name of a declared argument in bytes.
pub const ARGUMENT_NAME_BYTES_MAX: usize = 128;

/// The longest text of a declared argument that policies look at: `like` reads it once per `*`.
pub const ARGUMENT_TEXT_BYTES_MAX: usize = 64 * 1024;

/// The most texts in a declared argument that is a list: each is hashed and compared.
pub const ARGUMENT_TEXTS_MAX: usize = 1_024;

/// The most templates of URIs of one server that policies name: servers list fewer, and each is held against every URI
/// that is read there.
pub const TEMPLATES_MAX: usize = 64;

/// The work that holding one URI against the templates of its server may cost, in comparisons of a byte: a millisecond.
/// A URI of 1,000 bytes and 64 templates of ten parts that all begin as it does need two thirds of it.
pub const TEMPLATE_WORK_MAX: usize = 1_000_000;

/// The most groups of all tenants.
pub const GROUPS_MAX: usize = 10_000;

/// The most members of all groups: agents, users and groups within.
pub const MEMBERS_MAX: usize = 100_000;

/// The deepest nesting of groups: deeper than any organisation, and each caller carries all groups on its way.
pub const GROUP_DEPTH_MAX: usize = 16;

/// The longest name of a group, agent or user in bytes: SPIFFE ids have at most 2,048.
pub const ID_BYTES_MAX: usize = 2_048;

// A single document has to fit into what all may have.
const _: () = assert!(DOCUMENT_BYTES_MAX <= TOTAL_BYTES_MAX);
