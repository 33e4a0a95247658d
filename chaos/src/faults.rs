//! What is done to nodes: one at a time, and the next when the cluster is whole again.
//!
//! | Fault | What happens |
//! |---|---|
//! | kill | any node ends as a lost machine does (SIGKILL), is down for up to 1 s, and starts on what is on its disk |
//! | kill of an owner | the same, of the node that leads most shards |
//! | hold | a node stands still for up to 4 s (SIGSTOP), and goes on as if nothing had been |
//! | drain | a node gives away what it leads, and is asked to take part again |

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quorate_cluster::Place;

use crate::dice::Dice;
use crate::ground::Ground;
use crate::history::History;
use crate::run::{Plan, Signal};

/// How long a node is down at most, in milliseconds.
const DOWN_MS_MAX: u64 = 1_000;

/// How long one stands still, in milliseconds.
const HELD_MS: (u64, u64) = (500, 4_000);

/// How long a cluster that is whole is left alone at most, in milliseconds.
const ALONE_MS_MAX: u64 = 400;

/// Lives of nodes that ended whose logs are kept.
const LIVES_MAX: usize = 12;

/// How often what happened, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Any node was killed.
    pub kills: u32,
    /// The node that leads most was.
    pub kills_of_owners: u32,
    /// A node stood still.
    pub holds: u32,
    /// A node was drained.
    pub drains: u32,
}

/// Does it.
#[derive(Debug)]
pub struct Faults<'a> {
    ground: &'a mut Ground,
    dice: Dice,
    history: History,
    signal: &'a Signal,
    counts: Counts,
    /// What nodes said in the lives that ended last.
    lives: VecDeque<(String, Vec<String>)>,
}

// === impl Counts ===

impl Counts {
    /// All kills.
    #[must_use]
    pub fn all_kills(self) -> u32 {
        self.kills + self.kills_of_owners
    }
}

// === impl Faults ===

impl<'a> Faults<'a> {
    /// Faults of a ground, by dice of their own.
    pub fn new(ground: &'a mut Ground, dice: Dice, history: History, signal: &'a Signal) -> Self {
        Self { ground, dice, history, signal, counts: Counts::default(), lives: VecDeque::new() }
    }

    /// Goes on until as many nodes were killed as planned, the time is over, somebody wants no more, or the run has ended. Then
    /// all nodes run.
    ///
    /// # Errors
    ///
    /// The cluster does not become whole again.
    pub fn run(&mut self, plan: &Plan, until: Instant) -> anyhow::Result<Counts> {
        let goes_on = |counts: Counts| {
            let is_stopped = plan.stop.load(Ordering::Relaxed) || self.signal.has_ended();
            counts.all_kills() < plan.kills && Instant::now() < until && !is_stopped
        };
        while goes_on(self.counts) {
            let whole = match self.dice.below(100) {
                0..75 => self.kill_any(),
                75..90 => self.kill_owner(),
                90..96 => self.hold(),
                _ => self.drain(),
            };
            let place = whole?;
            self.ground.whole(place).with_context(|| format!("seconds {:.1}", self.history.seconds()))?;
            self.history.note("whole");
            self.signal.pause(Duration::from_millis(self.dice.between(0, ALONE_MS_MAX)));
        }
        Ok(self.counts)
    }

    fn any(&mut self) -> Place {
        let count = self.ground.nodes().len() as u64;
        usize::try_from(self.dice.below(count)).unwrap_or(0)
    }

    fn kill_any(&mut self) -> anyhow::Result<Place> {
        let place = self.any();
        self.counts.kills += 1;
        self.kill(place)
    }

    fn kill_owner(&mut self) -> anyhow::Result<Place> {
        let place = self.ground.cluster.owner()?;
        self.counts.kills_of_owners += 1;
        self.kill(place)
    }

    fn kill(&mut self, place: Place) -> anyhow::Result<Place> {
        let name = format!("node {} kill {}", place + 1, self.counts.all_kills());
        let said = self.ground.cluster.process(place).output();
        if self.lives.len() == LIVES_MAX {
            self.lives.pop_front();
        }
        self.lives.push_back((name.clone(), said));
        self.history.note(&name);
        self.ground.cluster.kill(place);
        // For its clients it is down, whoever else stops meanwhile.
        Signal::rest(Duration::from_millis(self.dice.between(0, DOWN_MS_MAX)));
        self.ground.cluster.begin(place)?;
        self.history.note(format!("node {} begins", place + 1));
        Ok(place)
    }

    fn hold(&mut self) -> anyhow::Result<Place> {
        let place = self.any();
        self.counts.holds += 1;
        self.history.note(format!("node {} is held", place + 1));
        self.ground.cluster.hold(place)?;
        Signal::rest(Duration::from_millis(self.dice.between(HELD_MS.0, HELD_MS.1)));
        self.ground.cluster.let_go(place)?;
        self.history.note(format!("node {} goes on", place + 1));
        Ok(place)
    }

    fn drain(&mut self) -> anyhow::Result<Place> {
        let place = self.any();
        self.counts.drains += 1;
        let name = format!("node-{}", place + 1);
        self.history.note(format!("{name} is drained"));
        self.ground.cluster.operate(&["cluster", "drain", &name])?.success()?;
        self.ground.cluster.operate(&["cluster", "undrain", &name])?.success()?;
        self.history.note(format!("{name} takes part again"));
        Ok(place)
    }

    /// Writes what nodes said into a folder: of lives that ended, and of now.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_logs(&mut self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let running: Vec<_> = self.ground.cluster.running().collect();
        for place in running {
            let said = self.ground.cluster.process(place).output();
            self.lives.push_back((format!("node {} at the end", place + 1), said));
        }
        for (name, said) in &self.lives {
            let file = folder.join(format!("{}.log", name.replace(' ', "-")));
            fs::write(&file, said.join("\n")).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}
