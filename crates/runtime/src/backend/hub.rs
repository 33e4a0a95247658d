//! The shell around a backend's subscription hub: one upstream listen shared by many clients.
//!
//! The machine (`quorate_mcp::subscription`) decides; this half of the backend's actor opens and
//! closes upstream listens in tasks, and hands notices to subscribers through bounded channels.
//! A subscriber that does not read is cut off: its client's stream ends and it listens again,
//! which loses nothing that it could not ask for anew.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, quote};
use quorate_mcp::error::METHOD_NOT_FOUND;
use quorate_mcp::message::Filter;
use quorate_mcp::subscription::{
    self, Change, Effect, End, Event, Hub, Interest, ListenId, Notification, Rejection, SubscriberId,
};
use quorate_types::PrincipalDigest;
use ractor::ActorRef;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::debug;

use super::actor::Message;
use super::leg::refuses_for_good;
use super::{Handle, Shared, changes, lock, own};
use crate::upstream::{Endpoint, modern};
use crate::{clock, entropy, upstream};

/// Notices that wait for one subscriber: a stream's ring of events.
const NOTICES_MAX: usize = 64;
const LISTEN: &str = "subscriptions/listen";

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub enum Notice {
    /// What is honoured of its interest; first, and once.
    Acknowledged {
        /// The part.
        honoured: Interest,
        /// Whether the server refused the rest; else that is late, and announced when it is honoured.
        is_settled: bool,
    },
    /// A backend's notification.
    Changed(Arc<Notification>),
    /// A change that it may have missed.
    Announced(Change),
}

/// A subscriber's end; leaving is dropping it.
pub struct Subscription {
    /// What it is told, in order; ends when the backend is removed or the reader is too slow.
    pub notices: mpsc::Receiver<Notice>,
    subscriber: SubscriberId,
    actor: ActorRef<Message>,
}

/// The actor's half: the machine, its subscribers and its upstream listens.
pub(super) struct HubShell {
    hub: Hub,
    next: u64,
    subscribers: HashMap<SubscriberId, mpsc::Sender<Notice>>,
    listens: HashMap<ListenId, AbortHandle>,
}

/// What an upstream listen says.
pub(super) enum Heard {
    /// It is live, with this honoured.
    Acknowledged(Interest),
    /// A notification.
    Changed(Box<Notification>),
    /// It is over.
    Ended(End),
}

#[cfg(test)]
impl Subscription {
    /// One whose notices come from a test.
    pub(super) fn of(notices: mpsc::Receiver<Notice>, actor: ActorRef<Message>) -> Self {
        Self { notices, subscriber: SubscriberId(0), actor }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let subscriber = self.subscriber;
        // A backend that is gone has no subscribers.
        let _gone = self.actor.cast(Message::Leave { subscriber });
    }
}

// === impl HubShell ===

impl HubShell {
    pub(super) fn new() -> Self {
        let hub = Hub::new(subscription::DEFAULTS);
        Self { hub, next: 0, subscribers: HashMap::new(), listens: HashMap::new() }
    }

    pub(super) fn join(
        &mut self,
        shared: &Arc<Shared>,
        myself: &ActorRef<Message>,
        (principal, interest): (PrincipalDigest, Interest),
        reply: oneshot::Sender<Result<Subscription, Rejection>>,
    ) {
        let subscriber = SubscriberId(self.next);
        self.next += 1;
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        self.subscribers.insert(subscriber, sender);
        match self.hub.step(clock::now(), Event::Join { subscriber, principal, interest }) {
            Ok(effects) => {
                let subscription = Subscription { notices, subscriber, actor: myself.clone() };
                // One that is not wanted any more leaves by being dropped.
                let _gone = reply.send(Ok(subscription));
                self.carry_out(shared, myself, effects, None);
            }
            Err(rejection) => {
                self.subscribers.remove(&subscriber);
                if let Some((limit, _)) = rejection.limit() {
                    shared.metrics.limit_hit(limit);
                }
                // As above.
                let _gone = reply.send(Err(rejection));
            }
        }
    }

    pub(super) fn leave(&mut self, shared: &Arc<Shared>, myself: &ActorRef<Message>, subscriber: SubscriberId) {
        self.subscribers.remove(&subscriber);
        self.step(shared, myself, Event::Leave { subscriber }, None);
    }

    pub(super) fn tick(&mut self, shared: &Arc<Shared>, myself: &ActorRef<Message>) {
        self.step(shared, myself, Event::Tick, None);
    }

    pub(super) fn heard(&mut self, shared: &Arc<Shared>, myself: &ActorRef<Message>, listen: ListenId, heard: Heard) {
        match heard {
            Heard::Acknowledged(honoured) => {
                self.step(shared, myself, Event::Acknowledged { listen, honoured }, None);
            }
            Heard::Changed(notification) => {
                let change = notification.change().clone();
                self.step(shared, myself, Event::Notified { listen, change }, Some(&Arc::from(notification)));
            }
            Heard::Ended(end) => {
                self.listens.remove(&listen);
                self.step(shared, myself, Event::Ended { listen, end }, None);
            }
        }
    }

    fn step(
        &mut self,
        shared: &Arc<Shared>,
        myself: &ActorRef<Message>,
        event: Event,
        notification: Option<&Arc<Notification>>,
    ) {
        match self.hub.step(clock::now(), event) {
            Ok(effects) => self.carry_out(shared, myself, effects, notification),
            Err(rejection) => debug!(server = %shared.config.name, %rejection, "the hub refused an event"),
        }
    }

    fn carry_out(
        &mut self,
        shared: &Arc<Shared>,
        myself: &ActorRef<Message>,
        effects: Vec<Effect>,
        notification: Option<&Arc<Notification>>,
    ) {
        for effect in effects {
            match effect {
                Effect::Open { listen, interest } => self.open(shared, myself, listen, &interest),
                Effect::Close { listen } => {
                    if let Some(task) = self.listens.remove(&listen) {
                        task.abort();
                    }
                }
                Effect::Acknowledge { subscriber, honoured } => {
                    let is_settled = self.hub.is_settled(subscriber);
                    self.tell(subscriber, Notice::Acknowledged { honoured, is_settled });
                }
                Effect::Deliver { subscribers } => {
                    let Some(notification) = notification else { continue };
                    for subscriber in subscribers {
                        self.tell(subscriber, Notice::Changed(Arc::clone(notification)));
                    }
                }
                Effect::Announce { subscriber, changes } => {
                    for change in changes {
                        self.tell(subscriber, Notice::Announced(change));
                    }
                }
                Effect::WakeAt { at } => {
                    myself.send_after(at.since(clock::now()), || Message::HubTick);
                }
            }
        }
    }

    /// A subscriber that does not keep up is cut off by dropping its sender; it leaves by itself.
    fn tell(&mut self, subscriber: SubscriberId, notice: Notice) {
        let told = self.subscribers.get(&subscriber).is_some_and(|sender| sender.try_send(notice).is_ok());
        if !told {
            self.subscribers.remove(&subscriber);
        }
    }

    fn open(&mut self, shared: &Arc<Shared>, myself: &ActorRef<Message>, listen: ListenId, interest: &Interest) {
        let server = Handle { shared: Arc::clone(shared) };
        let (actor, interest) = (myself.clone(), interest.clone());
        let task = tokio::spawn(async move {
            let end = if server.needs_session() {
                read_session(&server, &interest, &actor, listen).await
            } else {
                let pick = lock(&server.shared.replicas).pick(clock::now(), entropy::spread(), &[]);
                let replica = pick.map_or(0, |pick| pick.replica);
                let endpoint = &server.shared.config.endpoints[replica];
                read(endpoint, request(listen, &interest), &actor, listen).await
            };
            // A backend that is gone wants to hear nothing.
            let _gone = actor.cast(Message::Heard { listen, heard: Heard::Ended(end), read_on: None });
        });
        self.listens.insert(listen, task.abort_handle());
    }
}

impl Drop for HubShell {
    fn drop(&mut self) {
        self.listens.values().for_each(AbortHandle::abort);
    }
}

/// Reads one upstream listen to its end.
///
/// Each notice waits until the actor has taken the one before: a server that floods its listen
/// waits itself.
async fn read(endpoint: &Endpoint, body: Bytes, actor: &ActorRef<Message>, listen: ListenId) -> End {
    let mut stream = match modern::listen(endpoint, modern::own_headers(LISTEN), body).await {
        Ok(stream) => stream,
        Err(error) if is_refusal(&error) => return End::Unsupported,
        Err(_) => return End::Lost,
    };
    while let Some(item) = stream.next().await {
        let Ok(item) = item else { return End::Lost };
        let heard = match acknowledged(&item.frame) {
            Some(honoured) => Heard::Acknowledged(honoured),
            None => match Notification::read(item.frame) {
                Ok(notification) => Heard::Changed(Box::new(notification)),
                // Whatever else a server says here is nothing that a subscriber could use.
                Err(_) => continue,
            },
        };
        if !hand(actor, listen, heard).await {
            return End::Lost;
        }
    }
    End::Lost
}

/// Tells whether a listen that could not be opened never can be: the server does not know it.
fn is_refusal(error: &upstream::Error) -> bool {
    match error {
        upstream::Error::Fault { status, frame } => {
            refuses_for_good(*status) || upstream::error::fault_code(frame) == Some(METHOD_NOT_FOUND)
        }
        upstream::Error::Status { status, .. } => refuses_for_good(*status),
        _ => false,
    }
}

/// Reads a listen at a server of sessions to its end.
async fn read_session(server: &Handle, interest: &Interest, actor: &ActorRef<Message>, listen: ListenId) -> End {
    let (sender, mut heard) = mpsc::channel(1);
    let watching = changes::watch(server, interest, &sender);
    let handing = async {
        while let Some(heard) = heard.recv().await {
            if !hand(actor, listen, heard).await {
                return;
            }
        }
    };
    tokio::select! {
        end = watching => end,
        () = handing => End::Lost,
    }
}

/// Hands what was heard to the actor, and waits until it took it; false when it is gone.
async fn hand(actor: &ActorRef<Message>, listen: ListenId, heard: Heard) -> bool {
    let (read_on, taken) = oneshot::channel();
    actor.cast(Message::Heard { listen, heard, read_on: Some(read_on) }).is_ok() && taken.await.is_ok()
}

/// Reads the acknowledgement that begins a listen.
fn acknowledged(frame: &Frame) -> Option<Interest> {
    #[derive(Deserialize)]
    struct Params {
        #[serde(default)]
        notifications: Honoured,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Honoured {
        tools_list_changed: bool,
        prompts_list_changed: bool,
        resources_list_changed: bool,
        resource_subscriptions: Vec<String>,
        task_ids: Vec<String>,
    }
    if frame.method() != Some("notifications/subscriptions/acknowledged") {
        return None;
    }
    let honoured = match frame.params() {
        Some(params) => serde_json::from_slice::<Params>(&params).ok()?.notifications,
        None => Honoured::default(),
    };
    Some(Interest {
        tools: honoured.tools_list_changed,
        prompts: honoured.prompts_list_changed,
        resources: honoured.resources_list_changed,
        uris: honoured.resource_subscriptions.into_iter().map(Arc::from).collect(),
        tasks: honoured.task_ids.into_iter().map(Arc::from).collect(),
    })
}

fn request(listen: ListenId, interest: &Interest) -> Bytes {
    let capabilities = match interest.tasks.is_empty() {
        true => "{}",
        false => r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
    };
    let members = format!("\"notifications\":{}", filter(&interest.to_filter()));
    own::request(listen.0, LISTEN, capabilities, Some(&members))
}

fn filter(filter: &Filter) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(",");
    let flags = [
        ("toolsListChanged", filter.tools),
        ("promptsListChanged", filter.prompts),
        ("resourcesListChanged", filter.resources),
    ];
    let mut members: Vec<String> =
        flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!("\"{name}\":true")).collect();
    if !filter.uris.is_empty() {
        members.push(format!("\"resourceSubscriptions\":[{}]", list(&filter.uris)));
    }
    if !filter.tasks.is_empty() {
        members.push(format!("\"taskIds\":[{}]", list(&filter.tasks)));
    }
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use quorate_jsonrpc::{Limits, build};

    use super::*;

    #[test]
    fn a_listen_asks_for_exactly_its_interest() {
        let interest = Interest { tools: true, uris: ["a:\"b".into()].into(), ..Interest::default() };
        let body = request(ListenId(7), &interest);
        let frame = Frame::parse(body, &Limits::REQUEST).expect("a valid frame");
        let params = String::from_utf8(frame.params().expect("parameters").to_vec()).expect("text");
        assert!(
            params.ends_with(r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:\"b"]}}"#),
            "{params}"
        );
    }

    #[test]
    fn only_a_server_that_knows_no_listen_refuses_it_for_good() {
        let status = |status: u16| StatusCode::from_u16(status).expect("a status");
        let fault = |code: u16, error: i64| {
            let frame = Frame::parse(build::error(None, error, "m", None), &Limits::ANSWER).expect("a frame");
            upstream::Error::Fault { status: status(code), frame: Box::new(frame) }
        };
        let plain = |code: u16| upstream::Error::Status { status: status(code), fault: None };
        let cases = [
            (fault(200, -32_601), true),
            (fault(404, -32_601), true),
            (fault(200, -32_603), false),
            (fault(429, -32_003), false),
            (plain(404), true),
            (plain(405), true),
            (plain(401), false),
            (plain(503), false),
            (upstream::Error::Broken { reason: String::new() }, false),
        ];
        for (error, expected) in cases {
            assert_eq!(is_refusal(&error), expected, "{error}");
        }
    }

    #[test]
    fn an_acknowledgement_says_what_is_honoured() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{},"notifications":{"toolsListChanged":true,"taskIds":["t"]}}}"#;
        let frame = Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::ANSWER).expect("a valid frame");
        let honoured = acknowledged(&frame).expect("an acknowledgement");
        assert!(honoured.tools && !honoured.prompts && honoured.tasks.contains("t"));
    }
}
