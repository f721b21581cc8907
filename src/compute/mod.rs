//! Where arithmetic runs. The only module with `unsafe` code: calls into BLAS and LAPACK, each behind a safe function
//! that checks shapes.

pub mod cpu;
