//! From a subject to those who get the message: the immutable [`route::Route`] that a subject
//! resolves to, where it leads in other accounts, and each loop's cache of routes.

pub mod beyond;
pub mod cache;
mod families;
pub mod route;
