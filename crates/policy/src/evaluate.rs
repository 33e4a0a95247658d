//! Evaluates single policies for one question: the only place where Cedar runs.
//!
//! What Cedar needs (entities, requests, arguments) is made when the first policy needs it, once for each view of the
//! caller and each declaration of arguments. A condition holds, fails, or cannot be evaluated; nothing that goes wrong
//! is taken for "fails".

use cedar_policy::{Entities, EvalResult, EvaluationError, Expression, Request, eval_expression};

use crate::arguments::{Arguments, Reads};
use crate::decision::Question;
use crate::entity::{self, Vocabulary};
use crate::limits::EVALUATE_STACK_BYTES;
use crate::policies::Set;
use crate::resource::Object;
use crate::rule::{Class, Reading, Rule};
use crate::subject::Seen;

/// The number that no declaration of arguments has.
const REQUEST: usize = usize::MAX;

/// What is known of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// They are the question's.
    Given,
    /// Nothing: what is asked is whether there are some with which it may be done.
    None,
}

/// What a condition comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Holds,
    Fails,
    Unevaluable(String),
}

/// One question, with what has been made for it so far.
pub(crate) struct Evaluation<'a> {
    vocabulary: &'a Vocabulary,
    /// What the conditions of the set read of what a model is asked.
    request_reads: &'a Reads,
    question: &'a Question<'a>,
    object: &'a Object<'a>,
    knowledge: Knowledge,
    /// By view: the caller and the resource, once a condition looks at that.
    entities: Vec<Option<Entities>>,
    /// The request without arguments; the same in all views.
    request: Option<Request>,
    /// By declaration: the request with arguments, and what is wrong with them. What a model is asked is declared once for all.
    with_arguments: Vec<(usize, Request, Arguments)>,
}

// === impl Evaluation ===

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        set: &'a Set,
        question: &'a Question<'a>,
        object: &'a Object<'a>,
        views: usize,
        knowledge: Knowledge,
    ) -> Self {
        let entities = vec![None; views];
        let (vocabulary, request_reads) = (&set.vocabulary, &set.compiled.request_reads);
        Self {
            vocabulary,
            request_reads,
            question,
            object,
            knowledge,
            entities,
            request: None,
            with_arguments: Vec::new(),
        }
    }

    /// Evaluates the condition of a rule whose scope matches; `view` is the number of `seen`.
    pub(crate) fn condition(&mut self, rule: &Rule, view: usize, seen: &Seen) -> Outcome {
        if rule.deep {
            stacker::grow(EVALUATE_STACK_BYTES, || self.outcome(rule, view, seen))
        } else {
            self.outcome(rule, view, seen)
        }
    }

    fn outcome(&mut self, rule: &Rule, view: usize, seen: &Seen) -> Outcome {
        let Some(condition) = &rule.condition else { return Outcome::Holds };
        self.prepare(rule, view, seen);
        let Some(reading) = &rule.reading else { return self.plain(condition, rule, view, seen) };
        if self.knowledge == Knowledge::None {
            let forbids = matches!(rule.class, Class::Forbid | Class::DryForbid);
            let bound = if forbids { &reading.least } else { &reading.most };
            let outcome = self.plain(bound, rule, view, seen);
            // With other arguments it may be another part that is evaluated.
            let may_hold = !forbids && matches!(outcome, Outcome::Unevaluable(_));
            return if may_hold { Outcome::Holds } else { outcome };
        }
        let at = self.read(reading);
        if let Some(fault) = self.with_arguments[at].2.fault(&reading.reads) {
            // Where the condition cannot hold whatever the argument is, the policy does not need it.
            return match self.plain(&reading.most, rule, view, seen) {
                Outcome::Fails => Outcome::Fails,
                Outcome::Holds | Outcome::Unevaluable(_) => Outcome::Unevaluable(fault),
            };
        }
        run(&self.with_arguments[at].1, self.entities(rule, view, seen), condition)
    }

    /// Evaluates a condition that reads no arguments.
    fn plain(&mut self, condition: &Expression, rule: &Rule, view: usize, seen: &Seen) -> Outcome {
        let (action, object) = (self.question.action, self.object);
        self.request.get_or_insert_with(|| self.vocabulary.request(action, object, None));
        let request = self.request.as_ref().expect("it was made just before");
        run(request, self.entities(rule, view, seen), condition)
    }

    /// Makes the resource's entity for a condition that looks at it.
    fn prepare(&mut self, rule: &Rule, view: usize, seen: &Seen) {
        if rule.about_resource && self.entities[view].is_none() {
            self.entities[view] = Some(self.vocabulary.with_resource(seen.entities(), self.object));
        }
    }

    /// What a condition looks at, which was prepared.
    fn entities<'s>(&'s self, rule: &Rule, view: usize, seen: &'s Seen) -> &'s Entities {
        self.entities[view].as_ref().filter(|_| rule.about_resource).unwrap_or(seen.entities())
    }

    /// Reads the arguments as a document declares them; returns where they are kept.
    fn read(&mut self, reading: &Reading) -> usize {
        let declaration = if self.question.request.is_some() { REQUEST } else { reading.declaration };
        if let Some(at) = self.with_arguments.iter().position(|(known, ..)| *known == declaration) {
            return at;
        }
        if let Some(asked) = &self.question.request {
            let context = entity::request(asked, self.request_reads);
            let request = self.vocabulary.request(self.question.action, self.object, Some(context));
            self.with_arguments.push((declaration, request, Arguments::default()));
            return self.with_arguments.len() - 1;
        }
        let mut arguments = Arguments::read(self.question.arguments, &reading.declared);
        let context = entity::arguments(std::mem::take(&mut arguments.values));
        let request = self.vocabulary.request(self.question.action, self.object, Some(context));
        self.with_arguments.push((declaration, request, arguments));
        self.with_arguments.len() - 1
    }
}

fn run(request: &Request, entities: &Entities, condition: &Expression) -> Outcome {
    match eval_expression(request, entities, condition) {
        Ok(EvalResult::Bool(true)) => Outcome::Holds,
        Ok(EvalResult::Bool(false)) => Outcome::Fails,
        Ok(_) => Outcome::Unevaluable("its condition is neither true nor false".to_owned()),
        Err(error) => Outcome::Unevaluable(class(&error).to_owned()),
    }
}

/// Says what went wrong without the values that Cedar's own words have.
#[expect(clippy::wildcard_enum_match_arm, reason = "what else goes wrong is the validator's to exclude, and one class")]
fn class(error: &EvaluationError) -> &'static str {
    match error {
        EvaluationError::IntegerOverflow(_) => "a number in its condition overflows",
        EvaluationError::FailedExtensionFunctionExecution(_) => "a function in its condition refuses its argument",
        EvaluationError::RecursionLimit(_) => "its condition is nested too deep for the stack that is left",
        _ => "its condition does not fit what is there",
    }
}
