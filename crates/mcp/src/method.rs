//! The methods of all revisions, in both directions.
//!
//! A closed set: metrics and routing tables are keyed by it, and a method outside of it is
//! answered with −32601. Which revision knows which method is in [`crate::dialect`].

use std::fmt;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A method of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $($(#[$doc])* $name,)+
        }

        impl Method {
            /// All methods.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the method that `text` names.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Returns the method's name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

methods! {
    /// Opens a legacy session.
    Initialize = "initialize",
    /// Asks whether the other side is alive; either direction, legacy.
    Ping = "ping",
    /// Asks what a modern server offers.
    Discover = "server/discover",
    /// Lists tools.
    ListTools = "tools/list",
    /// Calls a tool.
    CallTool = "tools/call",
    /// Lists prompts.
    ListPrompts = "prompts/list",
    /// Renders a prompt.
    GetPrompt = "prompts/get",
    /// Lists resources.
    ListResources = "resources/list",
    /// Lists resource templates.
    ListResourceTemplates = "resources/templates/list",
    /// Reads a resource.
    ReadResource = "resources/read",
    /// Subscribes to a resource's changes, legacy.
    Subscribe = "resources/subscribe",
    /// Ends a subscription, legacy.
    Unsubscribe = "resources/unsubscribe",
    /// Completes an argument.
    Complete = "completion/complete",
    /// Sets a session's log level, legacy.
    SetLevel = "logging/setLevel",
    /// Opens a stream of change notifications, modern.
    Listen = "subscriptions/listen",
    /// Reads a task's status; in 2025-11-25 also from server to client.
    GetTask = "tasks/get",
    /// Waits for a task's result (2025-11-25).
    TaskResult = "tasks/result",
    /// Answers a task's input requests (tasks extension).
    UpdateTask = "tasks/update",
    /// Cancels a task.
    CancelTask = "tasks/cancel",
    /// Lists tasks (2025-11-25).
    ListTasks = "tasks/list",
    /// Asks the client's model, from server to client, legacy.
    CreateMessage = "sampling/createMessage",
    /// Asks the client's user, from server to client, legacy.
    Elicit = "elicitation/create",
    /// Asks for the client's roots, from server to client, legacy.
    ListRoots = "roots/list",
    /// Ends the opening of a legacy session.
    Initialized = "notifications/initialized",
    /// Gives up a request.
    Cancelled = "notifications/cancelled",
    /// Reports the progress of a request.
    Progress = "notifications/progress",
    /// A log message.
    Message = "notifications/message",
    /// The client's roots changed, legacy.
    RootsListChanged = "notifications/roots/list_changed",
    /// The tools changed.
    ToolsListChanged = "notifications/tools/list_changed",
    /// The prompts changed.
    PromptsListChanged = "notifications/prompts/list_changed",
    /// The resources changed.
    ResourcesListChanged = "notifications/resources/list_changed",
    /// A resource changed.
    ResourceUpdated = "notifications/resources/updated",
    /// A task changed its status (2025-11-25).
    TaskStatus = "notifications/tasks/status",
    /// A task changed its status (tasks extension).
    Tasks = "notifications/tasks",
    /// An elicitation by URL is complete (2025-11-25).
    ElicitationComplete = "notifications/elicitation/complete",
    /// A `subscriptions/listen` stream is live, and for what.
    SubscriptionsAcknowledged = "notifications/subscriptions/acknowledged",
}

// === impl Method ===

impl Method {
    /// Tells whether the method is a notification.
    #[must_use]
    pub fn is_notification(self) -> bool {
        self.as_str().starts_with("notifications/")
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_parses_from_its_name() {
        for &method in Method::ALL {
            assert_eq!(Method::parse(method.as_str()), Some(method));
        }
        for text in ["", "tools/List", "tools/call ", "unknown/method", "notifications"] {
            assert_eq!(Method::parse(text), None, "{text}");
        }
    }
}
