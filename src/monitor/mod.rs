//! What the server shows of itself over HTTP, without sockets: requests and how they are read, and
//! responses and how they are written. What is served is up to a [`http::Handler`].

pub mod body;
pub mod head;
pub mod http;
pub mod path;
pub mod pprof;
