//! All integration tests, in one binary: every further one would link the whole program again.

mod architecture;
mod bad;
mod cli;
mod deps;
mod golden;
mod ridge;
mod support;
mod tolerance;
