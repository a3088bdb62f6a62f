//! The mkpasswd program.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs the program with this on its standard input.
fn run(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mkpasswd"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended by now without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn hash_of(line: &str) -> &str {
    line.strip_prefix("bcrypt hash: ").expect(line)
}

#[test]
fn it_makes_a_password_and_its_hash() {
    let (code, stdout, stderr) = run(&["-c", "4"], "");
    assert_eq!((code, &*stderr), (Some(0), ""));
    let lines = stdout.lines().collect::<Vec<_>>();
    let password = lines[0].strip_prefix("pass: ").expect(lines[0]);
    let hash = hash_of(lines[1]);
    assert_eq!((lines.len(), password.len()), (2, 22));
    assert!(hash.starts_with("$2a$04$"), "{hash}");
    assert!(bcrypt::verify(password, hash).unwrap());
}

#[test]
fn it_hashes_a_password_from_its_input() {
    let (code, stdout, stderr) = run(&["-p"], "S3Cr3T0k3n!\nS3Cr3T0k3n!\n");
    assert_eq!((code, &*stderr), (Some(0), ""));
    let hash = hash_of(stdout.trim_end());
    assert!(hash.starts_with("$2a$11$"), "{hash}");
    assert!(bcrypt::verify("S3Cr3T0k3n!", hash).unwrap());
}

#[test]
fn what_cannot_be_hashed_is_told() {
    let long = "x".repeat(73);
    for (args, input, code, text) in [
        (&["-p"][..], "a\nb\n", 1, "Error, passwords do not match\n"),
        (
            &["-p"],
            "",
            1,
            "Error reading password: two lines are needed\n",
        ),
        (
            &["-p"],
            &*format!("{long}\n{long}\n"),
            1,
            "Error, the password has 73 bytes; bcrypt ignores all beyond 72\n",
        ),
        (
            &["-c", "32"],
            "",
            2,
            "mkpasswd: cost 32 must be between 4 and 31\n",
        ),
    ] {
        let (got, stdout, stderr) = run(args, input);
        assert_eq!((got, &*stdout), (Some(code), ""), "{args:?}");
        assert!(stderr.starts_with(text), "{stderr}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for (arg, text) in [("--help", "Usage: mkpasswd"), ("--version", "mkpasswd: v")] {
        let (code, stdout, stderr) = run(&[arg], "");
        assert_eq!((code, &*stderr), (Some(0), ""), "{arg}");
        assert!(stdout.contains(text), "{stdout}");
    }
}
