//! The mkpasswd program: makes the bcrypt hash that stands for a password in a configuration, from
//! a password that is typed or from a random one.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use bcrypt::{BcryptError, Version};
use pico_args::Arguments;
use zeroize::Zeroizing;

use crate::base::text::{PlainError, quoted};
use crate::options::VERSION;

/// Characters of a random password; each is one of [`ALPHABET`]: 135 bits in all.
const LEN: usize = 22;

/// What random passwords are made of, as with the reference's tool.
const ALPHABET: &[u8; 72] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!@$#%^&*()";

/// The logarithm of bcrypt's rounds, unless told.
const COST_DEFAULT: u32 = 11;
const COST_MIN: u32 = 4;
const COST_MAX: u32 = 31;

/// Bytes of a password that bcrypt looks at; it would ignore all others.
const PASSWORD_MAX: usize = 72;

/// Bytes of a line that are read, more than any password and its line end have.
const LINE_MAX: u64 = 4096;

const HELP: &str = "
Usage: mkpasswd [options]

Makes a random password and its bcrypt hash for the server's configuration.

    -p                  Hash a password that is typed, or read from the standard input
    -c, --cost <cost>   Work to compute the hash, 4 to 31; each step doubles it (default: 11)
    -h, --help          Show this text
    -v, --version       Show the version
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Version,
    /// Hash a random password.
    Random {
        cost: u32,
    },
    /// Hash the operator's password.
    Typed {
        cost: u32,
    },
}

/// Why there is no hash.
#[derive(Debug)]
enum Error {
    /// The arguments cannot be understood; the help text will help.
    Usage(String),
    Read(io::Error),
    /// The input ended before the password was there twice.
    Ended,
    Mismatch,
    Empty,
    /// The password has this many bytes.
    TooLong(usize),
    Random(getrandom::Error),
    Hash(BcryptError),
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => write!(f, "mkpasswd: {text}"),
            Error::Read(error) => write!(f, "Error reading password: {}", PlainError(error)),
            Error::Ended => f.write_str("Error reading password: two lines are needed"),
            Error::Mismatch => f.write_str("Error, passwords do not match"),
            Error::Empty => f.write_str("Error, the password is empty"),
            Error::TooLong(len) => write!(
                f,
                "Error, the password has {len} bytes; bcrypt ignores all beyond {PASSWORD_MAX}"
            ),
            Error::Random(error) => write!(f, "Error getting random numbers: {error}"),
            Error::Hash(error) => write!(f, "Error producing bcrypt hash: {error}"),
        }
    }
}

/// Does what the arguments ask for. Returns the exit code: 0 after success, 1 if there is no hash,
/// 2 after a mistake in the arguments.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args).and_then(carry_out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            if let Error::Usage(_) = error {
                let _ = write!(io::stderr(), "{HELP}");
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}

fn carry_out(task: Task) -> Result<(), Error> {
    match task {
        Task::Help => print(HELP),
        Task::Version => print(&format!("mkpasswd: v{VERSION}\n")),
        Task::Random { cost } => {
            let password = random(getrandom::fill).map_err(Error::Random)?;
            print(&Zeroizing::new(format!("pass: {}\n", *password)));
            print_hash(&password, cost)?;
        }
        Task::Typed { cost } => {
            let password = if io::stdin().is_terminal() {
                twice(|prompt| rpassword::prompt_password(prompt).map(Some))?
            } else {
                let mut input = io::stdin().lock();
                twice(|_| line(&mut input))?
            };
            print_hash(&password, cost)?;
        }
    }
    Ok(())
}

fn print_hash(password: &str, cost: u32) -> Result<(), Error> {
    print(&format!("bcrypt hash: {}\n", hash(password, cost)?));
    Ok(())
}

/// Writes to stdout. Whoever closed it does not want the rest, so that is no error.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Understands the arguments, which do not include the program's own name. As with the server, a
/// value may follow an equals sign.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Task, Error> {
    let mut split = Vec::new();
    for arg in args {
        match arg.to_str().and_then(|text| text.split_once('=')) {
            Some((name, value)) if name.starts_with('-') => {
                split.extend([name.into(), value.into()]);
            }
            _ => split.push(arg),
        }
    }
    let usage = |error: pico_args::Error| Error::Usage(error.to_string());
    let mut args = Arguments::from_vec(split);
    let help = args.contains(["-h", "--help"]);
    let version = args.contains(["-v", "--version"]);
    let typed = args.contains("-p");
    let cost = args
        .opt_value_from_str(["-c", "--cost"])
        .map_err(usage)?
        .unwrap_or(COST_DEFAULT);
    if let Some(rest) = args.finish().first() {
        let rest = quoted(rest.as_encoded_bytes());
        return Err(Error::Usage(format!("unexpected argument {rest}")));
    }
    if !(COST_MIN..=COST_MAX).contains(&cost) {
        return Err(Error::Usage(format!(
            "cost {cost} must be between {COST_MIN} and {COST_MAX}"
        )));
    }
    Ok(match (help, version, typed) {
        (true, ..) => Task::Help,
        (_, true, _) => Task::Version,
        (.., true) => Task::Typed { cost },
        _ => Task::Random { cost },
    })
}

/// A random password, from a source that fills bytes. Every one is equally likely: bytes that
/// would favour some characters are passed over.
fn random<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Zeroizing<String>, E> {
    let mut password = Zeroizing::new(String::with_capacity(LEN));
    let mut bytes = Zeroizing::new([0; 2 * LEN]);
    while password.len() < LEN {
        fill(&mut *bytes)?;
        let fair = |byte: &&u8| usize::from(**byte) < 256 / ALPHABET.len() * ALPHABET.len();
        let left = LEN - password.len();
        for byte in bytes.iter().filter(fair).take(left) {
            password.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
        }
    }
    Ok(password)
}

/// Asks for a password two times, by prompt; `None` stands for the end of the input.
fn twice(
    mut ask: impl FnMut(&str) -> io::Result<Option<String>>,
) -> Result<Zeroizing<String>, Error> {
    let mut ask = |prompt: &str| {
        let answer = ask(prompt).map_err(Error::Read)?.ok_or(Error::Ended)?;
        Ok::<_, Error>(Zeroizing::new(answer))
    };
    let first = ask("Enter Password: ")?;
    let second = ask("Reenter Password: ")?;
    if first != second {
        return Err(Error::Mismatch);
    }
    if first.is_empty() {
        return Err(Error::Empty);
    }
    Ok(first)
}

/// The next line without its end.
fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Zeroizing::new(String::new());
    if input.take(LINE_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(Some(text.to_owned()))
}

/// The hash in the form that every version of the reference accepts.
fn hash(password: &str, cost: u32) -> Result<String, Error> {
    if password.len() > PASSWORD_MAX {
        return Err(Error::TooLong(password.len()));
    }
    let parts = bcrypt::hash_with_result(password, cost).map_err(Error::Hash)?;
    Ok(parts.format_for_version(Version::TwoA))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../man/mkpasswd.1");

    fn task(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_a_task() {
        for (line, expected) in [
            ("", Task::Random { cost: 11 }),
            ("-c 4", Task::Random { cost: 4 }),
            ("--cost=31", Task::Random { cost: 31 }),
            ("-p", Task::Typed { cost: 11 }),
            ("-p -c=5", Task::Typed { cost: 5 }),
            ("-p --help", Task::Help),
            ("-h -v", Task::Help),
            ("--version", Task::Version),
        ] {
            assert_eq!(task(line), Ok(expected), "{line}");
        }
        for (line, text) in [
            ("-c 3", "mkpasswd: cost 3 must be between 4 and 31"),
            ("-c 32", "mkpasswd: cost 32 must be between 4 and 31"),
            ("-p secret", "mkpasswd: unexpected argument \"secret\""),
            ("--bogus", "mkpasswd: unexpected argument \"--bogus\""),
            ("-p -p", "mkpasswd: unexpected argument \"-p\""),
        ] {
            assert_eq!(task(line), Err(text.into()), "{line}");
        }
        for line in ["-c", "-c x", "-c -1", "-c="] {
            let text = task(line).unwrap_err();
            assert!(text.starts_with("mkpasswd: "), "{line}: {text}");
        }
    }

    #[test]
    fn random_passwords_are_made_of_fair_bytes() {
        // 72, 144 and 0 give the same character; from 216 on bytes are passed over.
        let mut pieces = [
            [vec![0, 215, 216, 255], vec![216; 2 * LEN - 4]].concat(),
            [vec![72, 25, 26], vec![61; 2 * LEN - 3]].concat(),
        ]
        .into_iter();
        let fill = |bytes: &mut [u8]| {
            bytes.copy_from_slice(&pieces.next().ok_or("more was drawn")?);
            Ok::<_, &str>(())
        };
        let password = random(fill).unwrap();
        assert_eq!(*password, format!("a)azA{}", "9".repeat(LEN - 5)));
        assert_eq!(random(|_| Err("none")), Err("none"));
    }

    #[test]
    fn random_passwords_differ() {
        let draw = || random(getrandom::fill).unwrap();
        let (one, other) = (draw(), draw());
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (22, 22));
        let mut characters = ALPHABET.to_vec();
        characters.sort_unstable();
        characters.dedup();
        assert_eq!(characters.len(), ALPHABET.len());
    }

    #[test]
    fn hashes_are_verified_and_have_the_old_prefix() {
        for password in ["S3Cr3T0k3n!", &"x".repeat(72), "\u{e9}\0x"] {
            let hash = hash(password, 4).unwrap();
            assert!(hash.starts_with("$2a$04$"), "{hash}");
            assert!(bcrypt::verify(password, &hash).unwrap());
            let other = password.chars().skip(1).collect::<String>();
            assert!(!bcrypt::verify(other, &hash).unwrap());
        }
        // A hash that the reference's documentation shows.
        let documented = "$2a$11$3kIDaCxw.Glsl1.u5nKa6eUnNDLV5HV9tIuUp7EHhMt6Nm9myW1aS";
        assert!(bcrypt::verify("#IclkRPHUpsTmACWzmIGXr", documented).unwrap());
    }

    #[test]
    fn passwords_that_would_be_cut_are_refused() {
        let error = hash(&"\u{e9}".repeat(37), 4).unwrap_err().to_string();
        assert_eq!(
            error,
            "Error, the password has 74 bytes; bcrypt ignores all beyond 72"
        );
    }

    #[test]
    fn two_lines_must_agree() {
        let typed = |text: &str| {
            let mut input = text.as_bytes();
            twice(|_| line(&mut input)).map_err(|error| error.to_string())
        };
        for text in ["a b \na b \n", "a b \r\na b ", "a b \na b \nmore\n"] {
            assert_eq!(typed(text).as_deref().map(|p| &**p), Ok("a b "), "{text:?}");
        }
        let ended = "Error reading password: two lines are needed";
        for (text, error) in [
            ("", ended),
            ("a", ended),
            ("a\n", ended),
            ("a\nb\n", "Error, passwords do not match"),
            ("a\na \n", "Error, passwords do not match"),
            ("\n\n", "Error, the password is empty"),
        ] {
            assert_eq!(typed(text), Err(error.into()), "{text:?}");
        }
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let long = twice(|_| line(&mut endless)).unwrap();
        assert!(matches!(hash(&long, 4), Err(Error::TooLong(4096))));
        let mut odd = &b"\xff\n\xff\n"[..];
        assert!(matches!(twice(|_| line(&mut odd)), Err(Error::Read(_))));
    }

    #[test]
    fn prompts_are_the_familiar_ones() {
        let mut prompts = Vec::new();
        let answer = |prompt: &str| {
            prompts.push(prompt.to_owned());
            Ok(Some("x".into()))
        };
        twice(answer).unwrap();
        assert_eq!(prompts, ["Enter Password: ", "Reenter Password: "]);
    }

    #[test]
    fn help_and_manual_page_name_every_option() {
        for (help, page) in [
            ("-p ", ".It Fl p\n"),
            ("-c, --cost <cost>", ".It Fl c Ar cost , Fl -cost Ar cost\n"),
            ("-h, --help", ".It Fl h , Fl -help\n"),
            ("-v, --version", ".It Fl v , Fl -version\n"),
        ] {
            assert!(HELP.contains(help), "{help}");
            assert!(PAGE.contains(page), "{page}");
        }
        for fact in [COST_DEFAULT, COST_MIN, COST_MAX] {
            assert!(PAGE.contains(&fact.to_string()) && HELP.contains(&fact.to_string()));
        }
        assert!(PAGE.contains(&PASSWORD_MAX.to_string()) && PAGE.contains(&LEN.to_string()));
    }
}
