//! What it costs to know a caller by an API key, measured in this process: no gateway takes part.
//!
//! One thread, 100,000 keys with names and scopes of a usual size, each presented in an order that no cache foresees. The
//! search is what a table with all keys costs more than an empty one, which reads, checks and hashes a key all the same.

use anyhow::{Result, ensure};
use quorate_identity::api_key::{Config, Fresh, Keys, MacKey, Secret};
use quorate_types::{ResourceName, TenantId, Timestamp};

use super::process::Cpu;
use super::report::Row;

const KEYS: u32 = 100_000;
/// Times that each is presented: the kernel tells CPU time in hundredths of a second.
const ROUNDS: u32 = 10;
/// Prime to the number of keys, so that steps of it come by all of them, far from each other.
const STEP: u32 = 61_803;
const TENANTS: u32 = 50;
/// Microseconds of a millisecond.
const US_PER_MS: f64 = 1000.0;

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiKeys {
    /// CPU time to know one, in microseconds.
    known_us: f64,
    /// CPU time to refuse one that nobody has, in microseconds.
    unknown_us: f64,
    /// Memory, in bytes.
    bytes: f64,
}

// === impl ApiKeys ===

impl ApiKeys {
    /// Measures.
    ///
    /// # Errors
    /// When a key is not judged as it should be.
    pub(crate) fn measure() -> Result<Self> {
        let mac_key = MacKey::of_root(&[7; 32]);
        let keys: Vec<Fresh> = (0..KEYS).map(fresh).collect();
        let configs =
            keys.iter().zip(0..).map(|(key, number)| config(key, number, &mac_key)).collect::<Result<Vec<_>>>()?;
        let (table, empty) = (Keys::new(&configs, mac_key.clone())?, Keys::new(&[], mac_key)?);
        Ok(Self {
            known_us: spend(&table, &keys, true)?,
            unknown_us: spend(&empty, &keys, false)?,
            bytes: table.heap_bytes() as f64 / f64::from(KEYS),
        })
    }

    /// The lines of the table. Goals and floors of the project's issue "Identity and policy"; they change there first.
    pub(crate) fn rows(self) -> [Row; 3] {
        let row = |measure, unit, number, goal, floor| Row::of_gateway(measure, unit, number, goal, floor);
        [
            row("CPU time, search of an API key among 100,000", "µs", self.known_us - self.unknown_us, 1.0, 1.0),
            // No goal of its own: a stranger must not cost more than a caller whose token is known.
            row("CPU time, an API key that nobody has", "µs", self.unknown_us, 5.0, 10.0),
            row("Memory per API key", "B", self.bytes, 100.0, 100.0),
        ]
    }
}

/// Presents all keys; returns the CPU time of each in microseconds.
fn spend(table: &Keys, keys: &[Fresh], are_known: bool) -> Result<f64> {
    let pid = std::process::id();
    let before = Cpu::of_process(pid)?;
    for number in 0..KEYS * ROUNDS {
        let key = &keys[(u64::from(number) * u64::from(STEP) % u64::from(KEYS)) as usize];
        let found = table.lookup(key.expose(), Timestamp::from_millis(1_700_000_000_000));
        ensure!(found.is_ok() == are_known, "a key was judged {found:?}");
    }
    let spent = Cpu::of_process(pid)?.per_request_since(before, u64::from(KEYS * ROUNDS));
    Ok(spent.total_ms() * US_PER_MS)
}

/// Makes a key of bytes that are given, with an id as spread as random ones are.
fn fresh(number: u32) -> Fresh {
    let mut secret = [3; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    // Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4).
    Fresh::new(u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes(), secret)
}

fn config(key: &Fresh, number: u32, mac_key: &MacKey) -> Result<Config> {
    let name = ResourceName::new(&format!("build-agent-{number:06}"))?;
    Ok(Config {
        agent: name.clone(),
        name,
        tenant: TenantId::new(&format!("tenant-{}", number % TENANTS))?,
        scopes: ["tools:read".to_owned(), "tools:call".to_owned()].into(),
        groups: std::collections::BTreeSet::new(),
        secrets: vec![Secret { id: key.id, mac: mac_key.mac(key), not_before: None, expires: None }],
    })
}
