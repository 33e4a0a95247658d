//! Generates the clients and servers of the API that operators use, over the messages of `quorate-proto`, and what
//! reflection tells of them.
//!
//! The compiler of the `.proto` file is a library: nothing has to be installed. Only this crate serves these services.

use std::{error::Error, fs, path::Path};

const FILE: &str = "quorate/admin/v1/admin.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", folder.join(FILE).display());
    let mut compiler = protox::Compiler::new([folder])?;
    compiler.include_imports(true).include_source_info(true).open_file(FILE)?;
    let out = std::env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("admin.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .extern_path(".quorate.admin.v1", "::quorate_proto::admin::v1")
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
