//! Tests of the table of API keys: who is found, who is refused and as what, what it weighs.
//!
//! Keys are made of fixed bytes, so that a failure can be run again.

use proptest::prelude::*;
use quorate_types::ResourceName;

use super::*;
use crate::api_key::Fresh;

const ROOT: [u8; 32] = [7; 32];
const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("a valid name")
}

fn fresh(seed: u64) -> Fresh {
    let mut secret = [3; 32];
    secret[..8].copy_from_slice(&seed.to_be_bytes());
    // Spread over all ids, as random ones are.
    Fresh::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes(), secret)
}

fn secret(key: &Fresh) -> Secret {
    Secret { id: key.id, mac: MacKey::of_root(&ROOT).mac(key), not_before: None, expires: None }
}

fn config(text: &str, keys: &[&Fresh]) -> Config {
    Config {
        name: name(text),
        tenant: TenantId::default(),
        agent: name(text),
        scopes: BTreeSet::new(),
        groups: BTreeSet::new(),
        secrets: keys.iter().map(|key| secret(key)).collect(),
    }
}

fn table(configs: &[Config]) -> Keys {
    Keys::new(configs, MacKey::of_root(&ROOT)).expect("a table")
}

#[test]
fn a_key_identifies_the_agent_of_its_document() {
    let (a, b, c) = (fresh(1), fresh(2), fresh(3));
    let mut rich = config("ci", &[&a, &b]);
    rich.tenant = TenantId::new("acme").expect("a valid name");
    rich.agent = name("builder");
    rich.scopes = ["tools:read".to_owned()].into();
    rich.groups = ["engineering".to_owned()].into();
    let keys = table(&[rich.clone(), config("cron", &[&c])]);

    for key in [&a, &b] {
        let known = keys.lookup(key.expose(), NOON).expect("a good key");
        assert_eq!((known.id, known.name, known.agent), (key.id, "ci", "builder"));
        let principal = known.principal();
        assert_eq!((principal.tenant, principal.agent.as_deref()), (rich.tenant.clone(), Some("builder")));
        assert_eq!((principal.scopes, principal.groups), (rich.scopes.clone(), rich.groups.clone()));
        assert!(principal.user.is_none() && principal.delegation.is_empty());
    }
    let known = keys.lookup(c.expose(), NOON).expect("a good key");
    assert_eq!((known.name, known.agent, known.tenant.as_str()), ("cron", "cron", "default"));
    assert_eq!(keys.len(), 3);
}

#[test]
fn refusals_are_told_apart_only_to_who_has_the_key() {
    let (good, stranger) = (fresh(1), fresh(2));
    let mut limited = config("ci", &[&good]);
    limited.secrets[0].not_before = Some(Timestamp::from_millis(10_500));
    limited.secrets[0].expires = Some(Timestamp::from_millis(20_500));
    let keys = table(&[limited]);
    let at = |ms| keys.lookup(good.expose(), Timestamp::from_millis(ms)).map(|known| known.name);

    assert_eq!(at(10_499), Err(Refused::NotYetValid));
    assert_eq!(at(10_999), Err(Refused::NotYetValid), "a fraction is rounded up");
    assert_eq!(at(11_000), Ok("ci"));
    assert_eq!(at(19_999), Ok("ci"));
    assert_eq!(at(20_000), Err(Refused::Expired), "a fraction is rounded down");
    assert_eq!(at(u64::MAX), Err(Refused::Expired));

    let wrong_secret = Fresh::new(1_u64.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes(), [9; 32]);
    assert_eq!(wrong_secret.id, good.id);
    for ms in [0, 15_000, 30_000] {
        for key in [&stranger, &wrong_secret] {
            assert_eq!(keys.lookup(key.expose(), Timestamp::from_millis(ms)), Err(Refused::Unknown));
        }
    }
    for text in ["", "qk_", "secret", &good.expose()[1..], &good.expose().replace('_', "-")] {
        assert_eq!(keys.lookup(text, NOON), Err(Refused::Malformed), "{text}");
    }
}

#[test]
fn a_key_of_zeros_is_nobodys_although_unknown_ids_are_compared_with_zeros() {
    let keys = table(&[]);
    assert!(keys.is_empty());
    assert_eq!(keys.lookup(Fresh::new([0; 8], [0; 32]).expose(), NOON), Err(Refused::Unknown));
}

#[test]
fn ids_that_are_all_alike_are_found_too() {
    let keys: Vec<Fresh> = (0..40).map(|last| Fresh::new([0, 0, 0, 0, 0, 0, last, 0], [last; 32])).collect();
    let configs: Vec<Config> = keys.iter().map(|key| config(&format!("k{}", key.id), &[key])).collect();
    let table = table(&configs);
    assert_eq!(table.leading_bits, 2);
    for key in &keys {
        assert_eq!(table.lookup(key.expose(), NOON).map(|known| known.id), Ok(key.id));
    }
    let last = Fresh::new([0xff; 8], [0; 32]);
    assert_eq!(table.lookup(last.expose(), NOON), Err(Refused::Unknown));
}

#[test]
fn under_another_root_key_every_key_is_unknown() {
    let key = fresh(1);
    let keys = Keys::new(&[config("ci", &[&key])], MacKey::of_root(&[8; 32])).expect("a table");
    assert_eq!(keys.lookup(key.expose(), NOON), Err(Refused::Unknown));
}

#[test]
fn the_time_of_last_use_is_kept_per_key_and_survives_a_new_table() {
    let keys: Vec<Fresh> = (0..5).map(fresh).collect();
    let before = table(&[config("a", &[&keys[0], &keys[1]]), config("b", &[&keys[2], &keys[3]])]);
    let used = |table: &Keys, key: &Fresh| {
        let observed = table.observe().find(|observed| observed.id == key.id);
        observed.expect("the key is there").last_used.map(|time| time.as_millis() / 1_000)
    };

    before.lookup(keys[0].expose(), Timestamp::from_millis(5_900)).expect("a good key");
    before.lookup(keys[2].expose(), Timestamp::from_millis(9_000)).expect("a good key");
    before.lookup(keys[2].expose(), Timestamp::from_millis(8_000)).expect("the clock stepped back");
    assert_eq!([0, 1, 2, 3].map(|index| used(&before, &keys[index])), [Some(5), None, Some(9), None]);

    let after = table(&[config("b", &[&keys[2], &keys[4]]), config("a", &[&keys[0]])]);
    after.take_over(&before);
    assert_eq!([0, 2, 4].map(|index| used(&after, &keys[index])), [Some(5), Some(9), None]);
    after.take_over(&table(&[]));
    assert_eq!(used(&after, &keys[0]), Some(5));
}

#[test]
fn sets_that_make_no_table_are_refused_with_their_document() {
    let keys: Vec<Fresh> = (0..5).map(fresh).collect();
    let refused =
        |configs: &[Config]| Keys::new(configs, MacKey::of_root(&ROOT)).expect_err("it is invalid").to_string();

    let twice = refused(&[config("a", &[&keys[0]]), config("b", &[&keys[1], &keys[0]])]);
    let expected = format!("ApiKey/b: keys: the id {} is also that of a key of ApiKey/a; ids are unique", keys[0].id);
    assert_eq!(twice, expected);
    assert_eq!(refused(&[config("a", &[])]), "ApiKey/a: keys: 0 keys: allowed are 1 to 4");
    let all: Vec<&Fresh> = keys.iter().collect();
    assert_eq!(refused(&[config("a", &all)]), "ApiKey/a: keys: 5 keys: allowed are 1 to 4");

    let mut late = config("a", &[&keys[0]]);
    late.secrets[0].expires = Some(Timestamp::from_millis((SECONDS_MAX + 1) * 1_000));
    assert!(refused(&[late]).ends_with("2106-02-07T06:28:15Z is too late: allowed is up to 2106-02-07T06:28:14Z"));
    let mut never = config("a", &[&keys[0]]);
    never.secrets[0].not_before = Some(Timestamp::from_millis(1_001));
    never.secrets[0].expires = Some(Timestamp::from_millis(2_999));
    assert!(refused(&[never]).contains("`expires` must be at least a second after `notBefore`"));
}

#[test]
fn nothing_of_a_table_is_in_its_debug_text() {
    let key = fresh(1);
    let keys = table(&[config("ci", &[&key])]);
    assert_eq!(format!("{keys:?}"), "Keys { len: 1, .. }");
    let known = format!("{:?}", keys.lookup(key.expose(), NOON));
    assert!(!known.contains(&key.expose()[16..]) && !known.contains(&secret(&key).mac.to_string()), "{known}");
}

#[test]
fn a_key_takes_less_than_100_bytes() {
    let node = MacKey::of_root(&ROOT);
    let configs: Vec<Config> = (0..10_000)
        .map(|seed| {
            let key = fresh(seed);
            let secret = Secret { id: key.id, mac: node.mac(&key), not_before: None, expires: Some(NOON) };
            let mut config = config(&format!("tenant-{:02}-agent-{seed:06}", seed % 50), &[]);
            config.tenant = TenantId::new(&format!("tenant-{:02}", seed % 50)).expect("a valid name");
            config.scopes = ["tools:read".to_owned(), format!("level:{}", seed % 3)].into();
            config.secrets = vec![secret];
            config
        })
        .collect();
    let keys = table(&configs);

    let each = keys.heap_bytes() / keys.len();
    assert!(each < 100, "{each} bytes");
    assert_eq!(keys.grants.len(), 150, "tenants and scopes are shared");
    for seed in [0, 1, 4_999, 9_999] {
        let known = keys.lookup(fresh(seed).expose(), Timestamp::from_millis(1)).expect("a good key");
        assert_eq!(known.name, configs[seed as usize].name.as_str());
        assert_eq!(known.scopes, &configs[seed as usize].scopes);
    }
}

proptest! {
    #[test]
    fn exactly_the_keys_of_the_documents_are_found(seeds in prop::collection::btree_set(0_u64..24, 0..24)) {
        let configs: Vec<Config> = seeds.iter().map(|seed| config(&format!("k{seed}"), &[&fresh(*seed)])).collect();
        let keys = table(&configs);
        for seed in 0..24 {
            let found = keys.lookup(fresh(seed).expose(), NOON).map(|known| known.name.to_owned());
            let expected = if seeds.contains(&seed) { Ok(format!("k{seed}")) } else { Err(Refused::Unknown) };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn arbitrary_text_is_malformed(text: String) {
        let keys = table(&[]);
        prop_assert_eq!(keys.lookup(&text, NOON), Err(Refused::Malformed));
    }
}
