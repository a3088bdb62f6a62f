//! From a subject to those who get the message: the immutable [`route::Route`] that a subject
//! resolves to, and each loop's cache of routes.

pub mod cache;
pub mod route;
