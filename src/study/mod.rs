//! A study as the user writes it.

pub mod demo;
