//! What every other layer may use: time, identifiers, text forms, arenas, random numbers, limits.

pub mod address;
pub mod calendar;
pub mod clock;
pub mod duration;
pub mod hash;
pub mod limits;
pub mod pages;
pub mod prefetch;
pub mod rng;
pub mod secret;
pub mod text;
