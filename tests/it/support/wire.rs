//! A client for tests in which the server may end at any time: nothing here is a failure.

use super::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A message that came.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub subject: String,
    pub reply: String,
    /// Headers as text, with the line of the status.
    pub headers: String,
    pub payload: Vec<u8>,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }
}

/// A connection that is subscribed to `in.>`.
pub struct Wire {
    write: TcpStream,
    read: BufReader<TcpStream>,
}

impl Wire {
    pub fn connect(addr: SocketAddr) -> Wire {
        let write = TcpStream::connect(addr).expect("the server listens");
        write.set_nodelay(true).unwrap();
        write.set_read_timeout(Some(PATIENCE)).unwrap();
        let read = BufReader::new(write.try_clone().unwrap());
        let mut wire = Wire { write, read };
        wire.say("CONNECT {\"headers\":true,\"no_responders\":true}\r\nSUB in.> 1\r\n");
        wire
    }

    /// Says something; whether it could be said.
    pub fn say(&mut self, text: &str) -> bool {
        self.write.write_all(text.as_bytes()).is_ok()
    }

    pub fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        body: &(impl AsRef<[u8]> + ?Sized),
    ) -> bool {
        let body = body.as_ref();
        let head = format!("PUB {subject} {reply} {}\r\n", body.len());
        let all = [head.as_bytes(), body, b"\r\n"].concat();
        self.write.write_all(&all).is_ok()
    }

    /// The next message; `None` if the connection is at its end.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (with_headers, rest) = match fields.split_first()? {
                (&"MSG", rest) => (false, rest),
                (&"HMSG", rest) => (true, rest),
                (&"PING", _) => {
                    self.say("PONG\r\n");
                    continue;
                }
                (&"-ERR", _) => panic!("{line}"),
                _ => continue,
            };
            let sizes = 1 + usize::from(with_headers);
            let size = |at: usize| rest[rest.len() - at].parse::<usize>().unwrap();
            let mut bytes = vec![0; size(1) + 2];
            self.read.read_exact(&mut bytes).ok()?;
            bytes.truncate(size(1));
            let payload = bytes.split_off(if with_headers { size(2) } else { 0 });
            return Some(Message {
                subject: rest[0].into(),
                reply: rest
                    .get(2)
                    .filter(|_| rest.len() - sizes > 2)
                    .unwrap_or(&"")
                    .to_string(),
                headers: String::from_utf8(bytes).unwrap(),
                payload,
            });
        }
    }

    /// Asks for something and waits for the answer; others are dropped.
    pub fn ask(&mut self, subject: &str, body: &(impl AsRef<[u8]> + ?Sized)) -> Message {
        assert!(self.publish(subject, "in.ask", body));
        loop {
            let message = self.next().expect("the server runs");
            if message.subject == "in.ask" {
                return message;
            }
        }
    }

    /// The same with a request of the API that is granted.
    pub fn api(&mut self, subject: &str, body: &str) -> Value {
        let answer = self.ask(&format!("$JS.API.{subject}"), body).json();
        assert!(answer.is_object() && answer["error"].is_null(), "{answer}");
        answer
    }
}
