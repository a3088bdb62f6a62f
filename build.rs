//! Tells the program the commit that it was built from, if that can be known, and for what.

use std::env;
use std::fs;
use std::process::Command;

/// What `git archive` puts the commit into.
const STAMP: &str = "packaging/commit";

fn main() {
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=NATS_SERVER_TARGET={target}");
    // Where debugging information says the sources are, if that is not where they are.
    println!("cargo::rerun-if-env-changed=NATS_SERVER_SOURCES");
    let sources = env::var("NATS_SERVER_SOURCES").or_else(|_| env::var("CARGO_MANIFEST_DIR"));
    println!(
        "cargo::rustc-env=NATS_SERVER_SOURCES={}",
        sources.unwrap_or_default()
    );
    println!("cargo::rerun-if-env-changed=NATS_SERVER_COMMIT");
    println!("cargo::rerun-if-changed={STAMP}");
    // Other builds would have to compile everything anew after each commit.
    if env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let commit = env::var("NATS_SERVER_COMMIT").ok();
    let commit = commit.or_else(stamped).or_else(checked_out);
    // As long as the reference shows it.
    if let Some(short) = commit.as_deref().and_then(|commit| commit.get(..7))
        && short.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        println!("cargo::rustc-env=NATS_SERVER_COMMIT={short}");
    }
}

fn stamped() -> Option<String> {
    let text = fs::read_to_string(STAMP).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.starts_with('$'))
}

fn checked_out() -> Option<String> {
    // Changes with every commit that is made or checked out.
    for file in ["HEAD", "logs/HEAD"] {
        println!(
            "cargo::rerun-if-changed={}",
            git(&["rev-parse", "--git-path", file])?
        );
    }
    // A repository that this one is only unpacked in says nothing about it.
    let root = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    let own = fs::canonicalize(env::var_os("CARGO_MANIFEST_DIR")?).ok()?;
    (root == own).then(|| git(&["rev-parse", "HEAD"]))?
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}
