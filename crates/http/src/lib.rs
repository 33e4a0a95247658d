//! HTTP/1.1 and HTTP/2 on hyper: bounded server connections, upstream client, SSE bodies.
//!
//! [`server`] turns one accepted socket into requests for a handler and enforces every limit of a
//! connection; [`client`] sends requests upstream over one shared pool; [`body`] is what answers
//! are made of and how requests are collected; [`sse`] reads and writes `text/event-stream`.
//!
//! Nothing here knows MCP, JSON or telemetry: limits that are hit are reported to an
//! [`Observer`], failures are typed, and the total time of a request is its handler's business.

pub mod body;
pub mod client;
pub mod observe;
pub mod server;
pub mod sse;

pub use body::{BodyError, ResponseBody, collect};
pub use observe::Observer;
pub use server::RequestBody;
