//! Change notifications on their way from a backend's listen stream to each subscriber's.
//!
//! In: a backend's frame, read once into a [`Notification`]. Out, per subscriber: the same bytes
//! with the subscriber's own `subscriptionId`, and URI or task id as that subscriber knows them.
//! The caller does the mapping of names; everything else in the frame passes unchanged.
//!
//! Wire form: 2026-07-28 `subscriptions/listen`, and the tasks extension's `notifications/tasks`.

use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, MembersError, Span, Splice, build, pick, quote, text};

use crate::dialect::v2026_07_28::META_SUBSCRIPTION_ID;
use crate::method::Method;

const TOOLS: &str = Method::ToolsListChanged.as_str();
const PROMPTS: &str = Method::PromptsListChanged.as_str();
const RESOURCES: &str = Method::ResourcesListChanged.as_str();
const RESOURCE: &str = Method::ResourceUpdated.as_str();
const TASK: &str = Method::Tasks.as_str();

/// Something that changed at a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The list of resources.
    Resources,
    /// A resource.
    Resource {
        /// Its URI.
        uri: Arc<str>,
    },
    /// A task's status.
    Task {
        /// Its id.
        id: Arc<str>,
    },
}

/// A change notification of a backend, with what differs per subscriber marked.
#[derive(Clone, Debug)]
pub struct Notification {
    frame: Frame,
    change: Change,
    /// Where the URI or task id stands, quotes included.
    key: Option<Span>,
    subscription: Place,
}

/// A notification cannot be passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// It is none that belongs on a listen stream.
    #[error("not a change notification")]
    OtherMethod,
    /// A member that decides where it goes is missing or of the wrong type.
    #[error("`{field}` is missing or not a string")]
    Field {
        /// The member's path.
        field: &'static str,
    },
    /// Its parameters cannot be read.
    #[error("the parameters cannot be read")]
    Malformed(#[source] MembersError),
}

/// Where the subscription's id goes.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In place of the backend's.
    Over(Span),
    /// As the first member of `_meta`, which has others or not.
    IntoMeta { at: usize, empty: bool },
    /// With a new `_meta`, as the first member of the parameters.
    IntoParams { at: usize, empty: bool },
    /// With new parameters, before the end of the frame.
    IntoFrame { at: usize },
}

// === impl Change ===

impl Change {
    /// Returns the method that announces this change.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Tools => Method::ToolsListChanged,
            Self::Prompts => Method::PromptsListChanged,
            Self::Resources => Method::ResourcesListChanged,
            Self::Resource { .. } => Method::ResourceUpdated,
            Self::Task { .. } => Method::Tasks,
        }
    }

    /// Builds the notification of this change for one subscriber, as the gateway itself sends it:
    /// to whoever may have missed the backend's own. `uri` is the resource as the subscriber
    /// knows it.
    ///
    /// `None` for a task, whose notification needs a status that only the backend knows.
    #[must_use]
    pub fn announce(&self, subscription: &Id, uri: Option<&str>) -> Option<Bytes> {
        let meta =
            format!("\"_meta\":{{\"{META_SUBSCRIPTION_ID}\":{subscription}}}", subscription = subscription.as_json());
        let params = match self {
            Self::Tools | Self::Prompts | Self::Resources => format!("{{{meta}}}"),
            Self::Resource { uri: own } => format!("{{{meta},\"uri\":{}}}", quote(uri.unwrap_or(own))),
            Self::Task { .. } => return None,
        };
        Some(build::notification(self.method().as_str(), Some(&params)))
    }

    /// Builds the notification of this change for a session, which has no subscription ids. `None`
    /// for a task, as above.
    #[must_use]
    pub fn to_session(&self) -> Option<Bytes> {
        let params = match self {
            Self::Tools | Self::Prompts | Self::Resources => None,
            Self::Resource { uri } => Some(format!("{{\"uri\":{}}}", quote(uri))),
            Self::Task { .. } => return None,
        };
        Some(build::notification(self.method().as_str(), params.as_deref()))
    }
}

// === impl Notification ===

impl Notification {
    /// Reads a backend's notification.
    ///
    /// # Errors
    /// [`NotificationError`]; the frame is then not for subscribers.
    pub fn read(frame: Frame) -> Result<Self, NotificationError> {
        let method = frame.method().ok_or(NotificationError::OtherMethod)?.to_owned();
        let params = frame.params_span();
        let keys = ["_meta", "uri", "taskId"];
        let [meta, uri, task] = match params {
            Some(params) => pick(frame.text_of(params), params.start, keys).map_err(NotificationError::Malformed)?,
            None => [None; 3],
        };
        let key = |span: Option<Span>, field| {
            let value = span.and_then(|span| text(frame.text_of(span))).map(|value| Arc::from(&*value));
            value.ok_or(NotificationError::Field { field })
        };
        let (change, key) = match method.as_str() {
            TOOLS => (Change::Tools, None),
            PROMPTS => (Change::Prompts, None),
            RESOURCES => (Change::Resources, None),
            RESOURCE => (Change::Resource { uri: key(uri, "params.uri")? }, uri),
            TASK => (Change::Task { id: key(task, "params.taskId")? }, task),
            _ => return Err(NotificationError::OtherMethod),
        };
        let subscription = place(&frame, params, meta)?;
        Ok(Self { frame, change, key, subscription })
    }

    /// Returns what changed, in the backend's terms.
    #[must_use]
    pub const fn change(&self) -> &Change {
        &self.change
    }

    /// Returns the notification as the backend sent it.
    #[must_use]
    pub const fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Returns the notification for one subscriber: with the id of its listen request, and with
    /// the resource's URI or the task's id as it knows them (`None` leaves the backend's).
    #[must_use]
    pub fn addressed(&self, subscription: &Id, key: Option<&str>) -> Bytes {
        let id = subscription.as_json();
        let mut splice = Splice::new(self.frame.bytes());
        let member = format!("\"{META_SUBSCRIPTION_ID}\":{id}");
        let comma = |empty: bool| if empty { "" } else { "," };
        match self.subscription {
            Place::Over(span) => splice.replace(span, id.as_bytes()),
            Place::IntoMeta { at, empty } => splice.insert(at, format!("{member}{}", comma(empty)).into_bytes()),
            Place::IntoParams { at, empty } => {
                splice.insert(at, format!("\"_meta\":{{{member}}}{}", comma(empty)).into_bytes())
            }
            Place::IntoFrame { at } => {
                splice.insert(at, format!(",\"params\":{{\"_meta\":{{{member}}}}}").into_bytes())
            }
        };
        if let (Some(span), Some(key)) = (self.key, key) {
            splice.replace(span, quote(key).into_bytes());
        }
        splice.finish()
    }
}

/// Finds where the subscription's id stands, or where it can be inserted.
fn place(frame: &Frame, params: Option<Span>, meta: Option<Span>) -> Result<Place, NotificationError> {
    let Some(params) = params else {
        let end = frame.text().rfind('}').ok_or(NotificationError::OtherMethod)?;
        return Ok(Place::IntoFrame { at: end });
    };
    let is_empty = |object: Span| frame.text_of(object)[1..].trim_start().starts_with('}');
    let Some(meta) = meta else {
        return Ok(Place::IntoParams { at: params.start + 1, empty: is_empty(params) });
    };
    let [id] = pick(frame.text_of(meta), meta.start, [META_SUBSCRIPTION_ID]).map_err(NotificationError::Malformed)?;
    Ok(match id {
        Some(span) => Place::Over(span),
        None => Place::IntoMeta { at: meta.start + 1, empty: is_empty(meta) },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_jsonrpc::Limits;

    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::from(text.to_owned()), &Limits::ANSWER).expect("a valid frame")
    }

    #[test]
    fn each_subscriber_gets_its_own_id_and_everything_else_unchanged() {
        const ID: &str = "io.modelcontextprotocol/subscriptionId";
        let list = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"#;
        let updated = r#"{ "method":"notifications/resources/updated","jsonrpc":"2.0","params":"#;
        let cases = [
            (
                format!(r#"{list}","params":{{"_meta":{{"{ID}":1,"x":1.0}}}}}}"#),
                None,
                format!(r#"{list}","params":{{"_meta":{{"{ID}":"s","x":1.0}}}}}}"#),
            ),
            (
                format!(r#"{list}","params":{{"_meta":{{ "x":1.0}}}}}}"#),
                None,
                format!(r#"{list}","params":{{"_meta":{{"{ID}":"s", "x":1.0}}}}}}"#),
            ),
            (
                format!(r#"{list}","params":{{"_meta":{{ }}}}}}"#),
                None,
                format!(r#"{list}","params":{{"_meta":{{"{ID}":"s" }}}}}}"#),
            ),
            (
                format!(r#"{list}","params":{{"y":[]}}}}"#),
                None,
                format!(r#"{list}","params":{{"_meta":{{"{ID}":"s"}},"y":[]}}}}"#),
            ),
            (format!(r#"{list}","params":{{}}}}"#), None, format!(r#"{list}","params":{{"_meta":{{"{ID}":"s"}}}}}}"#)),
            (format!("{list}\"}} "), None, format!(r#"{list}","params":{{"_meta":{{"{ID}":"s"}}}}}} "#)),
            (
                format!(r#"{updated}{{"uri":"t:\/\/x","z":2,"_meta":{{"{ID}":7}}}}}}"#),
                Some("quorate://a/t://x"),
                format!(r#"{updated}{{"uri":"quorate://a/t://x","z":2,"_meta":{{"{ID}":"s"}}}}}}"#),
            ),
            (
                format!(r#"{updated}{{"uri":"t:\/\/x","_meta":{{"{ID}":7}}}}}}"#),
                None,
                format!(r#"{updated}{{"uri":"t:\/\/x","_meta":{{"{ID}":"s"}}}}}}"#),
            ),
        ];
        let id = Id::from_text("s").expect("an id");
        for (text, key, expected) in cases {
            let notification = Notification::read(frame(&text)).expect("a change notification");
            let addressed = notification.addressed(&id, key);
            assert_eq!(addressed, expected.as_bytes(), "{text}");
            assert!(Frame::parse(addressed, &Limits::ANSWER).is_ok(), "{text}");
        }
    }

    #[test]
    fn changes_are_read_in_the_backends_terms() {
        for (method, params, expected) in [
            ("notifications/tools/list_changed", "{}", Ok(Change::Tools)),
            ("notifications/prompts/list_changed", "{}", Ok(Change::Prompts)),
            ("notifications/resources/list_changed", "{}", Ok(Change::Resources)),
            ("notifications/resources/updated", r#"{"uri":"t:\/\/x"}"#, Ok(Change::Resource { uri: "t://x".into() })),
            ("notifications/tasks", r#"{"taskId":"7","status":"working"}"#, Ok(Change::Task { id: "7".into() })),
            ("notifications/resources/updated", "{}", Err(NotificationError::Field { field: "params.uri" })),
            ("notifications/resources/updated", r#"{"uri":1}"#, Err(NotificationError::Field { field: "params.uri" })),
            ("notifications/tasks", r#"{"uri":"x"}"#, Err(NotificationError::Field { field: "params.taskId" })),
            ("notifications/progress", "{}", Err(NotificationError::OtherMethod)),
            ("notifications/message", "{}", Err(NotificationError::OtherMethod)),
            ("tools/list_changed", "{}", Err(NotificationError::OtherMethod)),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
            let read = Notification::read(frame(&text)).map(|notification| notification.change().clone());
            assert_eq!(read, expected, "{text}");
        }
        for params in [r#"{"uri":"a","uri":"b"}"#, r#"{"uri":"a","_meta":5}"#, r#"{"uri":"a","Uri":"b"}"#, "[]"] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{params}}}"#);
            let read = Notification::read(frame(&text));
            assert!(matches!(read, Err(NotificationError::Malformed(_))), "{text} {read:?}");
        }
    }

    #[test]
    fn an_announcement_reads_back_as_its_change() {
        let id = Id::from(3);
        let resource = Change::Resource { uri: "t://x".into() };
        for change in [Change::Tools, Change::Prompts, Change::Resources, resource.clone()] {
            let bytes = change.announce(&id, None).expect("no task");
            let notification = Notification::read(Frame::parse(bytes.clone(), &Limits::ANSWER).expect("a frame"));
            let notification = notification.expect("a change notification");
            assert_eq!(notification.change(), &change);
            assert_eq!(notification.addressed(&id, None), bytes);

            let told = change.to_session().expect("no task");
            let told = Notification::read(Frame::parse(told, &Limits::ANSWER).expect("a frame"));
            assert_eq!(told.expect("a change notification").change(), &change);
        }
        assert_eq!(
            resource.announce(&id, Some("quorate://a/t://x")).as_deref(),
            Some(&br#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3},"uri":"quorate://a/t://x"}}"#[..])
        );
        assert_eq!(Change::Task { id: "7".into() }.announce(&id, None), None);
    }

    proptest! {
        #[test]
        fn an_addressed_notification_reads_back_with_its_key(uri in "\\PC{1,12}", key in "\\PC{1,12}", id in "\\PC{0,8}") {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":{}}}}}"#, quote(&uri));
            let notification = Notification::read(frame(&text)).expect("a change notification");
            let addressed = notification.addressed(&Id::from_text(&id).expect("short"), Some(&key));
            let value: serde_json::Value = serde_json::from_slice(&addressed).expect("JSON");
            prop_assert_eq!(value["params"]["uri"].as_str(), Some(&*key));
            prop_assert_eq!(value["params"]["_meta"][META_SUBSCRIPTION_ID].as_str(), Some(&*id));
        }
    }
}
