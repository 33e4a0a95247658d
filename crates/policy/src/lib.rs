//! What a principal may do: Cedar policies over our schema, indexed by scope, deny by default.
//!
//! Documents come in, a compiled set comes out that decides questions (principal, action, resource, arguments) without
//! IO, clock or locks. A question that no policy permits is denied, and one that a policy cannot be evaluated for too.
