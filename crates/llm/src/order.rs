//! Holds the pieces of an answer to the order in which writers need them.
//!
//! In: what a reader made of a provider's events, which may be lost, doubled or out of place. Out: pieces in the order that
//! [`Delta`] documents, or the fault that they cannot be. A call without arguments gets empty ones; a stop that
//! is said again is left out. Invariant: what passes begins once, goes on with no call that is over, says nothing of an answer that has
//! stopped, and ends when every answer has.

use crate::answer::{Delta, Stop};
use crate::error::{Fault, Kind};

/// How far each answer has come.
#[derive(Debug, Default)]
pub(crate) struct Order {
    has_begun: bool,
    choices: Vec<Choice>,
}

#[derive(Debug)]
struct Choice {
    number: u32,
    call: Call,
    has_stopped: bool,
}

/// The call that an answer makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// None, or one that is over.
    None,
    /// One without arguments so far.
    Begun,
    /// One with some.
    Argued,
}

// === impl Order ===

impl Order {
    /// Takes pieces, and gives those that pass.
    ///
    /// # Errors
    /// [`Kind::Provider`] for one that cannot be where it is.
    pub(crate) fn check(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Fault> {
        let mut passed = Vec::with_capacity(deltas.len());
        for delta in deltas.drain(..) {
            self.pass(delta, &mut passed)?;
        }
        *deltas = passed;
        Ok(())
    }

    fn pass(&mut self, delta: Delta, passed: &mut Vec<Delta>) -> Result<(), Fault> {
        match &delta {
            Delta::Failed(_) => {}
            Delta::Begin { .. } if self.has_begun => return Err(disorder("begins twice")),
            Delta::Begin { .. } => self.has_begun = true,
            _ if !self.has_begun => return Err(disorder("has no beginning")),
            Delta::Arguments { choice, .. } => {
                let call = &mut self.choice(*choice)?.call;
                if *call == Call::None {
                    return Err(disorder("goes on with a call that is over"));
                }
                *call = Call::Argued;
            }
            Delta::ToolBegin { choice, .. } => {
                self.close_call(*choice, None, passed)?;
                self.choice(*choice)?.call = Call::Begun;
            }
            Delta::Stop { choice, stop } => {
                if self.choices.iter().any(|known| known.number == *choice && known.has_stopped) {
                    return Ok(());
                }
                self.close_call(*choice, Some(stop), passed)?;
                self.choice(*choice)?.has_stopped = true;
            }
            Delta::Text { choice, .. }
            | Delta::Thought { choice, .. }
            | Delta::Signature { choice, .. }
            | Delta::SealedThought { choice, .. }
            | Delta::Refusal { choice, .. } => self.close_call(*choice, None, passed)?,
            Delta::Usage(_) => {}
            Delta::End => {
                if self.choices.is_empty() || self.choices.iter().any(|choice| !choice.has_stopped) {
                    return Err(disorder("ends without saying why it stops"));
                }
            }
        }
        passed.push(delta);
        Ok(())
    }

    /// An answer that has not stopped.
    fn choice(&mut self, number: u32) -> Result<&mut Choice, Fault> {
        let at = self.choices.iter().position(|choice| choice.number == number).unwrap_or_else(|| {
            self.choices.push(Choice { number, call: Call::None, has_stopped: false });
            self.choices.len() - 1
        });
        let choice = &mut self.choices[at];
        if choice.has_stopped { Err(disorder("goes on after it has stopped")) } else { Ok(choice) }
    }

    /// Ends the call of an answer: one without arguments has empty ones, unless it was cut.
    fn close_call(&mut self, number: u32, stop: Option<&Stop>, passed: &mut Vec<Delta>) -> Result<(), Fault> {
        let call = &mut self.choice(number)?.call;
        let is_cut = matches!(stop, Some(Stop::Length | Stop::Filtered));
        if *call == Call::Begun && !is_cut {
            passed.push(Delta::Arguments { choice: number, text: "{}".to_owned() });
        }
        *call = Call::None;
        Ok(())
    }
}

fn disorder(what: &str) -> Fault {
    Fault::new(Kind::Provider, format!("the provider's stream {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> Delta {
        Delta::Begin { id: String::new(), model: String::new(), created_s: None }
    }

    fn text(choice: u32) -> Delta {
        Delta::Text { choice, text: "a".to_owned() }
    }

    fn call(choice: u32) -> Delta {
        Delta::ToolBegin { choice, id: "c".to_owned(), name: "t".to_owned(), signature: None }
    }

    fn arguments(choice: u32, text: &str) -> Delta {
        Delta::Arguments { choice, text: text.to_owned() }
    }

    fn stop(choice: u32) -> Delta {
        Delta::Stop { choice, stop: Stop::End }
    }

    fn passed(mut deltas: Vec<Delta>) -> Result<Vec<Delta>, String> {
        Order::default().check(&mut deltas).map(|()| deltas).map_err(|fault| fault.message)
    }

    #[test]
    fn what_is_out_of_place_is_a_fault() {
        let cases = [
            (vec![text(0)], "has no beginning"),
            (vec![begin(), begin()], "begins twice"),
            (vec![begin(), arguments(0, "{}")], "goes on with a call that is over"),
            (vec![begin(), call(0), text(0), arguments(0, "{}")], "goes on with a call that is over"),
            (vec![begin(), text(0), stop(0), text(0)], "goes on after it has stopped"),
            (vec![begin(), Delta::End], "ends without saying why it stops"),
            (vec![begin(), text(0), text(1), stop(0), Delta::End], "ends without saying why it stops"),
        ];
        for (deltas, expected) in cases {
            assert_eq!(passed(deltas), Err(format!("the provider's stream {expected}")));
        }
    }

    #[test]
    fn answers_beside_each_other_pass() {
        let deltas =
            vec![begin(), call(0), call(1), arguments(0, "{}"), arguments(1, "{}"), stop(1), stop(0), Delta::End];

        assert_eq!(passed(deltas.clone()), Ok(deltas));
    }

    #[test]
    fn a_call_without_arguments_gets_empty_ones_unless_it_was_cut() {
        let expected = vec![begin(), call(0), arguments(0, "{}"), call(0), arguments(0, "{}"), stop(0)];
        assert_eq!(passed(vec![begin(), call(0), call(0), stop(0)]), Ok(expected));

        let cut = vec![begin(), call(0), Delta::Stop { choice: 0, stop: Stop::Length }];
        assert_eq!(passed(cut.clone()), Ok(cut));
    }

    #[test]
    fn a_stop_that_is_said_again_is_left_out() {
        assert_eq!(passed(vec![begin(), stop(0), stop(0), Delta::End]), Ok(vec![begin(), stop(0), Delta::End]));
    }
}
