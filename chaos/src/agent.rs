//! One client with a session at a time: it calls, through any node, until it is told to stop.
//!
//! What it calls is drawn. Some agents rest so long between two calls that their session does, too. Now and then an agent ends
//! its session, which must be unknown everywhere from then on, and opens another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_tests::raw::session::Session;

use crate::dice::Dice;
use crate::follow::{Call, Client, Done, Outcome, Tool, told};
use crate::ground::{KINDS, Kind};
use crate::history::History;
use crate::run::Signal;
use crate::seen::{Violation, violation};

/// The revision that agents speak.
pub const REVISION: &str = "2025-11-25";

/// One agent in so many rests for so long between calls that the nodes put its session to rest.
const RESTS_OF: u64 = 8;

/// Longer than a session without work is kept awake.
const REST_MS: (u64, u64) = (31_000, 36_000);

/// How long a session may take to be opened or ended, whatever happens to nodes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls at the end of which one must be answered, by each node.
const TRIES: usize = 10;

/// The pause before a node is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// A call that ended.
#[derive(Clone, Debug)]
pub struct Made {
    /// What was called.
    pub call: Call,
    /// What was seen of it.
    pub done: Done,
}

/// What an agent has done.
#[derive(Debug, Default)]
pub struct Account {
    /// Its calls.
    pub calls: Vec<Made>,
    /// Sessions that it opened.
    pub opened: u64,
    /// Of those, ended by it.
    pub ended: u64,
}

/// A client.
#[derive(Debug)]
pub struct Agent {
    /// Its number among the agents of a run.
    pub number: u64,
    /// The seed of the run.
    pub seed: u64,
    /// Where nodes are.
    pub nodes: Vec<SocketAddr>,
    /// When to stop.
    pub signal: Arc<Signal>,
    /// What happened to it.
    pub history: History,
}

// === impl Agent ===

impl Agent {
    /// Calls until it is told to stop; its session is whole then, by way of every node.
    ///
    /// # Errors
    ///
    /// Something happened that must not.
    pub fn run(&self) -> Result<Account, Violation> {
        let mut dice = Dice::of(self.seed, self.number);
        let mut account = Account::default();
        let mut session = self.open(&mut dice)?;
        account.opened += 1;
        while !self.signal.has_ended() {
            let call = self.draw(&mut dice, &account);
            let mut client = self.client(&session, &mut dice);
            let done = client.call(&call)?;
            account.calls.push(Made { call, done });
            if dice.in_hundred(2) {
                self.end(&session, &mut dice)?;
                account.ended += 1;
                session = self.open(&mut dice)?;
                account.opened += 1;
            }
            let rests = self.number % RESTS_OF == RESTS_OF - 1 && dice.in_hundred(50);
            let pause_ms = if rests { dice.between(REST_MS.0, REST_MS.1) } else { dice.between(0, 200) };
            self.signal.pause(Duration::from_millis(pause_ms));
        }
        if self.signal.has_found() {
            return Ok(account);
        }
        self.is_whole(&session, &mut dice, &mut account)?;
        self.end(&session, &mut dice)?;
        account.ended += 1;
        Ok(account)
    }

    fn client<'a>(&'a self, session: &Session, dice: &'a mut Dice) -> Client<'a> {
        Client { session: session.clone(), nodes: &self.nodes, dice, history: &self.history, signal: &self.signal }
    }

    fn draw(&self, dice: &mut Dice, account: &Account) -> Call {
        let number = u64::try_from(account.calls.len()).unwrap_or(u64::MAX) + 1;
        let kind = *dice.one_of(&KINDS);
        let tool = *dice.one_of(&[Tool::Count, Tool::Count, Tool::Count, Tool::Quick, Tool::Quick, Tool::Ask]);
        let steps = match tool {
            Tool::Count => dice.between(2, 20),
            Tool::Quick => 0,
            Tool::Ask => dice.between(0, 4),
        };
        Call {
            number,
            name: format!("{}-{number}", self.number),
            kind,
            tool,
            steps,
            pause_ms: dice.between(10, 250),
            is_streamed: dice.in_hundred(60),
            is_probed: dice.in_hundred(20),
        }
    }

    /// Opens a session at whatever node answers.
    fn open(&self, dice: &mut Dice) -> Result<Session, Violation> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let node = *dice.one_of(&self.nodes);
            match Session::open_on(node, "/mcp", REVISION) {
                Ok(session) => {
                    self.history.note(format!("opened by {node}: {}", session.id));
                    return Ok(session);
                }
                // Before its client knows it, a session is no promise.
                Err(error) if Instant::now() < deadline => self.history.note(format!("not opened: {error:#}")),
                Err(error) => return violation(format!("no session can be opened: {error:#}")),
            }
            Signal::rest(PAUSE);
        }
    }

    /// Ends a session, and looks that no node knows it.
    fn end(&self, session: &Session, dice: &mut Dice) -> Result<(), Violation> {
        let deadline = Instant::now() + PATIENCE;
        let mut was_tried = false;
        loop {
            let node = *dice.one_of(&self.nodes);
            match session.at(node).delete() {
                Ok(answer) if answer.status == 200 || answer.status == 204 => break,
                // The one before, whose answer was lost, ended it.
                Ok(answer) if answer.status == 404 && was_tried => break,
                Ok(answer) if answer.status == 503 => {
                    self.history.note(format!("DELETE: 503 of {node}"));
                    was_tried = true;
                }
                Ok(answer) => return violation(format!("DELETE: {}", told(answer))),
                Err(error) => {
                    self.history.note(format!("DELETE by {node}: {error:#}"));
                    was_tried = true;
                }
            }
            if Instant::now() >= deadline {
                return violation("the session cannot be ended");
            }
            Signal::rest(PAUSE);
        }
        self.history.note("ended");
        for node in &self.nodes {
            match session.at(*node).get(None) {
                Ok(answer) if answer.status == 404 || answer.status == 503 => {}
                Ok(answer) => return violation(format!("after its end, by {node}: {}", told(answer))),
                // It is down.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Makes a call by way of every node, when nothing happens to them any more.
    fn is_whole(&self, session: &Session, dice: &mut Dice, account: &mut Account) -> Result<(), Violation> {
        for node in &self.nodes {
            // Leaders are moved back to where they were, which can cost a call its outcome.
            let mut is_answered = false;
            for _ in 0..TRIES {
                let made = self.look(session, *node, dice, account)?;
                is_answered = made == Outcome::Answered;
                if is_answered {
                    break;
                }
                Signal::rest(PAUSE);
            }
            if !is_answered {
                return violation(format!("at the end nothing is answered by {node}, in {TRIES} calls"));
            }
        }
        Ok(())
    }

    /// Makes a quick call by way of this node alone.
    fn look(
        &self,
        session: &Session,
        node: SocketAddr,
        dice: &mut Dice,
        account: &mut Account,
    ) -> Result<Outcome, Violation> {
        let number = u64::try_from(account.calls.len()).unwrap_or(u64::MAX) + 1;
        let call = Call {
            number,
            name: format!("{}-{number}", self.number),
            kind: Kind::Bare,
            tool: Tool::Quick,
            steps: 0,
            pause_ms: 0,
            is_streamed: false,
            is_probed: false,
        };
        let nodes = [node];
        let done = Client { nodes: &nodes, ..self.client(session, dice) }.call(&call)?;
        account.calls.push(Made { call, done });
        Ok(done.outcome)
    }
}
