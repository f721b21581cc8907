use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Code, Error, Result};
use crate::watch::Watch;

/// A bar with rate and ETA on standard error when it is a terminal; hears SIGINT and SIGTERM.
pub(super) struct Progress {
    bar: Mutex<ProgressBar>,
    signal: Arc<AtomicUsize>,
}

impl Progress {
    /// Starts listening. A second signal stops at once.
    pub fn new() -> Progress {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM] {
            let again = Arc::new(AtomicBool::new(false));
            // Registration fails only for signals that cannot be caught; these can.
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&again)).ok();
            signal_hook::flag::register(number, again).ok();
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize).ok();
        }
        Progress { bar: Mutex::new(ProgressBar::hidden()), signal }
    }

    fn bar(&self) -> ProgressBar {
        self.bar.lock().map(|bar| bar.clone()).unwrap_or_else(|_| ProgressBar::hidden())
    }
}

/// Units per second, with a decimal only where there are few.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let per_second = state.per_sec();
    let decimals = usize::from(per_second < 10.0);
    // A bar that cannot be written is no reason to stop.
    write!(out, "{per_second:.decimals$}").ok();
}

impl Watch for Progress {
    fn begin(&self, stage: &str, unit: &str, total: u64) {
        super::log::begin(stage, unit, total);
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{msg:28} {bar:30} {human_pos}/{human_len} ".to_owned() + unit + " ({rate}/s, {eta} left)";
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
        }
        bar.set_message(crate::visible::visible(stage).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Ok(mut slot) = self.bar.lock() {
            *slot = bar;
        }
    }

    fn advance(&self, units: u64) {
        self.bar().inc(units);
    }

    fn end(&self) {
        super::log::end();
        self.bar().finish_and_clear();
    }

    fn tell(&self, text: &str) {
        self.bar().suspend(|| super::messages::note(text));
    }

    fn check(&self) -> Result<()> {
        match self.signal.load(Ordering::Relaxed) as i32 {
            SIGINT => Err(Error::new(Code::Ix01, "brainscore", "interrupted").hint("Nothing was written")),
            SIGTERM => Err(Error::new(Code::Ix02, "brainscore", "terminated").hint("Nothing was written")),
            _ => Ok(()),
        }
    }
}
