//! Client certificates: those of an authority that is trusted with its domain, and no others; taken back ones no longer.

use anyhow::ensure;
use quorate_tests::{
    raw::{PATIENCE, backend::Backend, gateway::Gateway, mcp::Mcp},
    wait,
};
use rcgen::SanType;
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    certificates::{Authority, Identity},
    site::Site,
};

const PATH: &str = "/mcp/tools";
const RUNNER: &str = "spiffe://mesh.test/runner";

/// A gateway for the workloads of two domains, each with an authority of its own.
struct Ground {
    authority: Authority,
    other: Authority,
    clock: Backend,
    gateway: Gateway,
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        Self::with(&json!({}))
    }

    /// With these keys more in what is said of the other domain.
    fn with(more: &Value) -> anyhow::Result<Self> {
        let clock = Mcp::new("clock").tools(&["now"]).start()?;
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let (authority, other) = (Authority::new()?, Authority::new()?);
        authority.write_bundle(&file("mesh.pem"))?;
        authority.write_crl(&file("mesh.crl"), false)?;
        authority.write_server(&file("cert.pem"), &file("key.pem"))?;
        other.write_bundle(&file("other.pem"))?;
        let mut of_other = json!({ "trustDomain": "other.test", "bundle": ["other.pem"] });
        for (key, value) in more.as_object().into_iter().flatten() {
            of_other[key] = value.clone();
        }
        let tls = json!({ "certificate": "cert.pem", "key": "key.pem", "clients": {} });
        let mesh = json!({ "trustDomain": "mesh.test", "bundle": ["mesh.pem"], "crls": ["mesh.crl"] });
        let site = Site::default()
            .with("Listener", "data", json!({ "address": "127.0.0.1:0", "tls": tls }))
            .with("Issuer", "mesh", json!({ "spiffe": mesh }))
            .with("Issuer", "other", json!({ "spiffe": of_other }))
            .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
            .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
            .policy(
                r#"
                permit(principal in Agent::"spiffe://mesh.test/runner", action, resource);
                permit(principal in Agent::"spiffe://other.test/guest", action, resource);
                "#,
            );
        std::fs::write(file("resources.yaml"), site.text())?;
        let gateway = Gateway::start_in(folder, &[])?;
        Ok(Self { authority, other, clock, gateway })
    }

    /// That a client with this certificate is served, or is not, at the handshake or after it.
    fn check(&self, what: &str, own: Option<Identity>, is_served: bool) -> anyhow::Result<()> {
        let caller = Caller::stranger().tls(self.authority.certificate(), own)?;
        let answer = caller.call(self.gateway.address, PATH, "now", &json!({}));
        let served = answer.as_ref().is_ok_and(|answer| answer.text() == Some("clock:now"));
        ensure!(served == is_served, "{what}: {:?}", answer.map(|answer| (answer.status, answer.message)));
        Ok(())
    }
}

#[test]
fn only_an_authority_that_is_trusted_with_a_domain_vouches_for_its_workloads() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let uri = |id: &str| Ok::<_, anyhow::Error>(SanType::URI(id.try_into()?));
    let twice = vec![uri(RUNNER)?, uri("spiffe://mesh.test/other")?];
    let plain = vec![SanType::DnsName("runner.mesh.test".try_into()?)];

    ground.check("the runner", Some(ground.authority.workload(RUNNER)?), true)?;
    ground.check("nobody", None, false)?;
    ground.check("a stranger's runner", Some(Authority::new()?.workload(RUNNER)?), false)?;
    ground.check("the other domain's runner of this one", Some(ground.other.workload(RUNNER)?), false)?;
    ground.check("the other domain's runner", Some(ground.other.workload("spiffe://other.test/runner")?), false)?;
    ground.check("a domain that nobody has", Some(ground.authority.workload("spiffe://none.test/runner")?), false)?;
    ground.check("two ids", Some(ground.authority.leaf(twice)?), false)?;
    ground.check("no id", Some(ground.authority.leaf(plain)?), false)?;
    ground.check("another case", Some(ground.authority.workload("spiffe://mesh.test/Runner")?), false)?;

    assert_eq!(ground.clock.count("tools/call"), 1);
    Ok(())
}

#[test]
fn a_certificate_that_is_taken_back_is_refused_without_a_restart() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    ground.check("the runner", Some(ground.authority.workload(RUNNER)?), true)?;

    ground.authority.write_crl(&ground.gateway.folder.path().join("mesh.crl"), true)?;

    wait::until("the list", PATIENCE, || ground.check("the runner", Some(ground.authority.workload(RUNNER)?), false))
}

#[test]
fn a_domain_may_demand_a_list_of_each_issuer() -> anyhow::Result<()> {
    const GUEST: &str = "spiffe://other.test/guest";

    let lax = Ground::new()?;
    lax.check("the other domain's guest, without lists", Some(lax.other.workload(GUEST)?), true)?;
    drop(lax);

    // The only list is of another authority: it says nothing of the domain's own.
    let ground = Ground::with(&json!({ "crls": ["mesh.crl"], "crlRequired": true }))?;
    ground.check("without a list", Some(ground.other.workload(GUEST)?), false)?;
    ground.check("the runner", Some(ground.authority.workload(RUNNER)?), true)?;

    ground.other.write_crl(&ground.gateway.folder.path().join("mesh.crl"), false)?;
    wait::until("the list", PATIENCE, || ground.check("with a list", Some(ground.other.workload(GUEST)?), true))
}
