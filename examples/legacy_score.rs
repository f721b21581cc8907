//! A published score on pure noise: `cargo run --release --example legacy_score [FIGURE.svg]`.
//!
//! 60 trials of 1,024 parcels, 768 features that have nothing to do with them. The responses are noise around a map that
//! is the same in every trial. legacy-pattern-r correlates a predicted with a measured pattern and finds the map;
//! pattern-r removes the training mean map first and finds nothing.

use std::fmt::Write as _;

use brainscore::encoding::{AlphaGrid, Folds, cv, patterns};
use brainscore::watch::Quiet;
use ndarray::{Array2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const TRIALS: usize = 60;
const REPEATS: u64 = 4;
/// Shares of the responses' variance that the map is.
const SHARES: [f64; 6] = [0.0, 0.03, 0.06, 0.09, 0.15, 0.25];
const NAMES: [(&str, &str); 3] =
    [("legacy-pattern-r", "#D55E00"), ("intercept only", "#4d4d4d"), ("pattern-r", "#0072B2")];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folds = Folds::from_labels(&(0..TRIALS).map(|i| i * 5 / TRIALS).collect::<Vec<_>>());
    println!("map's share   {}", NAMES.map(|(name, _)| name).join("   "));
    let mut rows = Vec::new();
    for share in SHARES {
        let mut sums = [0.0; 3];
        for seed in 0..REPEATS {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut normal = |shape| Array2::<f64>::from_shape_simple_fn(shape, || StandardNormal.sample(&mut rng));
            let (x, noise, map) = (normal((TRIALS, 768)), normal((TRIALS, 1024)), normal((1, 1024)));
            let y = noise * f64::sqrt(1.0 - share) + map.index_axis(Axis(0), 0).mapv(|v| v * share.sqrt());
            let legacy = patterns::legacy(x.view(), y.view())?;
            let fit = cv::fit(x.view(), y.view(), &folds, &AlphaGrid::default(), &Quiet)?;
            let pattern = patterns::pattern_r(y.view(), fit.predicted.view(), fit.train_mean.view(), &folds);
            let found = [legacy.value, legacy.intercept_only, pattern];
            sums.iter_mut().zip(found).for_each(|(sum, s)| *sum += s.value().unwrap_or(f64::NAN) / REPEATS as f64);
        }
        println!("{share:>11.2}   {:>16.3}   {:>14.3}   {:>9.3}", sums[0], sums[1], sums[2]);
        rows.push((share, sums));
    }
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, figure(&rows)?)?;
    }
    Ok(())
}

/// Lines over the map's share.
fn figure(rows: &[(f64, [f64; 3])]) -> Result<String, std::fmt::Error> {
    let (x, y) = (|share: f64| 70.0 + share / 0.25 * 420.0, |r: f64| 320.0 - r / 0.5 * 260.0);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 390\" font-family=\"sans-serif\" font-size=\"13\">\
         <title>A published score on pure noise</title><rect width=\"720\" height=\"390\" fill=\"#fff\"/>\
         <text x=\"20\" y=\"28\" font-size=\"17\" font-weight=\"bold\">A published score on pure noise</text>",
    );
    for tick in 0..=5 {
        let r = f64::from(tick) / 10.0;
        write!(svg, "<line x1=\"70\" x2=\"500\" y1=\"{0}\" y2=\"{0}\" stroke=\"#e4e4e4\"/>", y(r))?;
        write!(svg, "<text x=\"60\" y=\"{}\" text-anchor=\"end\" fill=\"#555\">{r:.1}</text>", y(r) + 4.0)?;
    }
    for share in SHARES {
        write!(svg, "<text x=\"{}\" y=\"342\" text-anchor=\"middle\" fill=\"#555\">{share:.2}</text>", x(share))?;
    }
    for (i, (name, colour)) in NAMES.iter().enumerate() {
        let points: Vec<String> = rows.iter().map(|(s, r)| format!("{:.1},{:.1}", x(*s), y(r[i]))).collect();
        let points = points.join(" ");
        write!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>")?;
        for (s, r) in rows {
            write!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>", x(*s), y(r[i]))?;
        }
        let at = 70.0 + 22.0 * i as f64;
        write!(svg, "<line x1=\"520\" x2=\"545\" y1=\"{at}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"2\"/>")?;
        write!(svg, "<text x=\"552\" y=\"{}\">{name}</text>", at + 4.0)?;
    }
    svg.push_str(
        "<text x=\"285\" y=\"368\" text-anchor=\"middle\">share of the variance that is the same map in every trial</text>\
         <text x=\"20\" y=\"190\" text-anchor=\"middle\" transform=\"rotate(-90 20 190)\">score (60 trials, 1,024 parcels)</text></svg>\n",
    );
    Ok(svg)
}
