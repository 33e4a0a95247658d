//! A gateway that knows its callers: a node alone that serves what a folder says.
//!
//! Its one caller is the agent `bench`, with a key as `quorate keys new` makes one; what it may do is the resources' affair. Both
//! the calls under policy and those beside a cluster are measured at one.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use quorate_cluster::free_address;
use quorate_identity::api_key::{Fresh, MacKey};
use serde_json::{Value, json};

use super::gateway::{Gateway, Served};
use super::resources::Resources;
use crate::message::Measure;

/// The root key of the node.
const ROOT: [u8; 32] = [7; 32];

/// A gateway that knows its callers.
pub(crate) struct Known {
    /// The gateway, whose URL names the key of the agent `bench`.
    pub(crate) gateway: Gateway,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    _resources: Resources,
}

// === impl Known ===

impl Known {
    /// Starts one with these resources, beside its listener and its caller's key, and with files that they name. Its spans go
    /// to the sink; without one it makes none. It serves when it answers this measure.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(
        quorate: &Path,
        resources: &[Value],
        files: &[(&str, &str)],
        sink: Option<&str>,
        measure: Measure,
    ) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let key = Fresh::new([5; 8], [6; 32]);
        let mac = MacKey::of_root(&ROOT).mac(&key).to_string();
        let own = [
            json!({ "kind": "Listener", "name": "data", "spec": { "address": address.to_string() } }),
            json!({ "kind": "ApiKey", "name": "bench", "spec": { "keys": [{ "id": key.id.to_string(), "hmac": mac }] } }),
        ];
        let mut resources = Resources::new(&[&own, resources].concat())?.with("root.key", &hex(&ROOT))?;
        for (name, text) in files {
            resources = resources.with(name, text)?;
        }
        let root = resources.folder().join("root.key");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o600)).context("the root key")?;
        let served = Served { listen: address, admin, bearer: key.expose(), data_dir: resources.folder(), measure };
        let gateway = Gateway::serve(quorate, &resources.flags(), served, sink).await?;
        Ok(Self { gateway, address, _resources: resources })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
