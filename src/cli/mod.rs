//! The command line: the only place that prints.

mod args;
mod atlas;
mod audit;
mod commands;
mod doctor;
mod maps;
mod messages;
mod neurosynth;
mod parcellate;
mod progress;
mod resample;
mod rois;
mod selftest;
mod shards;
mod slurm;
mod windows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

use crate::error::Status;

/// Runs the program on the process's arguments. Exit codes: 0 ok, 1 some units failed, 2 usage, 3 input refused,
/// 4 environment, 5 device, 70 a defect of the program, 130 and 143 interrupted.
pub fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Help and version are no errors; printing to a closed pipe is none of ours.
            e.print().ok();
            return ExitCode::from(if e.use_stderr() { Status::Usage.exit_code() } else { 0 });
        }
    };
    messages::report_panics();
    // Unwinding removes what was staged; the hook has told the user by then.
    match catch_unwind(AssertUnwindSafe(|| commands::run(args))) {
        Ok(status) => ExitCode::from(status.map_or(0, Status::exit_code)),
        Err(_) => ExitCode::from(Status::Bug.exit_code()),
    }
}
