//! Sockets that were opened for the server before it started, by the service manager.

use crate::os::supervisor::Inherited;
use std::net::TcpListener;

/// The names of the socket for monitoring.
const MONITOR: [&str; 3] = ["monitor", "http", "https"];

/// What the server listens on instead of what its options say.
#[derive(Debug, Default)]
pub struct Sockets {
    pub(super) client: Option<TcpListener>,
    pub(super) monitor: Option<TcpListener>,
}

impl Sockets {
    /// Tells by their names what sockets are for: one called `monitor`, `http` or `https` is for
    /// monitoring, another one for clients.
    ///
    /// # Errors
    /// A text, if there are two for the same.
    pub fn sort(inherited: Vec<Inherited>) -> Result<Sockets, String> {
        let mut sockets = Sockets::default();
        for Inherited { name, listener } in inherited {
            let (place, what) = match MONITOR.contains(&name.as_str()) {
                true => (&mut sockets.monitor, "monitoring"),
                false => (&mut sockets.client, "clients"),
            };
            if place.replace(listener).is_some() {
                return Err(format!(
                    "socket \"{name}\" of the service manager: there is another one for {what}"
                ));
            }
        }
        Ok(sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(name: &str) -> Inherited {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = name.into();
        Inherited { name, listener }
    }

    #[test]
    fn sockets_are_told_apart_by_their_names() {
        let all = vec![inherited("monitor"), inherited("nats-server.socket")];
        let ports = all.iter().map(|one| one.listener.local_addr().unwrap());
        let ports = ports.collect::<Vec<_>>();
        let sockets = Sockets::sort(all).unwrap();
        assert_eq!(sockets.monitor.unwrap().local_addr().unwrap(), ports[0]);
        assert_eq!(sockets.client.unwrap().local_addr().unwrap(), ports[1]);
        let none = Sockets::sort(vec![]).unwrap();
        assert!(none.client.is_none() && none.monitor.is_none());
    }

    #[test]
    fn two_for_the_same_are_a_fault() {
        let error = Sockets::sort(vec![inherited("a"), inherited("b")]).unwrap_err();
        let text = "socket \"b\" of the service manager: there is another one for clients";
        assert_eq!(error, text);
    }
}
