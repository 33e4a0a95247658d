//! Generates the client and the server of etcd's call, as far as the bench speaks it.
//!
//! The compiler of the `.proto` file is a library: nothing has to be installed.

use std::{error::Error, path::Path};

const FILE: &str = "etcd.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    println!("cargo::rerun-if-changed={}", folder.join(FILE).display());
    let files = protox::compile([FILE], [folder])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
