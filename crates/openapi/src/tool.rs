//! One operation as a tool: its definition, the requests it makes, and the results of their answers.
//!
//! Here the parts of an operation come together: servers, credentials, parameters, body and responses go in, and what
//! does not vary between calls is made once. An operation of which a part cannot be understood makes no tool.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

use crate::argument::{self, Argument};
use crate::body::{self, Content};
use crate::credential::{Chosen, Proofs};
use crate::document::Document;
use crate::operation::Operation;
use crate::parameter::{self, Location};
use crate::problem::{Fault, Reason, shown};
use crate::refusal::Refusal;
use crate::request::{BodyPlan, Plan, pieces};
use crate::response::{self, Success};
use crate::result::{Answer, Reply};
use crate::server::{Base, Choice};
use crate::text::clean;

/// The most characters of a title: hosts show it in one line.
const TITLE_CHARS_MAX: usize = 120;
/// The key of `_meta` that names the operation of a tool.
const META_OPERATION: &str = "quorate/operation";

/// One operation as a tool.
#[derive(Debug)]
pub struct Tool {
    name: Box<str>,
    definition: Box<str>,
    arguments: Vec<Argument>,
    plan: Plan,
    reply: Reply,
}

/// What is the same for all operations of a document.
pub(crate) struct Setting<'a> {
    pub(crate) document: &'a Document,
    pub(crate) choice: Choice<'a>,
    pub(crate) base: &'a Base,
    /// Headers of every request.
    pub(crate) fixed: &'a HeaderMap,
    pub(crate) proofs: &'a Proofs,
}

// === impl Tool ===

impl Tool {
    /// Makes the tool of an operation, and notes what was decided on the way.
    pub(crate) fn new(
        setting: &Setting<'_>,
        operation: &Operation<'_>,
        name: &str,
    ) -> Result<(Self, Vec<Fault>), Fault> {
        let Setting { document, choice, base, fixed, proofs } = setting;
        let (default, base) = (base, choice.of_operation(operation, base)?);
        let chosen = proofs.of_operation(document, operation)?;
        let Chosen { proofs, note: no_credential } =
            if proofs.are_everywhere() && !base.has_origin_of(default) { chosen.elsewhere(operation) } else { chosen };
        let proofs = proofs.into_iter().map(|(_, proof)| proof).collect();
        let success = response::of(document, operation)?;
        let limits = &document.limits;
        let mut plan = Plan::new(operation.method.clone(), base, success.accept.clone(), fixed, proofs, limits);
        let (mut parameters, mut notes) = parameter::all(document, operation)?;
        notes.extend(no_credential);
        parameters.retain(|one| !plan.sets(one.location, &one.wire.name));
        let unused = |one: &parameter::Parameter<'_>| {
            one.location == Location::Path && !operation.path.contains(&format!("{{{}}}", one.wire.name))
        };
        for one in parameters.extract_if(.., |one| unused(one)) {
            let what = format!("the parameter {}", shown(&one.wire.name));
            notes.push(one.node.fault(Reason::PassedOver { what, why: "it is not in the path" }));
        }
        let names: Vec<String> = parameters.iter().map(|one| path_name(one).to_owned()).collect();
        let body = body::of(document, operation)?;
        let arguments = argument::of(document, parameters, body.as_ref())?;
        plan.path = pieces(operation.path, |name| names.iter().position(|known| known == name)).map_err(|name| {
            operation.node.fault(Reason::Missing { what: format!("the path parameter {}", shown(&name)) })
        })?;
        plan.body = body.map(|body| BodyPlan {
            form: body.form,
            media: body.media,
            required: body.required,
            opened: matches!(body.content, Content::Fields(_)),
            ways: body.ways,
        });
        plan.reserve(&arguments.list);
        let definition = definition(document, operation, name, arguments.schema, &success);
        notes.extend(arguments.notes);
        let reply = Reply {
            promised: success.schema.is_some(),
            wrapped: success.wrapped,
            redirects: success.redirects,
            error_bytes_max: limits.error_bytes_max,
            shape: OnceLock::new(),
        };
        notes.extend(success.notes);
        let tool = Self {
            name: Box::from(name),
            definition: definition.to_string().into_boxed_str(),
            arguments: arguments.list,
            plan,
            reply,
        };
        Ok((tool, notes))
    }

    /// Returns the tool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tool's definition, as an item of `tools/list`: JSON text.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.definition
    }

    /// Returns the scheme, host and port that its requests go to, and the path in front of all its paths.
    #[must_use]
    pub fn base(&self) -> &str {
        self.plan.base.as_str()
    }

    /// Makes the request of a call. `arguments` is the JSON text of an object.
    ///
    /// # Errors
    /// A [`Refusal`] says everything that is wrong with the arguments, for the model to read.
    pub fn call(&self, arguments: &str) -> Result<Request<Bytes>, Refusal> {
        self.plan.request(&self.arguments, arguments)
    }

    /// Makes the result of an answer: the JSON text of a `CallToolResult`. A key that went in the query is in none.
    #[must_use]
    pub fn result(&self, answer: &Answer<'_>) -> String {
        let (headers, body) = (self.plan.echo.headers(answer.headers), self.plan.echo.body(answer.body));
        let answer = Answer { headers: &headers, body: &body, ..*answer };
        self.reply.result(&self.plan.method, &self.arguments, &self.definition, &answer)
    }
}

/// The name by which a path template refers to a parameter; nothing for those elsewhere.
fn path_name<'a>(parameter: &'a parameter::Parameter<'_>) -> &'a str {
    if parameter.location == Location::Path { &parameter.wire.name } else { "" }
}

fn definition(document: &Document, operation: &Operation<'_>, name: &str, input: Value, success: &Success) -> Value {
    let text = |key: &str| operation.node.value.get(key).and_then(Value::as_str);
    let summary = text("summary").map(|summary| clean(summary, TITLE_CHARS_MAX)).filter(|text| !text.is_empty());
    let whole = text("description").or_else(|| text("summary"));
    let whole = whole.map(|text| clean(text, document.limits.description_chars_max)).filter(|text| !text.is_empty());
    let mut description = whole.unwrap_or_else(|| operation.label());
    if operation.node.value.get("deprecated").and_then(Value::as_bool) == Some(true) {
        description.insert_str(0, "Deprecated. ");
    }
    let mut tool = json!({ "name": name });
    if let Some(summary) = summary {
        tool["title"] = Value::String(summary);
    }
    tool["description"] = Value::String(description);
    tool["inputSchema"] = input;
    if let Some(schema) = &success.schema {
        tool["outputSchema"] = schema.clone();
    }
    tool["annotations"] = annotations(&operation.method);
    tool["_meta"] = json!({ META_OPERATION: operation.label() });
    tool
}

/// What a method says about an operation (RFC 9110 §9.2). What it leaves open is left out.
fn annotations(method: &Method) -> Value {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => json!({"readOnlyHint": true}),
        Method::PUT | Method::DELETE => json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": true}),
        _ => json!({"readOnlyHint": false}),
    }
}
