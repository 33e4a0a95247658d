//! Compiles `admin.proto` to descriptors: what its messages are called in JSON, and which calls there are.
//!
//! The compiler is a library: nothing has to be installed.

use std::{env, error::Error, fs, path::Path};

const FILE: &str = "quorate/admin/v1/admin.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", folder.join(FILE).display());
    let mut compiler = protox::Compiler::new([folder])?;
    compiler.include_imports(true).include_source_info(false).open_file(FILE)?;
    let bytes = compiler.encode_file_descriptor_set();
    fs::write(Path::new(&env::var("OUT_DIR")?).join("admin.bin"), bytes)?;
    Ok(())
}
