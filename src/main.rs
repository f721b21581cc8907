//! `brainscore`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    brainscore::cli::main()
}
