//! Generates the client and the server of the stream between nodes, over the messages of `quorate-proto`.
//!
//! The compiler of the `.proto` file is a library: nothing has to be installed. Only this crate serves or dials it.

use std::{error::Error, path::Path};

const FILE: &str = "quorate/peer/v1/peer.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", folder.join(FILE).display());
    let mut files = protox::compile([FILE], [folder])?;
    for file in &mut files.file {
        // `Exchanges` is spoken over HTTP/2 itself (src/exchange/).
        file.service.retain(|service| service.name() == "Peer");
    }
    tonic_prost_build::configure()
        .extern_path(".quorate.peer.v1", "::quorate_proto::peer::v1")
        .build_transport(false)
        .compile_fds(files)?;
    Ok(())
}
