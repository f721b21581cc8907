//! The command line: the only place that prints.

mod args;
mod atlas;
mod audit;
mod commands;
mod doctor;
mod examples;
mod log;
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
    if let Some(path) = &args.log
        && let Err(error) = log::open(path)
    {
        messages::problems(&error.into());
        return ExitCode::from(Status::Environment.exit_code());
    }
    let status = guarded(|| commands::run(args).or_else(messages::report_unsaid));
    log::close(status);
    ExitCode::from(status)
}

/// The exit status of a command. A panic is a defect, 70: unwinding removes what was staged, and the hook has told the user.
fn guarded(run: impl FnOnce() -> Option<Status>) -> u8 {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(status) => status.map_or(0, Status::exit_code),
        Err(_) => Status::Bug.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_a_status_of_its_own() {
        assert_eq!([guarded(|| None), guarded(|| Some(Status::Input))], [0, 3]);
        assert_eq!(guarded(|| panic!("trap")), 70);
    }
}
