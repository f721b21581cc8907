use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// Rounding below which two times count as the same.
const SAME: f64 = 1e-9;
/// Length of the canonical response (s): as long does a trial show in the data.
const RESPONSE: f64 = 32.0;
/// Places within a trial's own volumes that the predecessor took for its four texts.
const SEED_SENTENCES: [i64; 4] = [3, 2, 2, -3];
/// The place that it took for the whole text.
const SEED_LAST: [i64; 1] = [-3];

/// Which volumes stand for a trial. With onset o, end of the text e, lag L:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// The volume nearest to e + L.
    Last,
    /// The mean over the volumes whose middles lie in [o + L, e + L].
    Avg,
    /// The volume nearest to (o + e) / 2 + L.
    Middle,
    /// For each segment the volume nearest to its end + L: one sample per segment.
    Segments,
    /// A single-trial estimate, least squares separate.
    Beta,
    /// What the predecessor took: the third volume from the end of the trial, no lag. For comparison only.
    SeedLast,
    /// What the predecessor took for four texts: volumes 3, 2, 2 and −3 of the trial. For comparison only.
    SeedSentences,
}

impl Window {
    /// All, with their names.
    pub const ALL: [(Window, &'static str); 7] = [
        (Window::Last, "last"),
        (Window::Avg, "avg"),
        (Window::Middle, "middle"),
        (Window::Segments, "segments"),
        (Window::Beta, "beta"),
        (Window::SeedLast, "seed-last"),
        (Window::SeedSentences, "seed-sentences"),
    ];

    /// Whether a trial gives one sample per segment of its text.
    pub fn is_per_segment(self) -> bool {
        matches!(self, Window::Segments | Window::SeedSentences)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Window::ALL.iter().find(|(w, _)| w == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl std::str::FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Window, String> {
        Window::ALL.iter().find(|(_, name)| *name == text).map(|(w, _)| *w).ok_or_else(|| {
            let names: Vec<&str> = Window::ALL.iter().map(|(_, name)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// How trials are sampled. The first volume begins at 0 s, volume k at k · TR, its middle lies half a TR later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Which volumes.
    pub window: Window,
    /// Seconds from what is read to its response.
    pub lag: f64,
    /// How long each segment of the text is shown (s), one after the other from the onset; empty: the text lasts as long
    /// as the event.
    pub segments: Vec<f64>,
}

/// The volumes of one sample; more than one are averaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Volumes, ascending, from 0; they may lie outside the run.
    pub volumes: Vec<i64>,
}

impl Sample {
    /// Whether the run of `volumes` volumes holds all of them.
    pub fn lies_within(&self, volumes: usize) -> bool {
        self.volumes.iter().all(|v| usize::try_from(*v).is_ok_and(|v| v < volumes))
    }
}

impl Sampling {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// `FL-02` for a lag or segments that are not finite, and for `segments` without segments.
    pub fn check(&self, place: &str) -> Result<()> {
        let fail = |found: String| Error::new(Code::Fl02, place, found);
        if !self.lag.is_finite() {
            return Err(fail(format!("lag is {}", self.lag)).expected("seconds"));
        }
        if let Some(bad) = self.segments.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(fail(format!("a segment lasts {bad} s")).expected("seconds, above 0"));
        }
        if self.window == Window::Segments && self.segments.is_empty() {
            return Err(fail("window segments without segments".to_owned())
                .expected("how long each segment is shown, such as 6,4,4,4"));
        }
        if self.window == Window::SeedSentences && ![0, SEED_SENTENCES.len()].contains(&self.segments.len()) {
            return Err(fail(format!("window seed-sentences with {} segments", self.segments.len())).expected("four"));
        }
        Ok(())
    }

    /// When the text ends.
    pub fn text_end(&self, onset: f64, duration: f64) -> f64 {
        if self.segments.is_empty() { onset + duration } else { onset + self.segments.iter().sum::<f64>() }
    }

    /// The samples of a trial: one, or one per segment.
    pub fn samples(&self, onset: f64, duration: f64, repetition_time: f64) -> Vec<Sample> {
        let end = self.text_end(onset, duration);
        let nearest = |seconds: f64| Sample { volumes: vec![nearest(seconds + self.lag, repetition_time)] };
        match self.window {
            Window::Last => vec![nearest(end)],
            Window::Middle => vec![nearest((onset + end) / 2.0)],
            Window::Segments => {
                let mut at = onset;
                let ends = self.segments.iter().map(|length| {
                    at += length;
                    at
                });
                ends.map(nearest).collect()
            }
            Window::Avg => {
                let (from, to) = (onset + self.lag, end + self.lag);
                let first = (from / repetition_time - 0.5 - SAME).ceil() as i64;
                let last = (to / repetition_time - 0.5 + SAME).floor() as i64;
                // A text shorter than a volume may hold no middle: then the volume nearest to its own.
                if first > last { vec![nearest((onset + end) / 2.0)] } else { vec![between(first, last)] }
            }
            Window::Beta => {
                let first = (onset / repetition_time + SAME).floor() as i64 + 1;
                let last = ((onset + duration + RESPONSE) / repetition_time).floor() as i64;
                vec![between(first, last.max(first))]
            }
            Window::SeedLast => seed(onset, duration, repetition_time, &SEED_LAST),
            Window::SeedSentences => seed(onset, duration, repetition_time, &SEED_SENTENCES),
        }
    }

    /// Whether a trial can be sampled in a run of so many volumes. An estimate needs the text's response to be there.
    pub fn is_within(&self, onset: f64, duration: f64, repetition_time: f64, volumes: usize) -> bool {
        if self.window == Window::Beta {
            let at = nearest(self.text_end(onset, duration) + self.lag, repetition_time);
            return onset >= 0.0 && at < volumes as i64;
        }
        self.samples(onset, duration, repetition_time).iter().all(|s| s.lies_within(volumes))
    }
}

fn between(first: i64, last: i64) -> Sample {
    Sample { volumes: (first..=last).collect() }
}

/// The volume whose middle is nearest to a time: the one during which it lies. A time on the border of two volumes is as
/// near to either, and goes to the one that begins then.
fn nearest(seconds: f64, repetition_time: f64) -> i64 {
    (seconds / repetition_time + SAME).floor() as i64
}

/// Places within the volumes ⌊o / TR⌋ … ⌊(o + d) / TR⌋ − 1, negative ones from their end.
fn seed(onset: f64, duration: f64, repetition_time: f64, places: &[i64]) -> Vec<Sample> {
    let first = (onset / repetition_time + SAME).floor() as i64;
    let end = ((onset + duration) / repetition_time + SAME).floor() as i64;
    let at = |place: &i64| Sample { volumes: vec![if *place < 0 { end + place } else { first + place }] };
    places.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(window: Window, lag: f64, segments: &[f64], trial: (f64, f64), tr: f64) -> Vec<Vec<i64>> {
        let sampling = Sampling { window, lag, segments: segments.to_vec() };
        sampling.samples(trial.0, trial.1, tr).into_iter().map(|s| s.volumes).collect()
    }

    /// A trial of the moral judgement study: text from 12 to 30 s (6 + 4 + 4 + 4), judgement until 34 s.
    #[test]
    fn windows_lie_where_they_should() {
        let of = |window| volumes(window, 6.0, &[6.0, 4.0, 4.0, 4.0], (12.0, 22.0), 2.0);
        // 30 + 6 = 36 s, where volume 18 begins.
        assert_eq!(of(Window::Last), [[18]]);
        // Middles 19, 21, … 35 s.
        assert_eq!(of(Window::Avg), [[9, 10, 11, 12, 13, 14, 15, 16, 17]]);
        // (12 + 30) / 2 + 6 = 27 s, the middle of volume 13.
        assert_eq!(of(Window::Middle), [[13]]);
        // Ends 18, 22, 26, 30 s.
        assert_eq!(of(Window::Segments), [[12], [14], [16], [18]]);
        // The trial's own volumes are 6 … 16: 16 s after the onset is the third from the end.
        assert_eq!(of(Window::SeedLast), [[14]]);
        assert_eq!(of(Window::SeedSentences), [[9], [8], [8], [14]]);
        // Without segments the text lasts until 34 s.
        assert_eq!(volumes(Window::Last, 6.0, &[], (12.0, 22.0), 2.0), [[20]]);
    }

    #[test]
    fn any_repetition_time_and_fractional_onsets() {
        // 10.3 + 3 + 5 = 18.3 s; 18.3 / 0.8 = 22.9.
        assert_eq!(volumes(Window::Last, 5.0, &[], (10.3, 3.0), 0.8), [[22]]);
        // A volume of 0.1 s: 0.7 / 0.1 is 6.999… in floating point.
        assert_eq!(volumes(Window::Last, 0.0, &[], (0.5, 0.2), 0.1), [[7]]);
        // A text of 0.1 s holds no volume's middle.
        assert_eq!(volumes(Window::Avg, 6.0, &[], (12.0, 0.1), 2.0), [[9]]);
        assert_eq!(volumes(Window::Last, 0.0, &[], (-5.0, 1.0), 2.0), [[-2]]);
    }

    #[test]
    fn short_runs_lose_trials() {
        let last = Sampling { window: Window::Last, lag: 6.0, segments: vec![] };
        assert!(last.is_within(12.0, 22.0, 2.0, 21) && !last.is_within(12.0, 22.0, 2.0, 20));
        let beta = Sampling { window: Window::Beta, ..last };
        assert!(beta.is_within(12.0, 22.0, 2.0, 21) && !beta.is_within(12.0, 22.0, 2.0, 20));
    }
}
