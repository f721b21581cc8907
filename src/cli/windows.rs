use std::path::PathBuf;

use clap::ValueHint;
use serde_json::{Value, json};

use super::commands::warnings;
use super::messages::say;
use crate::bold::{Event, EventColumns, Sample, Sampling, Window};
use crate::error::Problems;
use crate::io::file_name;
use crate::pipeline::{self, RunWindows, WindowsFound, WindowsSpec};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore windows sub-03_task-dis_run-01_events.tsv --tr 2 --volumes 166 --segments 6,4,4,4 --window last
      For each trial the volumes that stand for it, and the seconds they lie at.
  brainscore windows ds000212 --tr 2
      Every *_events.tsv below a folder: counts per task, odd onsets, missing keys, runs that resemble each other.

Volume k lies from k·TR to (k+1)·TR. With onset o, end of the text e and lag L: last = the volume nearest to e + L;
avg = the mean over [o + L, e + L]; middle = nearest to (o + e) / 2 + L; segments = nearest to each segment's end + L;
beta = a single-trial estimate; seed-last and seed-sentences = windows without a lag, for comparison only.";

#[derive(Debug, clap::Args)]
pub(super) struct WindowsArgs {
    /// Events files, or folders with *_events.tsv below them.
    #[arg(value_name = "EVENTS", required = true, value_hint = ValueHint::AnyPath)]
    pub events: Vec<PathBuf>,
    /// Seconds between volumes.
    #[arg(long, value_name = "S")]
    pub tr: f64,
    /// Number of volumes of the run: trials whose window it does not hold are named.
    #[arg(long, value_name = "N")]
    pub volumes: Option<usize>,
    /// Seconds from what is read to its response.
    #[arg(long, value_name = "S", default_value_t = 6.0, allow_negative_numbers = true)]
    pub lag: f64,
    /// Which volumes: last, avg, middle, segments, beta, seed-last, seed-sentences.
    #[arg(long, default_value = "last")]
    pub window: Window,
    /// How long each segment of the text is shown, in seconds [default: one segment as long as the event].
    #[arg(long, value_name = "S,S,…", value_delimiter = ',')]
    pub segments: Vec<f64>,
    /// Column of button presses [default: key, where there is one].
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// What stands in that column when no button was pressed.
    #[arg(long, value_name = "TEXT,…", value_delimiter = ',', default_value = "0")]
    pub no_key: Vec<String>,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(super) fn run(args: &WindowsArgs) -> Result<(), Problems> {
    let spec = WindowsSpec {
        events: args.events.clone(),
        columns: EventColumns { key: args.key.clone(), no_key: args.no_key.clone(), ..EventColumns::usual() },
        repetition_time: args.tr,
        volumes: args.volumes,
        sampling: Sampling { window: args.window, lag: args.lag, segments: args.segments.clone() },
    };
    let found = pipeline::windows(&spec)?;
    warnings(&found.warnings);
    if args.json {
        say(&as_json(&spec, &found).to_string());
    } else if let [run] = &found.runs[..] {
        trials(&spec, run);
        say(&counts(&found));
    } else {
        for run in &found.runs {
            let lost = if run.lost.is_empty() { String::new() } else { format!(", {} lost", run.lost.len()) };
            say(&format!("{}: {} trials{lost}", file_name(&run.events.path), run.events.list.len()));
        }
        say(&counts(&found));
    }
    Ok(())
}

/// One line per sample of a trial.
fn trials(spec: &WindowsSpec, run: &RunWindows) {
    let header = ["trial", "onset", "lasts", "item", "condition", "key", "volumes", "seconds"];
    let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
    for (i, (event, samples)) in run.events.list.iter().zip(&run.samples).enumerate() {
        for sample in samples {
            let lost = if run.lost.contains(&i) { " (lost)" } else { "" };
            let text = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
            rows.push(vec![
                (i + 1).to_string(),
                event.onset.to_string(),
                event.duration.to_string(),
                text(&event.item),
                text(&event.condition),
                text(&event.key),
                span(sample),
                format!("{}{lost}", seconds(spec, sample)),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say(cells.join("  ").trim_end());
    }
}

/// `18`, or `9-17`: the volumes of a sample follow each other.
fn span(sample: &Sample) -> String {
    match sample.volumes[..] {
        [] => String::new(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
    }
}

fn edges(spec: &WindowsSpec, sample: &Sample) -> (f64, f64) {
    let first = sample.volumes.first().copied().unwrap_or_default() as f64;
    let last = sample.volumes.last().copied().unwrap_or_default() as f64;
    (first * spec.repetition_time, (last + 1.0) * spec.repetition_time)
}

fn seconds(spec: &WindowsSpec, sample: &Sample) -> String {
    let (from, to) = edges(spec, sample);
    format!("{from:.3} to {to:.3}").replace(".000", "")
}

fn counts(found: &WindowsFound) -> String {
    let one = |(task, c): (&String, &pipeline::TaskCounts)| {
        let mut line = format!("{}: {} files, {} trials", if task.is_empty() { "-" } else { task }, c.files, c.trials);
        for (n, what) in [
            (c.bracketed_onsets, "onsets written as volumes"),
            (c.without_key, "trials without a key"),
            (c.lost, "trials lost"),
        ] {
            if n > 0 {
                line += &format!(", {n} {what}");
            }
        }
        line
    };
    found.tasks.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn as_json(spec: &WindowsSpec, found: &WindowsFound) -> Value {
    let sample = |s: &Sample| {
        let (from, to) = edges(spec, s);
        json!({"volumes": s.volumes, "from": from, "to": to})
    };
    let event = |run: &RunWindows, i: usize, e: &Event| {
        json!({
            "trial": i + 1, "onset": e.onset, "duration": e.duration, "item": e.item, "condition": e.condition,
            "key": e.key, "bracketed": e.bracketed, "lost": run.lost.contains(&i),
            "samples": run.samples[i].iter().map(sample).collect::<Vec<_>>(),
        })
    };
    let files: Vec<Value> = found
        .runs
        .iter()
        .map(|run| {
            let trials: Vec<Value> = run.events.list.iter().enumerate().map(|(i, e)| event(run, i, e)).collect();
            let lost: Vec<usize> = run.lost.iter().map(|i| i + 1).collect();
            json!({
                "file": run.events.path.display().to_string(), "run": run.entities.label(), "task": run.entities.task,
                "trials": trials, "lost": lost,
            })
        })
        .collect();
    let twins: Vec<Value> = found
        .twins
        .iter()
        .map(|t| {
            let label = |i: usize| found.runs[i].entities.label();
            json!({"runs": [label(t.runs.0), label(t.runs.1)], "identical": t.identical})
        })
        .collect();
    json!({
        "tr": spec.repetition_time, "volumes": spec.volumes, "lag": spec.sampling.lag,
        "window": spec.sampling.window, "segments": spec.sampling.segments,
        "files": files, "tasks": found.tasks, "twins": twins, "warnings": found.warnings,
    })
}
