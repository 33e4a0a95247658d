//! Laws of naming, and the cases that a person would ask about.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SERVERS: [&str; 4] = ["files", "fs", "a", "a_b"];

/// Exposed names by claim, for claims given as (server, name).
fn exposed(naming: Naming, claims: &[(u16, &str)]) -> Vec<Option<String>> {
    let claims = claims_of(claims);
    assign(naming, &claims, Names::default()).exposed.into_iter().map(|name| name.map(Cow::into_owned)).collect()
}

fn claims_of<'a>(claims: &[(u16, &'a str)]) -> Vec<Claim<'a>> {
    claims
        .iter()
        .map(|&(server, name)| {
            let (server, server_name) = (ServerIndex(server), SERVERS[usize::from(server)]);
            Claim { server, server_name, name, given: None }
        })
        .collect()
}

fn names(expected: &[&str]) -> Vec<Option<String>> {
    expected.iter().map(|name| Some((*name).to_owned())).collect()
}

#[test]
fn a_prefix_is_the_servers_name() {
    let claims = [(0, "read"), (0, "write"), (1, "read")];

    assert_eq!(exposed(Naming::Prefix, &claims), names(&["files_read", "files_write", "fs_read"]));
}

#[test]
fn on_collision_every_claimant_is_prefixed_and_the_bare_name_is_nobodys() {
    let claims = claims_of(&[(0, "read"), (0, "write"), (1, "read")]);

    let assignment = assign(Naming::OnCollision, &claims, Names::default());

    assert_eq!(assignment.exposed, [Some("files_read".into()), Some("write".into()), Some("fs_read".into())]);
    assert_eq!(assignment.contested, HashMap::from([("read".to_owned(), vec![0, 2])]));
    assert_eq!(assignment.aliases, HashMap::from([("files_write".to_owned(), 1)]));
    assert_eq!(assignment.hidden, []);
}

#[test]
fn bare_gives_a_name_to_the_first_server_and_reports_the_others() {
    let claims = claims_of(&[(0, "read"), (1, "read"), (1, "write"), (2, "re\u{200b}ad")]);

    let assignment = assign(Naming::Bare, &claims, Names::default());

    assert_eq!(assignment.exposed, [Some("read".into()), None, Some("write".into()), None]);
    let taken = HiddenReason::TakenBy(ServerIndex(0));
    assert_eq!(assignment.hidden, [Hidden { claim: 1, reason: taken }, Hidden { claim: 3, reason: taken }]);
}

#[test]
fn bare_leaves_the_names_of_a_single_server_alone() {
    let long = "n".repeat(200);
    let claims = [(0, long.as_str()), (0, "with space"), (0, "x"), (0, "x\u{200b}"), (0, "quorate://x")];

    assert_eq!(exposed(Naming::Bare, &claims), claims.map(|(_, name)| Some(name.to_owned())));
}

#[test]
fn a_repeated_name_of_one_server_counts_once() {
    for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
        let claims = claims_of(&[(0, "read"), (0, "read")]);

        let assignment = assign(naming, &claims, Names::default());

        assert!(assignment.exposed[0].is_some(), "{naming:?}");
        assert_eq!(assignment.hidden, [Hidden { claim: 1, reason: HiddenReason::Duplicate }], "{naming:?}");
        assert!(assignment.contested.is_empty(), "{naming:?}");
    }
}

#[test]
fn prefixed_names_that_join_to_the_same_text_are_told_apart_by_hash() {
    let claims = [(2, "b_c"), (3, "c")];

    // The digits are of SHA-256("a\0b_c") and SHA-256("a_b\0c").
    let expected = names(&["a_b_c_662f0bbb", "a_b_c_0c1d18f5"]);
    for naming in [Naming::Prefix, Naming::OnCollision] {
        let found = exposed(naming, &claims);
        if naming == Naming::Prefix {
            assert_eq!(found, expected);
        } else {
            assert_eq!(found, names(&["b_c", "c"]));
        }
    }
    assert!(assign(Naming::OnCollision, &claims_of(&claims), Names::default()).aliases.is_empty());
}

#[test]
fn a_bare_name_cannot_take_over_an_alias() {
    // `files_read` leads to the `read` of `files` whether or not another server has a `read`.
    let claims = claims_of(&[(0, "read"), (2, "files_read")]);

    let assignment = assign(Naming::OnCollision, &claims, Names::default());

    assert_eq!(assignment.exposed, [Some("read".into()), Some("a_files_read".into())]);
    assert_eq!(assignment.contested, HashMap::from([("files_read".to_owned(), vec![0, 1])]));
    assert_eq!(assignment.aliases, HashMap::new());
}

#[test]
fn a_bare_name_cannot_take_over_a_prefixed_one() {
    // `a` has a tool that is called what the contested `read` of `files` would be called.
    let found = exposed(Naming::OnCollision, &[(0, "read"), (1, "read"), (2, "files_read")]);

    assert_ne!(found[0].as_deref(), Some("files_read"));
    assert_ne!(found[2].as_deref(), Some("files_read"));
    assert!(found[0].as_deref().is_some_and(|name| name.starts_with("files_read_")));
    assert_eq!(found[1].as_deref(), Some("fs_read"));
    assert_eq!(found[2].as_deref(), Some("a_files_read"));
}

#[test]
fn a_server_may_have_its_own_name_in_its_tools() {
    let claims = claims_of(&[(0, "read"), (0, "files_read")]);

    let assignment = assign(Naming::OnCollision, &claims, Names::default());

    assert_eq!(assignment.exposed, [Some("read".into()), Some("files_read".into())]);
    assert_eq!(assignment.aliases, HashMap::from([("files_files_read".to_owned(), 1)]));
}

#[test]
fn a_name_that_looks_like_anothers_collides_with_it() {
    let found = exposed(Naming::OnCollision, &[(0, "read"), (1, "re\u{200b}ad")]);

    assert_eq!(found[0].as_deref(), Some("files_read"));
    let disguised = found[1].as_deref().expect("an exposed name");
    assert!(disguised.starts_with("fs_read_") && skeleton::is_plain(disguised), "{disguised:?}");
}

#[test]
fn long_names_are_cut_to_the_budget_with_a_hash_of_all_of_it() {
    let stem = "x".repeat(70);
    let (one, other) = (format!("{stem}1"), format!("{stem}2"));
    for naming in [Naming::Prefix, Naming::OnCollision] {
        let found = exposed(naming, &[(0, &one), (0, &other), (0, "é".repeat(40).as_str())]);

        let found: Vec<&str> = found.iter().flatten().map(String::as_str).collect();
        assert_eq!(found[0].len(), NAME_BYTES_MAX);
        assert!(found[0].starts_with("files_xxx") && found[1].starts_with("files_xxx"));
        assert_ne!(found[0], found[1]);
        assert!(found[2].len() <= NAME_BYTES_MAX && found[2].starts_with("files_éé"), "{}", found[2]);
    }
}

#[test]
fn a_chain_of_names_made_to_collide_costs_linear_time() {
    // Each name is what the one before would be called if it were contested.
    let mut chain = vec!["n".repeat(64)];
    for _ in 0..20_000 {
        let name = chain.last().expect("not empty");
        chain.push(hashed(&Claim { server: ServerIndex(2), server_name: "a", name, given: None }, HASH_DIGITS));
    }
    let mut claims: Vec<(u16, &str)> = chain.iter().map(|name| (2, name.as_str())).collect();
    claims.push((0, &chain[0]));

    let found = exposed(Naming::OnCollision, &claims);

    assert_eq!(found.iter().flatten().count(), claims.len());
}

/// Claims with few names, so that they collide in every way.
fn claims() -> impl Strategy<Value = Vec<(u16, String)>> {
    let part = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("files".to_owned()),
        Just("fs".to_owned()),
        Just("\u{200b}".to_owned()),
        Just(" ".to_owned()),
        Just("x".repeat(40)),
        "[a-c]{1,2}",
    ];
    let name = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("_"));
    prop::collection::vec((0_u16..4, name), 0..24)
}

/// What every listed name and alias leads to.
fn meanings<'a>(claims: &[(u16, &'a str)]) -> HashMap<String, (u16, &'a str)> {
    let assigned = claims_of(claims);
    let assignment = assign(Naming::OnCollision, &assigned, Names::default());
    let exposed =
        assignment.exposed.into_iter().zip(claims).filter_map(|(name, claim)| Some((name?.into_owned(), *claim)));
    exposed.chain(assignment.aliases.into_iter().map(|(alias, claim)| (alias, claims[claim]))).collect()
}

fn borrowed(claims: &[(u16, String)]) -> Vec<(u16, &str)> {
    claims.iter().map(|(server, name)| (*server, name.as_str())).collect()
}

proptest! {
    #[test]
    fn exposed_names_are_unique(claims in claims()) {
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let mut found: Vec<String> = exposed(naming, &borrowed(&claims)).into_iter().flatten().collect();
            let count = found.len();
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(found.len(), count, "{:?}", naming);
        }
    }

    #[test]
    fn exposed_names_of_prefixing_modes_fit_the_budget(claims in claims()) {
        for naming in [Naming::Prefix, Naming::OnCollision] {
            for name in exposed(naming, &borrowed(&claims)).iter().flatten() {
                prop_assert!(name.len() <= NAME_BYTES_MAX, "{}", name);
            }
        }
    }

    #[test]
    fn prefixing_modes_hide_only_repetitions(claims in claims()) {
        for naming in [Naming::Prefix, Naming::OnCollision] {
            let claims = borrowed(&claims);
            let hidden = assign(naming, &claims_of(&claims), Names::default()).hidden;
            prop_assert!(hidden.iter().all(|hidden| hidden.reason == HiddenReason::Duplicate));
        }
    }

    #[test]
    fn assignment_does_not_depend_on_the_order_of_claims(claims in claims(), seed: u64) {
        let mut claims = borrowed(&claims);
        claims.sort_unstable();
        claims.dedup();
        let mut shuffled = claims.clone();
        shuffled.sort_by_key(|(server, name)| {
            let mut hash = Sha256::new();
            hash.update(seed.to_be_bytes());
            hash.update(server.to_be_bytes());
            hash.update(name.as_bytes());
            hash.finalize()
        });
        for naming in [Naming::Prefix, Naming::OnCollision] {
            let names: HashMap<_, _> = claims.iter().zip(exposed(naming, &claims)).collect();
            let again: HashMap<_, _> = shuffled.iter().zip(exposed(naming, &shuffled)).collect();
            prop_assert_eq!(names, again, "{:?}", naming);
        }
    }

    #[test]
    fn names_of_two_servers_never_look_alike(claims in claims()) {
        let claims = borrowed(&claims);
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let mut owners: HashMap<String, u16> = HashMap::new();
            for (name, (server, _)) in exposed(naming, &claims).iter().zip(&claims) {
                let Some(name) = name else { continue };
                let owner = owners.entry(skeleton::of(name).into_owned()).or_insert(*server);
                prop_assert_eq!(*owner, *server, "{:?} {}", naming, name);
            }
        }
    }

    #[test]
    fn added_claims_never_give_a_name_to_another_server(claims in claims(), added in claims()) {
        let before = borrowed(&claims);
        let added = borrowed(&added);
        let after: Vec<(u16, &str)> = before.iter().chain(&added).copied().collect();

        let meant = meanings(&before);
        for (name, claim) in meanings(&after) {
            prop_assert!(meant.get(&name).is_none_or(|before| before.0 == claim.0), "{}", name);
        }
    }

    #[test]
    fn contested_names_and_aliases_never_shadow_an_exposed_name(claims in claims()) {
        let claims = borrowed(&claims);
        let claims = claims_of(&claims);
        let assignment = assign(Naming::OnCollision, &claims, Names::default());
        for name in assignment.exposed.iter().flatten() {
            prop_assert!(!assignment.contested.contains_key(skeleton::of(name).as_ref()), "{}", name);
            prop_assert!(!assignment.aliases.contains_key(name.as_ref()), "{}", name);
        }
        for (alias, &claim) in &assignment.aliases {
            prop_assert!(!assignment.contested.contains_key(alias), "{}", alias);
            let expected = format!("{}_{}", claims[claim].server_name, claims[claim].name);
            prop_assert_eq!(alias, &expected);
        }
    }
}

#[test]
fn a_reserved_name_is_nobodys_not_even_as_an_alias() {
    // `a` with `b_c` would have the alias `a_b_c`, which the toolset keeps for itself.
    let claims = claims_of(&[(2, "b_c"), (0, "a_b_c")]);

    let assignment = assign(Naming::OnCollision, &claims, Names { reserved: &["a_b_c"], given: &[] });

    assert_eq!(assignment.exposed, [Some("b_c".into()), Some("files_a_b_c".into())]);
    assert!(assignment.aliases.is_empty() && assignment.contested.is_empty());
}

#[test]
fn names_that_look_alike_are_given_once() {
    let given = |server, name, given| Claim { given: Some(given), ..claims_of(&[(server, name)])[0] };
    let claims = [given(0, "x", "find"), given(1, "y", "fi\u{200b}nd"), given(1, "z", "other")];

    for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
        let assignment = assign(naming, &claims, Names::default());
        assert_eq!(assignment.exposed, [None, None, Some("other".into())], "{naming:?}");
        let twice = HiddenReason::GivenTwice;
        assert_eq!(assignment.hidden, [Hidden { claim: 0, reason: twice }, Hidden { claim: 1, reason: twice }]);
    }
}

#[test]
fn a_given_name_is_nobody_elses_while_what_it_is_for_is_away() {
    let names = Names { reserved: &[], given: &["find"] };
    let rightful = Claim { given: Some("find"), ..claims_of(&[(0, "search")])[0] };
    let other = claims_of(&[(1, "find")])[0];
    for (naming, expected) in
        [(Naming::Bare, None), (Naming::Prefix, Some("fs_find")), (Naming::OnCollision, Some("fs_find"))]
    {
        let away = assign(naming, &[other], names);
        assert_eq!(away.exposed, [expected.map(Into::into)], "{naming:?}");
        let there = assign(naming, &[rightful, other], names);
        assert_eq!(there.exposed, [Some("find".into()), expected.map(Into::into)], "{naming:?}");
        let hidden = |claim| match expected {
            None => vec![Hidden { claim, reason: HiddenReason::GivenAway }],
            Some(_) => vec![],
        };
        assert_eq!((away.hidden, there.hidden), (hidden(0), hidden(1)), "{naming:?}");
    }
}

#[test]
fn who_has_a_reserved_name_is_told_so() {
    let names = Names { reserved: &["find_tools"], given: &[] };
    let own = claims_of(&[(0, "find_tools")])[0];
    let given = Claim { given: Some("find_tools"), ..claims_of(&[(0, "find")])[0] };

    for (claim, naming) in [(own, Naming::Bare), (given, Naming::Bare), (given, Naming::OnCollision)] {
        let hidden = assign(naming, &[claim], names).hidden;
        assert_eq!(hidden, [Hidden { claim: 0, reason: HiddenReason::Reserved }], "{naming:?}");
    }
    assert_eq!(assign(Naming::OnCollision, &[own], names).exposed, [Some("files_find_tools".into())]);
}
