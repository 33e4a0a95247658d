//! Reads what a backend's frame means to the session machine.
//!
//! In: a frame. Out: its [`Content`], with spans of the tokens and ids that the machine replaces,
//! and the list that a notification says has changed. A frame that lacks what its method
//! promises is plain: it passes as it is, and the client judges it.

use quorate_jsonrpc::{Frame, Id, Kind, Span, pick, text};
use quorate_mcp::{Level, ListKind, Method};
use quorate_session::{Content, Replay};

/// Returns what `frame` means.
pub(super) fn content(frame: &Frame) -> Content {
    match (frame.kind(), frame.method()) {
        (Kind::Request, Some(_)) => match token_of_request(frame) {
            Some(token) => Content::Request { token },
            None => Content::Plain,
        },
        (Kind::Notification, Some("notifications/progress")) => match param(frame, "progressToken") {
            Some(token) => Content::Progress { token },
            None => Content::Plain,
        },
        (Kind::Notification, Some("notifications/cancelled")) => cancelled(frame).unwrap_or(Content::Plain),
        (Kind::Notification, Some("notifications/message")) => log(frame).unwrap_or(Content::Plain),
        (Kind::Request | Kind::Notification | Kind::Result | Kind::Error, _) => Content::Plain,
    }
}

/// Tells whether a request whose outcome is not known may be sent again; `replayable` is the operator's mark of its tool.
/// What a server says of its tools is not trusted for that, and a method that is not known may do anything.
pub(super) fn replay(request: &Frame, replayable: bool) -> Replay {
    let method = request.method().and_then(Method::parse);
    match method {
        Some(
            Method::Ping
            | Method::ListTools
            | Method::ListPrompts
            | Method::ListResources
            | Method::ListResourceTemplates
            | Method::GetPrompt
            | Method::ReadResource
            | Method::Complete
            | Method::SetLevel
            | Method::Subscribe
            | Method::Unsubscribe
            | Method::ListTasks
            | Method::GetTask
            | Method::TaskResult,
        ) => Replay::Safe,
        Some(Method::CallTool) if replayable => Replay::Marked,
        Some(_) | None => Replay::Never,
    }
}

/// Returns the list that a notification says has changed.
pub(super) fn changed_lists(frame: &Frame) -> &'static [ListKind] {
    match (frame.kind(), frame.method()) {
        (Kind::Notification, Some("notifications/tools/list_changed")) => &[ListKind::Tools],
        (Kind::Notification, Some("notifications/prompts/list_changed")) => &[ListKind::Prompts],
        (Kind::Notification, Some("notifications/resources/list_changed")) => {
            &[ListKind::Resources, ListKind::ResourceTemplates]
        }
        (Kind::Request | Kind::Notification | Kind::Result | Kind::Error, _) => &[],
    }
}

/// The severity of a level on the machine's scale.
#[must_use]
pub fn severity(level: Level) -> u8 {
    level as u8
}

fn param(frame: &Frame, key: &'static str) -> Option<Span> {
    let params = frame.params_span()?;
    let [value] = pick(frame.text_of(params), params.start, [key]).ok()?;
    value
}

fn token_of_request(frame: &Frame) -> Option<Span> {
    let meta = param(frame, "_meta")?;
    let [token] = pick(frame.text_of(meta), meta.start, ["progressToken"]).ok()?;
    token
}

fn cancelled(frame: &Frame) -> Option<Content> {
    let span = param(frame, "requestId")?;
    let request_id = Id::from_json(frame.text_of(span)).ok()?;
    Some(Content::Cancelled { request_id, span })
}

fn log(frame: &Frame) -> Option<Content> {
    let span = param(frame, "level")?;
    let level = Level::parse(&text(frame.text_of(span))?)?;
    Some(Content::Log { severity: severity(level) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_jsonrpc::Limits;

    use super::*;

    fn frame(text: &'static str) -> Frame {
        Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::ANSWER).expect("a valid frame")
    }

    #[test]
    fn frames_are_read_as_far_as_the_machine_needs() {
        let progress =
            frame(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#);
        let Content::Progress { token } = content(&progress) else { panic!("{:?}", content(&progress)) };
        assert_eq!(progress.text_of(token), "7");

        let request = frame(
            r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"_meta":{"progressToken":"a"}}}"#,
        );
        let Content::Request { token } = content(&request) else { panic!("{:?}", content(&request)) };
        assert_eq!(request.text_of(token), "\"a\"");

        let log = frame(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#);
        assert_eq!(content(&log), Content::Log { severity: 4 });

        for plain in [
            r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"loud"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            assert_eq!(content(&frame(plain)), Content::Plain, "{plain}");
        }
    }

    #[test]
    fn a_change_of_resources_is_also_one_of_their_templates() {
        let changed = frame(r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#);
        assert_eq!(changed_lists(&changed), [ListKind::Resources, ListKind::ResourceTemplates]);
    }
}
