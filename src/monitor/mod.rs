//! What an operator sees of the server over HTTP.

pub mod dashboard;
