//! Callers and resources as Cedar's entities.
//!
//! A caller is one entity whose parents are all that it is in; a resource is one entity whose parents are its server and
//! toolset, and for a resource the templates that it is of. Parents need not exist for Cedar's `in`, so that a question needs these two entities and the actions, and
//! nothing else. What the attributes mean is in [`crate::schema`].

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use quorate_types::{Actor, Principal, rfc3339};

use crate::action::{Action, Group, Knows};
use crate::arguments::Reads;
use crate::decision::ModelRequest;
use crate::resource::{Item, Kind, Named, Object};
use crate::schema::{AGENT, CALLER, GROUP, TENANT, USER};
use crate::view::View;

/// The id of the caller's entity; no policy can name it.
const CALLER_ID: &str = "caller";

/// What there is to know of what a model is asked.
const REQUEST: [&str; 9] =
    ["api", "audio", "bytes", "documents", "images", "now", "outputTokensMax", "streamed", "tools"];

/// The names that every entity is made with, parsed once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    caller: EntityUid,
    memberships: [EntityTypeName; 4],
    kinds: [EntityTypeName; Kind::ALL.len()],
    actions: [EntityUid; Action::ALL.len()],
    /// The actions and their group, which every question has.
    action_entities: Entities,
    no_arguments: Context,
    no_request: Context,
}

type Attributes = HashMap<String, RestrictedExpression>;

// === impl Vocabulary ===

impl Vocabulary {
    pub(crate) fn new() -> Self {
        let actions = Action::ALL.map(|action| uid(type_name("Action"), action.as_str()));
        let groups = Group::ALL.map(|group| uid(type_name("Action"), group.as_str()));
        let entity = |action: &Action| {
            let group = groups[action.group() as usize].clone();
            Entity::new_no_attrs(actions[*action as usize].clone(), HashSet::from([group]))
        };
        Self {
            caller: uid(type_name(CALLER), CALLER_ID),
            memberships: [AGENT, GROUP, TENANT, USER].map(type_name),
            kinds: Kind::ALL.map(|kind| type_name(kind.as_str())),
            action_entities: Entities::from_entities(Action::ALL.iter().map(entity), None).expect("their ids differ"),
            actions,
            no_arguments: arguments([]),
            no_request: context("request", []),
        }
    }

    /// Makes the entities that all questions of a caller share: itself and the actions.
    pub(crate) fn caller(&self, principal: &Principal, view: &View) -> Entities {
        let [agent, group, tenant, user] = &self.memberships;
        let mut parents = HashSet::from([uid(tenant.clone(), view.tenant.as_str())]);
        parents.extend(view.agent.as_deref().map(|id| uid(agent.clone(), id)));
        parents.extend(view.user.as_deref().map(|id| uid(user.clone(), id)));
        parents.extend(view.groups.iter().map(|id| uid(group.clone(), id)));

        let delegations = i64::try_from(principal.delegation.len()).unwrap_or(i64::MAX);
        let mut attributes = Attributes::from([
            ("tenant".to_owned(), text(view.tenant.as_str())),
            ("groups".to_owned(), texts(view.groups.iter().map(String::as_str))),
            ("scopes".to_owned(), texts(principal.scopes.iter().map(String::as_str))),
            ("delegation".to_owned(), RestrictedExpression::new_set(principal.delegation.iter().map(actor))),
            ("delegations".to_owned(), RestrictedExpression::new_long(delegations)),
        ]);
        let optional = [
            ("agent", view.agent.as_deref().map(text)),
            ("user", view.user.as_deref().map(text)),
            ("actor", principal.delegation.first().map(actor)),
        ];
        attributes.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));

        let caller = entity(self.caller.clone(), attributes, parents);
        self.action_entities.clone().add_entities([caller], None).expect("a caller is no action, and has no cycle")
    }

    /// Adds a resource to the entities of a caller.
    pub(crate) fn with_resource(&self, caller: &Entities, object: &Object<'_>) -> Entities {
        let resource = &object.resource;
        let parents = object.parents().map(|(kind, id)| uid(self.kinds[kind as usize].clone(), id)).collect();
        let mut attributes = Attributes::from([("tenant".to_owned(), text(resource.tenant.as_str()))]);
        if resource.kind() != Kind::Model {
            attributes.insert("toolset".to_owned(), text(resource.toolset));
        }
        let mut named = |named: &Named<'_>, name: &str| {
            attributes.extend([
                ("server".to_owned(), text(named.server)),
                (name.to_owned(), text(named.name)),
                ("exposed".to_owned(), text(named.exposed)),
                ("tags".to_owned(), texts(named.tags.iter().map(String::as_str))),
            ]);
        };
        match &resource.item {
            Item::Toolset => {}
            Item::Server { server } => {
                attributes.insert("server".to_owned(), text(server));
            }
            Item::Tool(item) | Item::Prompt(item) => named(item, "name"),
            Item::Resource(item) => named(item, "uri"),
            Item::Model { name, asked } => {
                attributes.extend([("name".to_owned(), text(name)), ("asked".to_owned(), text(asked))]);
            }
        }
        let resource = entity(uid(self.kinds[resource.kind() as usize].clone(), &object.id), attributes, parents);
        caller.clone().add_entities([resource], None).expect("a resource is no caller and no action, and has no cycle")
    }

    /// Makes the request of a question; without `context` it is one of which nothing more is known.
    pub(crate) fn request(&self, action: Action, object: &Object<'_>, context: Option<Context>) -> Request {
        let context = context.unwrap_or_else(|| match action.knows() {
            Knows::Arguments => self.no_arguments.clone(),
            Knows::Request => self.no_request.clone(),
            Knows::Nothing => Context::empty(),
        });
        let resource = uid(self.kinds[object.resource.kind() as usize].clone(), &object.id);
        Request::new(self.caller.clone(), self.actions[action as usize].clone(), resource, context, None)
            .expect("without a schema nothing is checked")
    }
}

/// Makes a context that has these arguments.
pub(crate) fn arguments(values: impl IntoIterator<Item = (String, RestrictedExpression)>) -> Context {
    context("arguments", values)
}

/// Makes a context that has what a model is asked, as far as conditions read it: each value is dear to make, the time most of all.
pub(crate) fn request(asked: &ModelRequest<'_>, reads: &Reads) -> Context {
    let whole = |number: u64| RestrictedExpression::new_long(i64::try_from(number).unwrap_or(i64::MAX));
    let flag = RestrictedExpression::new_bool;
    let value = |name: &str| {
        Some(match name {
            "api" => text(asked.api),
            "audio" => flag(asked.audio),
            "bytes" => whole(asked.bytes),
            "documents" => flag(asked.documents),
            "images" => flag(asked.images),
            "now" => RestrictedExpression::new_datetime(rfc3339::format(asked.now)),
            "outputTokensMax" => whole(asked.output_tokens_max?),
            "streamed" => flag(asked.streamed),
            "tools" => flag(asked.tools),
            _ => return None,
        })
    };
    let names = REQUEST.into_iter().filter(|name| reads.has(name));
    context("request", names.filter_map(|name| Some((name.to_owned(), value(name)?))))
}

fn context(name: &str, values: impl IntoIterator<Item = (String, RestrictedExpression)>) -> Context {
    let record = RestrictedExpression::new_record(values).expect("each name is there once");
    Context::from_pairs([(name.to_owned(), record)]).expect("values are literals in range")
}

fn type_name(name: &str) -> EntityTypeName {
    name.parse().expect("it is an identifier")
}

fn uid(of: EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of, EntityId::new(id))
}

fn entity(uid: EntityUid, attributes: Attributes, parents: HashSet<EntityUid>) -> Entity {
    Entity::new(uid, attributes, parents).expect("attributes are literals")
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts<'a>(list: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(list.map(text))
}

fn actor(actor: &Actor) -> RestrictedExpression {
    let link = [("issuer".to_owned(), text(&actor.issuer)), ("subject".to_owned(), text(&actor.subject))];
    RestrictedExpression::new_record(link).expect("the two names differ")
}
