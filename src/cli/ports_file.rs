//! The file that tells scripts under which addresses the running server can be reached.

use std::env;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::text::PlainError;

/// The URLs of everything that listens. What does not listen is left out of the file.
#[derive(Serialize, Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ports {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) nats: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) monitoring: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cluster: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) profile: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) websocket: Vec<String>,
}

/// The URLs under which a listening address can be reached. An unspecified one (0.0.0.0 or ::)
/// stands for those of the machine's `interfaces` that it covers, or for itself if there are none.
pub(super) fn urls(scheme: &str, listening: SocketAddr, interfaces: &[IpAddr]) -> Vec<String> {
    let url =
        |address: IpAddr| format!("{scheme}://{}", SocketAddr::new(address, listening.port()));
    let any = listening.ip();
    if !any.is_unspecified() {
        return vec![url(any)];
    }
    // A socket on :: takes connections over IPv4 too.
    let covered = interfaces.iter().filter(|a| any.is_ipv6() || a.is_ipv4());
    let urls = covered.copied().map(url).collect::<Vec<_>>();
    if urls.is_empty() {
        vec![url(any)]
    } else {
        urls
    }
}

/// A written file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct PortsFile {
    path: PathBuf,
    text: Vec<u8>,
}

/// The file could not be written.
#[derive(Debug)]
pub(super) struct PortsFileError {
    path: PathBuf,
    /// What was being done to which file.
    step: (&'static str, PathBuf),
    source: io::Error,
}

impl Display for PortsFileError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (step, at) = (self.step.0, self.step.1.display());
        let (path, reason) = (self.path.display(), PlainError(&self.source));
        write!(
            f,
            "Error writing ports file ({path}): {step} {at}: {reason}"
        )
    }
}

impl std::error::Error for PortsFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl PortsFile {
    /// Writes the file `PROGRAM_PID.ports` in the directory `dir`: one line of JSON without a
    /// newline. It is there whole or not at all.
    pub(super) fn write(dir: &Path, ports: &Ports) -> Result<PortsFile, PortsFileError> {
        let name = format!("{}_{}.ports", program(), std::process::id());
        let path = dir.join(&name);
        let text = serde_json::to_vec(ports).expect("lists of texts always serialize");
        let draft = dir.join(format!(".{name}.new"));
        let failed = |step, at: &Path, source| PortsFileError {
            path: path.clone(),
            step: (step, at.into()),
            source,
        };
        write_new(&draft, &text).map_err(|(step, error)| failed(step, &draft, error))?;
        if let Err(error) = fs::rename(&draft, &path) {
            let _ = fs::remove_file(&draft);
            return Err(failed("rename", &path, error));
        }
        Ok(PortsFile { path, text })
    }
}

impl Drop for PortsFile {
    /// Removes the file, unless another process has put its own there meanwhile: in containers
    /// that share a directory process ids are not unique.
    fn drop(&mut self) {
        if fs::read(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The file name that this program was started by.
fn program() -> String {
    let started = env::args_os().next().map(PathBuf::from);
    let name = started.as_deref().and_then(Path::file_name);
    name.map_or("nats-server".into(), |name| {
        name.to_string_lossy().into_owned()
    })
}

/// Makes a file with this content, and removes it if it cannot be completed. One that is left from
/// before is replaced, never written through: it may be a link to somewhere else. An error comes
/// with what failed.
fn write_new(path: &Path, content: &[u8]) -> Result<(), (&'static str, io::Error)> {
    let _ = fs::remove_file(path);
    let mut new = OpenOptions::new();
    let opened = new.write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| ("open", error))?;
    file.write_all(content).map_err(|error| {
        let _ = fs::remove_file(path);
        ("write", error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty directory that no other test uses.
    fn dir(name: &str) -> PathBuf {
        let dir = env::temp_dir().join(format!("nats-ports-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(name)
            .map(|name| name.into_string().unwrap())
            .collect()
    }

    fn ports() -> Ports {
        Ports {
            nats: vec!["nats://127.0.0.1:4222".into()],
            ..Ports::default()
        }
    }

    #[test]
    fn the_file_lists_what_listens_and_goes_away() {
        let dir = dir("own");
        let file = PortsFile::write(&dir, &ports()).unwrap();
        let own = env::args_os().next().map(PathBuf::from).unwrap();
        let own = own.file_name().unwrap().to_str().unwrap();
        let name = format!("{own}_{}.ports", std::process::id());
        assert_eq!(names(&dir), [&*name]);
        assert_eq!(
            fs::read_to_string(dir.join(name)).unwrap(),
            "{\"nats\":[\"nats://127.0.0.1:4222\"]}"
        );
        drop(file);
        assert_eq!(names(&dir), [""; 0]);
        fs::remove_dir(dir).unwrap();
    }

    #[test]
    fn keys_are_in_the_references_order() {
        let one = |url: &str| vec![url.to_owned()];
        let ports = Ports {
            nats: one("a"),
            monitoring: one("b"),
            cluster: one("c"),
            profile: one("d"),
            websocket: vec!["e".into(), "f".into()],
        };
        assert_eq!(
            serde_json::to_string(&ports).unwrap(),
            "{\"nats\":[\"a\"],\"monitoring\":[\"b\"],\"cluster\":[\"c\"],\"profile\":[\"d\"],\
             \"websocket\":[\"e\",\"f\"]}"
        );
        assert_eq!(serde_json::to_string(&Ports::default()).unwrap(), "{}");
    }

    #[test]
    fn another_servers_file_stays() {
        let dir = dir("other");
        let file = PortsFile::write(&dir, &ports()).unwrap();
        let path = file.path.clone();
        fs::write(&path, "{}").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_an_earlier_process_left_is_replaced() {
        let dir = dir("left");
        let path = PortsFile::write(&dir, &ports()).unwrap().path.clone();
        let draft = dir.join(format!(
            ".{}.new",
            path.file_name().unwrap().to_str().unwrap()
        ));
        fs::write(&path, "old").unwrap();
        fs::write(&draft, "older and longer than what is written now, by far").unwrap();
        let file = PortsFile::write(&dir, &ports()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), file.text);
        assert!(!draft.exists());
        drop(file);
        fs::remove_dir(dir).unwrap();
    }

    #[test]
    fn failure_reads_as_in_the_reference() {
        let error = PortsFile::write(Path::new("/nonexistent"), &ports()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("Error writing ports file (/nonexistent/"),
            "{text}"
        );
        assert!(text.contains("): open /nonexistent/"), "{text}");
        assert!(!text.contains("os error"), "{text}");
    }

    #[test]
    fn addresses_become_urls() {
        let interfaces: Vec<IpAddr> = ["127.0.0.1", "10.0.0.7", "::1", "fe80::1"]
            .map(|address| address.parse().unwrap())
            .into();
        let listed = |listening: &str, interfaces: &[IpAddr]| {
            urls("nats", listening.parse().unwrap(), interfaces)
        };
        assert_eq!(listed("10.0.0.7:1", &interfaces), ["nats://10.0.0.7:1"]);
        assert_eq!(listed("[::1]:1", &interfaces), ["nats://[::1]:1"]);
        assert_eq!(
            listed("0.0.0.0:4222", &interfaces),
            ["nats://127.0.0.1:4222", "nats://10.0.0.7:4222"]
        );
        let all = listed("[::]:4222", &interfaces);
        assert_eq!((all.len(), &*all[3]), (4, "nats://[fe80::1]:4222"));
        assert_eq!(listed("0.0.0.0:1", &[]), ["nats://0.0.0.0:1"]);
        assert_eq!(listed("0.0.0.0:1", &interfaces[2..]), ["nats://0.0.0.0:1"]);
    }
}
