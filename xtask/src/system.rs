//! Programs that the system has to provide: found, or installed where that is allowed, or named with what to do.
//!
//! A build needs a C compiler and nothing else; tests need Python, Node with npm, Git, libfaketime, haproxy and, for the
//! fuzzer and the engine, a C++ compiler, and make for the engine.
//! Where xtask runs as root on a system with apt-get (a container, a CI machine) it installs what is missing; anywhere
//! else it changes nothing and says what to install.

use anyhow::{Result, bail};

use crate::{output, run::Cmd};

/// A program of the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// What it is called on the path.
    name: &'static str,
    /// Arguments with which it does nothing but succeed when it is usable.
    probe: &'static [&'static str],
    /// Debian's packages with it.
    packages: &'static [&'static str],
    /// What needs it.
    purpose: &'static str,
}

/// Python with environments of its own; 3.11 or later, for which the locked packages are made.
pub(crate) const PYTHON: Program = Program {
    name: "python3",
    probe: &["-c", "import ensurepip, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))"],
    packages: &["python3", "python3-venv"],
    purpose: "the Python clients and servers of the interop tests",
};

/// Node's package manager.
pub(crate) const NPM: Program = Program {
    name: "npm",
    probe: &["--version"],
    packages: &["nodejs", "npm"],
    purpose: "the conformance suite and the TypeScript clients and servers of the interop tests",
};

/// Git, with which a test makes the repository that a tool server works on.
pub(crate) const GIT: Program =
    Program { name: "git", probe: &["--version"], packages: &["git"], purpose: "the Git server of the interop tests" };

/// A load balancer.
pub(crate) const HAPROXY: Program = Program {
    name: "haproxy",
    probe: &["-v"],
    packages: &["haproxy"],
    purpose: "the conformance suite through several nodes, and the numbers of models",
};

/// A library that gives a process a wall clock of its own, and the program that comes with it.
pub(crate) const FAKETIME: Program = Program {
    name: "faketime",
    probe: &["-f", "+0", "true"],
    packages: &["faketime"],
    purpose: "the tests of clusters whose clocks jump",
};

/// A C++ compiler.
pub(crate) const CXX: Program = Program {
    name: "c++",
    probe: &["--version"],
    packages: &["g++"],
    purpose: "the fuzzer (libFuzzer is C++) and the build of the engine",
};

/// What runs the compiler for CMake.
pub(crate) const MAKE: Program =
    Program { name: "make", probe: &["--version"], packages: &["make"], purpose: "the steps of the engine's build" };

/// Makes sure that a program is there.
pub(crate) fn ensure(program: Program) -> Result<()> {
    if found(program) {
        return Ok(());
    }
    let Program { name, packages, purpose, .. } = program;
    let install = packages.join(" ");
    if !is_root() || !Cmd::new("apt-get").arg("--version").succeeds() {
        bail!(
            "{name} is missing or incomplete, and {purpose} need it: install it (Debian: `apt-get install {install}`)"
        );
    }
    output::line(&format!("{name} is missing: installing {install} for {purpose}"));
    let apt = |command: &str| Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", command]);
    apt("update").run()?;
    apt("install").arg("--no-install-recommends").args(packages).run()?;
    if !found(program) {
        bail!("{name} is still not usable after the installation of {install}");
    }
    Ok(())
}

fn found(program: Program) -> bool {
    Cmd::new(program.name).args(program.probe).succeeds()
}

fn is_root() -> bool {
    Cmd::new("id").arg("-u").quiet().output().is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_work_is_not_found() {
        let broken = Program { name: "false", probe: &[], packages: &[], purpose: "nothing" };

        assert!(!found(broken));
        assert!(!found(Program { name: "no-such-program-here", ..broken }));
        assert!(found(Program { name: "true", ..broken }));
    }
}
