//! What the gateway makes of what backends say, before a session's client hears it.
//!
//! The session knows neither names nor policies: whoever opens it brings somebody who does. Each method is asked on the
//! actor's way, and must not wait.

use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_mcp::{ListKind, Method};
use quorate_types::{Principal, ResourceName};

use super::{Terms, Tool};

/// What the gateway does to backends' frames before the client sees them.
pub trait Translate: Send + Sync + 'static {
    /// Rewrites names and ids in a backend's frame; returns it unchanged where there are none.
    ///
    /// `method` is that of the request which a result answers, else the frame's own; `tool` is that of the call which
    /// the frame belongs to ([`Terms::tool`]), none on the stream of a leg itself.
    fn inbound(&self, server: &ResourceName, method: Option<Method>, tool: Option<&Arc<Tool>>, frame: Frame) -> Frame;

    /// Decides on what a server asks of the client; returns the request as the client sees it, or
    /// the answer that the server gets instead.
    ///
    /// # Errors
    /// The answer for the server.
    fn ask(&self, server: &ResourceName, frame: Frame) -> Result<Frame, Bytes>;

    /// Decides on what a server's error asks of the client (visits of URLs, 2025-11-25); returns the error as the client
    /// sees it, or the one that it gets instead.
    fn failed(&self, _server: &ResourceName, error: Frame) -> Frame {
        error
    }

    /// Tells whether the client must not hear a server's notification: it is about something that the
    /// client could ask for once and no longer can, or from a server that it can do nothing at. `_is_of_call` says
    /// whether it came with the answer to a request of the session.
    fn withholds(&self, _server: &ResourceName, _notification: &Frame, _is_of_call: bool) -> bool {
        false
    }

    /// Tells whether the session's owner may still be a client at all.
    fn is_allowed(&self) -> bool {
        true
    }

    /// Hears what the session's owner is known as now: its groups and scopes change from token to token, and are no part
    /// of the digest that owns the session.
    fn known_as(&self, _owner: &Arc<Principal>) {}

    /// Hears the same of whoever showed something earlier: it counts where nothing else was shown since.
    fn known_instead(&self, _before: &Arc<Principal>, _owner: &Arc<Principal>) {}

    /// Tells whether the session's owner may be told that lists have changed.
    fn hears_of_lists(&self) -> bool {
        true
    }

    /// What a call is held to that another node has begun.
    fn terms(&self, _server: &ResourceName, _frame: &Frame) -> Terms {
        Terms::default()
    }

    /// Hears that a list of a server changed.
    fn list_changed(&self, server: &ResourceName, kind: ListKind);
}
