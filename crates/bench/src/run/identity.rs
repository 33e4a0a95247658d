//! What it costs to know a caller by a token, measured in this process: no gateway takes part.
//!
//! One thread, keys that are given, tokens of a usual size signed with ES256. `cold` are tokens that were never seen:
//! read, checked by their signature, judged. `warm` is one token again and again. `forged` are tokens with signatures
//! that are nobody's, each another, as strangers would send them: what a flood of them costs beside good callers.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quorate_http::client::{self, Client};
use quorate_identity::issuer::{Check, Config, Keys, Rules, Signed, TenantRule};
use quorate_identity::{ClaimPath, Issuers, KeySet, Presented};
use quorate_tls::{ClientOptions, ClientTls};
use quorate_types::{ResourceName, TenantId, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::process::Cpu;
use super::report::Row;
use crate::load::flood::{ISSUER, KEY};

/// Tokens of each measure: the kernel tells CPU time in hundredths of a second, and so many take some tenths at least.
const COLD: usize = 5_000;
const WARM: usize = 400_000;
/// Microseconds of a millisecond.
const US_PER_MS: f64 = 1000.0;

const RESOURCE: &str = "https://mesh.example.com/mcp/files";
const NOW_SECONDS: u64 = 1_700_000_000;

/// CPU time per token, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    /// Of a token that was never seen.
    pub(crate) cold_us: f64,
    /// Of a token that is known.
    pub(crate) warm_us: f64,
    /// Of a token with a wrong signature that was never seen.
    pub(crate) forged_us: f64,
}

/// A key to sign with.
pub(super) struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

// === impl Tokens ===

impl Tokens {
    /// Measures.
    ///
    /// # Errors
    /// When a token is not judged as it should be.
    pub(crate) async fn measure() -> Result<Self> {
        let signer = Signer::new()?;
        let issuers = issuers(&signer)?;
        let good = (0..COLD).map(|number| signer.sign(number)).collect::<Result<Vec<_>>>()?;
        let forged: Vec<_> = good.iter().enumerate().map(|(number, token)| forge(token, number)).collect();
        let known = good.last().context("there are tokens")?;

        let cold_us = spend(&issuers, good.iter(), true).await?;
        let warm_us = spend(&issuers, std::iter::repeat_n(known, WARM), true).await?;
        let forged_us = spend(&issuers, forged.iter(), false).await?;
        Ok(Self { cold_us, warm_us, forged_us })
    }

    /// The lines of the table. Goals and floors of the project's issue "Identity and policy"; they change there first.
    pub(crate) fn rows(self) -> [Row; 3] {
        let row = |measure, number, goal, floor| Row::of_gateway(measure, "µs", number, goal, floor);
        [
            row("CPU time, a token (ES256) that was never seen", self.cold_us, 150.0, 150.0),
            row("CPU time, a token that is known", self.warm_us, 5.0, 10.0),
            // No goal of its own: a stranger must not cost more than a caller.
            row("CPU time, a token with a wrong signature", self.forged_us, 150.0, 150.0),
        ]
    }
}

/// Checks tokens; returns the CPU time of each in microseconds.
async fn spend<'a>(
    issuers: &Issuers,
    tokens: impl ExactSizeIterator<Item = &'a String>,
    are_good: bool,
) -> Result<f64> {
    let (pid, count) = (std::process::id(), tokens.len());
    let before = Cpu::of_process(pid)?;
    for token in tokens {
        let now = Timestamp::from_millis(NOW_SECONDS * 1000);
        let verified = issuers.verify(Presented { token, resource: RESOURCE, certificate: None, now }).await;
        ensure!(verified.is_ok() == are_good, "a token was judged {verified:?}");
    }
    Ok(Cpu::of_process(pid)?.per_request_since(before, count as u64).total_ms() * US_PER_MS)
}

fn issuers(signer: &Signer) -> Result<Issuers> {
    let keys = KeySet::parse(signer.jwks().as_bytes())?;
    let mut rules = Rules::new(TenantRule::Fixed(TenantId::default()));
    rules.groups = Some(ClaimPath::new("realm_access.roles")?);
    rules.agent = Some(ClaimPath::new("azp")?);
    let config = Config {
        name: ResourceName::new("people")?,
        iss: ISSUER.to_owned(),
        check: Check::Signed(Signed::new(Keys::Given(keys))),
        rules,
    };
    let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None })?;
    Ok(Issuers::new(vec![(config, Client::new(&client::DEFAULTS, tls))], Arc::new(()))?)
}

/// Changes a token's signature to one that is nobody's: of the right form, and another for each number.
fn forge(token: &str, number: usize) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap_or((token, ""));
    let mut signature = [0x42; 64];
    signature[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

// === impl Signer ===

impl Signer {
    /// Makes one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self> {
        let (random, scheme) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(scheme, &random).ok().context("make a key")?;
        let pair = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &random).ok().context("read the key")?;
        Ok(Self { pair, random })
    }

    /// The set of its public key, whose id is [`KEY`].
    pub(super) fn jwks(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": KEY, "alg": "ES256", "x": x, "y": y}]}).to_string()
    }

    /// Makes a token with what issuers commonly put into one, about 1 KiB.
    fn sign(&self, number: usize) -> Result<String> {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": KEY});
        let claims = json!({
            "iss": ISSUER, "sub": "8b0a4d55-3f0e-4ab2-9c5f-0c9d0f7b8f11", "aud": [RESOURCE, "account"],
            "iat": NOW_SECONDS - 5, "exp": NOW_SECONDS + 600, "jti": format!("3f0e4ab2-{number}"), "azp": "desktop",
            "sid": "0b5f0c9d-0f7b-4f11-8b0a-4d553f0e4ab2", "acr": "1", "scope": "openid profile tools:read tools:call",
            "realm_access": {"roles": ["engineering", "on-call", "offline_access", "default-roles-people"]},
            "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
            "email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace", "preferred_username": "ada",
        });
        let (header, claims) = (header.to_string(), claims.to_string());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok().context("sign a token")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
