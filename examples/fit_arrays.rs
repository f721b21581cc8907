//! Times the ridge engine on plain arrays: `fit_arrays PRECISION FOLD.npy ALPHAS.npy X.npy… -- Y.npy…`, one line per run;
//! `fit_arrays rates`: what a matrix product reaches.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use brainscore::compute::cpu::{self, Real};
use brainscore::encoding::engine::{self, Options, Precision, Targets};
use brainscore::encoding::{AlphaGrid, Folds, score};
use brainscore::error::Result;
use brainscore::io::npy;
use brainscore::watch::Quiet;
use ndarray::Array2;

/// GFLOP/s of a large matrix product on one thread.
fn rate<T: Real>() -> f64 {
    cpu::single_threaded_blas();
    let a = Array2::from_shape_fn((1024, 1024), |(i, j)| T::of(((i * 31 + j * 17) % 101) as f64));
    let time = || {
        let clock = Instant::now();
        std::hint::black_box(a.dot(&a));
        2.0 * 1024f64.powi(3) / clock.elapsed().as_secs_f64() / 1e9
    };
    (0..10).map(|_| time()).fold(0.0, f64::max)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["rates"] {
        println!("sgemm {:.1} dgemm {:.1}", rate::<f32>(), rate::<f64>());
        return Ok(());
    }
    let precision = match arguments[0].as_str() {
        "double" => Precision::Double,
        "single" => Precision::Single,
        _ => Precision::Mixed,
    };
    let read = |path: &String| npy::read(Path::new(path)).map(|(array, _)| array);
    let labels: Vec<i64> = read(&arguments[1])?.iter().map(|v| *v as i64).collect();
    let folds = Folds::from_labels(&labels);
    let grid = AlphaGrid::given(read(&arguments[2])?.iter().copied().collect())?;
    let split = arguments.iter().position(|a| a == "--").unwrap_or(arguments.len());
    let x = arguments[3..split].iter().map(read).collect::<Result<Vec<_>>>()?;
    let y = arguments[split + 1..].iter().map(read).collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = y.iter().map(|y| y.view()).collect();
    let responses: Vec<&dyn Targets> = views.iter().map(|y| y as &dyn Targets).collect();
    let options = Options { precision, ..Options::default() };
    let repeats = std::env::var("REPEAT").ok().and_then(|r| r.parse().ok()).unwrap_or(1);
    for _ in 0..repeats {
        let sums = Mutex::new((0.0, 0.0, 0usize));
        let clock = Instant::now();
        let mut reports = Vec::new();
        for x in &x {
            reports.push(engine::fit_blocks(x.view(), &responses, &folds, &grid, &options, &Quiet, &|part| {
                let scores = score(part.y.view(), &part.fit, &folds);
                let mut sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for s in scores {
                    sums.0 += s.cod.value().unwrap_or(0.0);
                    sums.1 += s.r.value().unwrap_or(0.0);
                    sums.2 += 1;
                }
                Ok(())
            })?);
        }
        let seconds = clock.elapsed().as_secs_f64();
        let (cod, r, n) = *sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        println!("{precision:?} {seconds:.3} s, cod {:.5}, r {:.5}, {:?}", cod / n as f64, r / n as f64, reports[0]);
    }
    Ok(())
}
