//! All integration tests, in one binary: every further one would link the whole program again.

mod architecture;
mod deps;
mod ridge;
mod support;
mod tolerance;
