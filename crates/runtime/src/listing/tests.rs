//! Lists of servers that answer, hang and change, in virtual time.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Mutex;

use http::HeaderMap;
use quorate_http::client::{Client, DEFAULTS as CLIENT_DEFAULTS};
use quorate_mcp::curate::{Changes, Member, Pattern, Rule, Rules, Selection, Selections, Subject};
use quorate_tls::{ClientOptions, ClientTls};
use quorate_types::{ResourceName, TenantId};
use tokio::time::Instant;

use super::*;
use crate::listing::fetching::{FETCH_TIMEOUT, PROGRAM_FETCH_TIMEOUT, STALE_FOR};
use crate::restarts::Policy;
use crate::upstream::stdio::{Config as Program, Isolation, Recipe, StdioEndpoint};
use crate::upstream::{Endpoint, EraSetting, TransportSetting};

/// What the servers do, and what they were asked.
#[derive(Default)]
struct Script {
    items: Mutex<HashMap<(String, ListKind), String>>,
    hanging: Mutex<Vec<String>>,
    slow: Mutex<HashMap<String, Duration>>,
    asked: Mutex<Vec<(String, ListKind)>>,
}

/// Who asks, and whether it has gone.
#[derive(Clone, Default)]
struct Fake(Arc<Script>, bool);

impl Fake {
    fn lists(&self, server: &str, kind: ListKind, items: &str) {
        self.0.items.lock().unwrap().insert((server.to_owned(), kind), items.to_owned());
    }

    fn hangs(&self, server: &str) {
        self.0.hanging.lock().unwrap().push(server.to_owned());
    }

    fn takes(&self, server: &str, time: Duration) {
        self.0.slow.lock().unwrap().insert(server.to_owned(), time);
    }

    fn answers_again(&self) {
        self.0.hanging.lock().unwrap().clear();
    }

    fn asked(&self, server: &str, kind: ListKind) -> usize {
        self.0.asked.lock().unwrap().iter().filter(|(name, listed)| name == server && *listed == kind).count()
    }
}

impl Ask for Fake {
    type Fetch = Self;

    fn detached(&self) -> Self {
        self.clone()
    }
}

impl Fetch for Fake {
    type Line = ();

    fn speaks(&self, _: &backend::Handle) -> bool {
        true
    }

    fn offers(&self, server: &backend::Handle, kind: ListKind) -> bool {
        self.0.items.lock().unwrap().contains_key(&(server.name().to_string(), kind))
    }

    fn has_left(&self) -> bool {
        self.1
    }

    async fn open(&self, _: &backend::Handle) -> Result<(), String> {
        if self.1 { Err("it has left".to_owned()) } else { Ok(()) }
    }

    async fn page(&self, server: &backend::Handle, (): &(), kind: ListKind, _: Option<&str>) -> Result<Bytes, String> {
        let name = server.name().to_string();
        self.0.asked.lock().unwrap().push((name.clone(), kind));
        if self.0.hanging.lock().unwrap().contains(&name) {
            std::future::pending::<()>().await;
        }
        let slow = self.0.slow.lock().unwrap().get(&name).copied();
        tokio::time::sleep(slow.unwrap_or_default()).await;
        let items = self.0.items.lock().unwrap().get(&(name, kind)).cloned().unwrap_or_default();
        Ok(Bytes::from(format!("{{\"{}\":[{items}]}}", kind.result_key())))
    }
}

/// The time as tokio has it, which stands still unless a test waits.
fn virtual_now() -> Timestamp {
    thread_local!(static START: LazyCell<Instant> = LazyCell::new(Instant::now));
    let passed = START.with(|start| start.elapsed());
    Timestamp::from_millis(1_000_000) + passed
}

fn server(name: &str) -> backend::Handle {
    let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).expect("a TLS configuration");
    let client = Client::new(&CLIENT_DEFAULTS, tls);
    let endpoint =
        Endpoint::http("http://127.0.0.1:9/mcp", client, HeaderMap::new(), crate::upstream::Limits::default());
    server_at(name, endpoint.expect("a valid address"))
}

/// A program, which nobody starts: what lists is the test's.
fn program(name: &str) -> backend::Handle {
    let second = Duration::from_secs(1);
    let program = Program {
        recipe: Recipe {
            name: name.into(),
            argv: vec!["nothing".into()],
            inherit: Vec::new(),
            environment: Vec::new(),
            folder: quorate_stdio::Folder::Private,
            resources: quorate_stdio::Resources::default(),
            limits: quorate_stdio::Limits::default(),
        },
        isolation: Isolation::Shared,
        spares: 0,
        children_max: 1,
        start_timeout: second,
        restarts: Policy { failures_max: 1, window: second, delay: second, delay_max: second },
        guard: quorate_stdio::Guard::at("nothing".into()),
    };
    let limits = crate::upstream::Limits::default();
    server_at(name, Endpoint::Stdio(StdioEndpoint::new(program, limits, Metrics::new("0").stdio(name))))
}

fn server_at(name: &str, endpoint: Endpoint) -> backend::Handle {
    let config = backend::Config {
        name: ResourceName::new(name).expect("a valid name"),
        tenant: TenantId::new("default").expect("a valid tenant"),
        endpoints: vec![endpoint],
        era: EraSetting::Auto,
        transport: TransportSetting::Auto,
        health: quorate_scheduler::Config::DEFAULTS,
        check_timeout: Duration::from_secs(1),
        concurrency_max: 16,
        items_max: 100,
    };
    backend::Handle::new(config, Metrics::new("0"))
}

fn listing(limits: Limits) -> Listing {
    Listing::with(config(None), Metrics::new("0"), limits, virtual_now)
}

fn config(curation: Option<Curation>) -> Config {
    config_of(["one", "two"].map(server), curation)
}

fn config_of(servers: [backend::Handle; 2], curation: Option<Curation>) -> Config {
    let members = servers.map(|server| (server.name().clone(), server));
    let toolset = ResourceName::new("all").expect("a valid name");
    Config {
        watch: Arc::new(Watch::new(toolset.clone(), 1, Metrics::new("0"))),
        toolset,
        members: members.into(),
        naming: Naming::OnCollision,
        curation: curation.map(Arc::new),
        combinations: 1,
        combination: 0,
    }
}

fn view(principal: u8, declared: u64) -> View {
    View { principal: PrincipalDigest([principal; 16]), audience: Audience::Legacy(declared) }
}

fn names(merged: &Merged) -> Vec<&str> {
    merged.entries().iter().map(|entry| &*entry.exposed).collect()
}

fn two_tools() -> Fake {
    let fake = Fake::default();
    fake.lists("one", ListKind::Tools, r#"{"name":"a"}"#);
    fake.lists("two", ListKind::Tools, r#"{"name":"b"}"#);
    fake
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_being_started_is_waited_for_longer_than_a_server_that_runs() {
    let (fake, view) = (two_tools(), view(1, 1));
    fake.takes("one", FETCH_TIMEOUT * 2);
    fake.takes("two", FETCH_TIMEOUT * 2);
    let config = config_of([server("one"), program("two")], None);
    let listing = Listing::with(config, Metrics::new("0"), shelves::DEFAULTS, virtual_now);

    let started = Instant::now();
    let first = listing.merged(view, ListKind::Tools, &fake).await;

    assert_eq!(names(&first), ["b"]);
    assert!(started.elapsed() >= FETCH_TIMEOUT * 2 && started.elapsed() < PROGRAM_FETCH_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_hung_server_costs_its_timeout_once_and_then_its_lists_come_from_the_cache() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), two_tools(), view(1, 1));
    fake.hangs("two");

    let started = Instant::now();
    let first = listing.merged(view, ListKind::Tools, &fake).await;
    assert_eq!(names(&first), ["a"]);
    assert!(started.elapsed() >= FETCH_TIMEOUT && started.elapsed() < FETCH_TIMEOUT * 2);

    let again = Instant::now();
    let second = listing.merged(view, ListKind::Tools, &fake).await;
    assert!(Arc::ptr_eq(&first, &second), "the moment counts from the failure");
    assert_eq!(again.elapsed(), Duration::ZERO);

    tokio::time::advance(STALE_FOR).await;
    let later = Instant::now();
    let third = listing.merged(view, ListKind::Tools, &fake).await;
    assert_eq!(names(&third), ["a"]);
    assert!(later.elapsed() <= PATIENCE * 2, "the last list stands in: {:?}", later.elapsed());

    fake.answers_again();
    // In virtual time: the refresh under way fails, and its stand-in expires.
    tokio::time::sleep(FETCH_TIMEOUT).await;
    tokio::time::sleep(STALE_FOR).await;
    let fourth = listing.merged(view, ListKind::Tools, &fake).await;
    assert_eq!(names(&fourth), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_list_is_asked_for_again_and_the_others_are_not() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), two_tools(), view(1, 1));
    listing.merged(view, ListKind::Tools, &fake).await;

    fake.lists("one", ListKind::Tools, r#"{"name":"c"}"#);
    listing.invalidate(&ResourceName::new("one").unwrap(), ListKind::Tools);
    listing.invalidate(&ResourceName::new("one").unwrap(), ListKind::Tools);

    let changed = listing.merged(view, ListKind::Tools, &fake).await;
    assert_eq!(names(&changed), ["c", "b"]);
    assert_eq!(fake.asked("one", ListKind::Tools), 2);
    assert_eq!(fake.asked("two", ListKind::Tools), 1, "the other server's list stays fresh");
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_moment_share_one_refresh_even_when_the_first_client_leaves() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), two_tools(), view(1, 1));
    fake.hangs("two");
    let left = tokio::time::timeout(Duration::from_secs(1), listing.merged(view, ListKind::Tools, &fake)).await;
    assert!(left.is_err());

    let both = join(listing.merged(view, ListKind::Tools, &fake), listing.merged(view, ListKind::Tools, &fake));
    let (one, other) = both.await;
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(fake.asked("two", ListKind::Tools), 1);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_who_left_did_not_hear_is_no_list_of_others() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), two_tools(), view(1, 1));
    let left = Fake(Arc::clone(&fake.0), true);

    let heard = listing.merged(view, ListKind::Tools, &left).await;
    let listed = listing.merged(view, ListKind::Tools, &fake).await;

    assert_eq!(names(&heard), Vec::<&str>::new());
    assert_eq!(names(&listed), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_byte_budget_evicts_the_longest_unused_lists() {
    let limits = Limits { bytes_max: 5_000, bytes_per_principal_max: 5_000, ..shelves::DEFAULTS };
    let (listing, fake) = (listing(limits), Fake::default());
    fake.lists("one", ListKind::Tools, &format!(r#"{{"name":"a","description":"{}"}}"#, "x".repeat(800)));

    for principal in 1..=4 {
        listing.merged(view(principal, 1), ListKind::Tools, &fake).await;
        tokio::time::advance(Duration::from_millis(10)).await;
    }

    let kept: Vec<bool> =
        (1..=4).map(|principal| listing.last(view(principal, 1), ListKind::Tools).is_some()).collect();
    assert_eq!(kept, [false, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn one_principal_with_many_views_evicts_only_its_own() {
    let limits = Limits { shelves_per_principal_max: 3, ..shelves::DEFAULTS };
    let (listing, fake) = (listing(limits), two_tools());
    listing.merged(view(1, 1), ListKind::Tools, &fake).await;

    for declared in 0..10 {
        tokio::time::advance(Duration::from_millis(10)).await;
        listing.merged(view(2, declared), ListKind::Tools, &fake).await;
    }

    let kept = (0..10).filter(|declared| listing.last(view(2, *declared), ListKind::Tools).is_some()).count();
    assert_eq!(kept, 3);
    assert!(listing.last(view(1, 1), ListKind::Tools).is_some());
}

#[tokio::test(start_paused = true)]
async fn lists_that_nobody_uses_go() {
    let (listing, fake) = (listing(shelves::DEFAULTS), two_tools());
    listing.merged(view(1, 1), ListKind::Tools, &fake).await;
    tokio::time::advance(shelves::DEFAULTS.idle_max + Duration::from_secs(1)).await;
    listing.merged(view(2, 1), ListKind::Tools, &fake).await;
    assert!(listing.last(view(1, 1), ListKind::Tools).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_router_is_reused_while_what_is_listed_stays_the_same() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), Fake::default(), view(1, 1));
    fake.lists("one", ListKind::Resources, r#"{"uri":"file:///a","name":"a"}"#);
    fake.lists("two", ListKind::Resources, r#"{"uri":"file:///a","name":"a"}"#);

    let first = listing.router(view, &fake).await;
    assert!(Arc::ptr_eq(&first, &listing.router(view, &fake).await));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(Arc::ptr_eq(&first, &listing.router(view, &fake).await), "refreshed, and the same");

    fake.lists("two", ListKind::Resources, r#"{"uri":"file:///b","name":"b"}"#);
    listing.invalidate(&ResourceName::new("two").unwrap(), ListKind::Resources);
    assert!(!Arc::ptr_eq(&first, &listing.router(view, &fake).await));
}

#[tokio::test(start_paused = true)]
async fn listing_tools_is_enough_for_results_to_be_rewritten() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), two_tools(), view(1, 1));
    fake.lists("one", ListKind::Resources, r#"{"uri":"file:///a","name":"a"}"#);
    fake.lists("two", ListKind::Resources, r#"{"uri":"file:///a","name":"a"}"#);

    listing.merged(view, ListKind::Tools, &fake).await;
    // The resources are asked for beside; joining waits for them.
    listing.merged(view, ListKind::Resources, &fake).await;

    let router = listing.last_router(view).expect("a router without a read");
    assert_eq!(router.expose(ServerIndex(1), "file:///a"), "quorate://two/file:///a");
    assert_eq!(listing.any_view_of(view.principal), Some(view));
}

/// The curation of `one` and `two` with these choices of tools, and rules for these names of tools.
fn curation(chosen: [Selection; 2], rules: &[&str]) -> Curation {
    let names = ["one", "two"].map(|name| ResourceName::new(name).expect("a valid name"));
    let selections = chosen.map(|tools| Selections { tools, ..Selections::default() });
    let members: Vec<Member<'_>> =
        names.iter().zip(&selections).map(|(name, selections)| Member { name, server: name, selections }).collect();
    let rule = |text: &&str| {
        let pattern = Pattern::parse(text).expect("a pattern");
        let changes = Changes { concurrency: Some(1), ..Changes::default() };
        Rule { subject: Subject { member: None, version: None, pattern }, changes }
    };
    let rules = Rules { tools: rules.iter().map(rule).collect(), ..Rules::default() };
    Curation::compile(&members, &rules).expect("it changes something")
}

fn nothing() -> Selection {
    Selection { include: Vec::new(), exclude: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_server_of_which_nothing_is_wanted_is_not_asked() {
    let config = config(Some(curation([Selection::everything(), nothing()], &[])));
    let listing = Listing::with(config, Metrics::new("0"), shelves::DEFAULTS, virtual_now);
    let (fake, view) = (two_tools(), view(1, 1));

    let merged = listing.merged(view, ListKind::Tools, &fake).await;

    assert_eq!(names(&merged), ["a"]);
    assert_eq!((fake.asked("one", ListKind::Tools), fake.asked("two", ListKind::Tools)), (1, 0));
    let fresh_for = merged.expires_at().since(virtual_now());
    assert!(fresh_for > STALE_FOR, "it does not make the others' lists expire: {fresh_for:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_matches_nothing_only_when_every_list_says_so() {
    let config = config(Some(curation([Selection::everything(), Selection::everything()], &["a", "b", "c*"])));
    let listing = Listing::with(config, Metrics::new("0"), shelves::DEFAULTS, virtual_now);
    let unmatched =
        |listing: &Listing| -> Vec<String> { listing.unmatched().into_iter().map(|watched| watched.text).collect() };
    let (fake, view) = (two_tools(), view(1, 1));
    fake.hangs("two");
    listing.merged(view, ListKind::Tools, &fake).await;
    assert!(unmatched(&listing).is_empty(), "`two` could have what was not seen");

    fake.answers_again();
    tokio::time::sleep(STALE_FOR * 2).await;
    listing.merged(view, ListKind::Tools, &fake).await;
    tokio::time::sleep(STALE_FOR * 2).await;
    listing.merged(view, ListKind::Tools, &fake).await;
    assert_eq!(unmatched(&listing), ["c*"]);

    fake.lists("one", ListKind::Tools, r#"{"name":"c1"}"#);
    listing.invalidate(&ResourceName::new("one").unwrap(), ListKind::Tools);
    listing.merged(view, ListKind::Tools, &fake).await;
    assert!(unmatched(&listing).is_empty(), "it matches now");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_one_combination_of_versions_has_is_none_that_matches_nothing() {
    let watch = Arc::new(Watch::new(ResourceName::new("all").expect("a valid name"), 2, Metrics::new("0")));
    let of = |combination| {
        let curation = curation([Selection::everything(), Selection::everything()], &["c", "never"]);
        let config = Config { combinations: 2, combination, watch: Arc::clone(&watch), ..config(Some(curation)) };
        Listing::with(config, Metrics::new("0"), shelves::DEFAULTS, virtual_now)
    };
    let unmatched =
        |listing: &Listing| -> Vec<String> { listing.unmatched().into_iter().map(|watched| watched.text).collect() };
    let (old, new, view) = (of(0), of(1), view(1, 1));

    old.merged(view, ListKind::Tools, &two_tools()).await;
    assert!(unmatched(&old).is_empty(), "another version may have it");

    let newer = two_tools();
    newer.lists("two", ListKind::Tools, r#"{"name":"c"}"#);
    new.merged(view, ListKind::Tools, &newer).await;
    assert_eq!((unmatched(&old), unmatched(&new)), (vec!["never".to_owned()], vec!["never".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_list_stands_in_until_it_changed_or_is_too_old() {
    let (listing, fake, view) = (listing(shelves::DEFAULTS), two_tools(), view(1, 1));
    let standing = |name: &str| listing.standing(view, ListKind::Tools, name);
    assert!(standing("a").is_none());
    let merged = listing.merged(view, ListKind::Tools, &fake).await;

    let fresh_for = merged.expires_at().since(virtual_now());
    tokio::time::advance(fresh_for + Duration::from_secs(60)).await;
    assert!(standing("a").is_some(), "a minute late");
    tokio::time::advance(Duration::from_secs(10 * 60)).await;
    assert!(standing("a").is_none(), "too old");
    assert!(listing.last(view, ListKind::Tools).is_some());

    listing.merged(view, ListKind::Tools, &fake).await;
    assert!(standing("a").is_some());
    listing.invalidate(&ResourceName::new("one").unwrap(), ListKind::Tools);
    assert!(standing("a").is_none(), "its server said so");
    assert!(standing("b").is_some(), "another server's list is as good as before");
    assert!(standing("nothing").is_none());
}
