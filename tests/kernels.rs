//! The CUDA kernels without a card: compiled by NVRTC where that is found, and run on an emulated one.
//!
//! `tests/cuda/driver.cpp` is a driver whose cards are the host. Built with the `.cu` files into a shared library of the name
//! that NVIDIA's has, it is found as that would be: what is tested is the program as it is, from the search for a driver to
//! the last copy back.
#![cfg(feature = "cuda")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::study::npy;
use crate::support::{brainscore, skip};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda");
const KERNELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels");

/// The C++ compiler, if there is one. Only these tests need it.
fn compile(arguments: &[&str], folder: &Path) -> Option<()> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let output = Command::new(&compiler).args(["-std=c++17", "-O2", "-w"]).args(arguments).current_dir(folder).output();
    let Ok(output) = output else {
        skip("no C++ compiler");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// The folder with the emulated driver.
pub fn driver() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<TempDir>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut table = format!("#include \"{KERNELS}/common.cuh\"\n");
        let mut names = String::new();
        for source in brainscore::compute::cuda::SOURCES {
            table.push_str(&format!("#include \"{KERNELS}/{}.cu\"\n", source.name));
            for kernel in source.kernels {
                names.push_str(&format!("{{\"{kernel}\", [](void** a) {{ emulator::call({kernel}, a); }}}},\n"));
            }
        }
        table.push_str("struct Kernel { const char* name; void (*call)(void**); };\n");
        table.push_str(&format!("static const Kernel KERNELS[] = {{\n{names}}};\n"));
        std::fs::write(folder.path().join("kernels.inc"), table).unwrap();
        let (main, include) = (format!("{SOURCES}/driver.cpp"), format!("-I{}", folder.path().display()));
        let checked = ["-fsanitize=bounds,shift", "-fsanitize-undefined-trap-on-error", "-shared", "-fPIC"];
        compile(&[&checked[..], &[&include, &main, "-o", "libcuda.so.1"]].concat(), folder.path())?;
        for library in ["libnvrtc.so.12", "libcublas.so.12", "libcusolver.so.12"] {
            std::fs::hard_link(folder.path().join("libcuda.so.1"), folder.path().join(library)).unwrap();
        }
        Some(folder)
    });
    match built {
        Some(folder) => Some(folder.path()),
        None => {
            skip("no C++ compiler");
            None
        }
    }
}

/// The program on emulated cards.
pub fn emulated(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = brainscore();
    // The emulated driver brings a compiler of its own; a real one does not know its cards.
    command.env("LD_LIBRARY_PATH", folder).env_remove("CUDA_VISIBLE_DEVICES").env_remove("BRAINSCORE_NVRTC");
    command.envs(settings.iter().copied());
    command
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// Every kernel over the whole table of shapes; some of it backwards, with the same bytes, and without cuBLAS and cuSOLVER.
#[test]
fn kernels_agree_with_the_cpu_in_any_order() {
    let Some(folder) = driver() else { return };
    let run = |extra: &[&str], settings: &[(&str, &str)]| {
        let output = emulated(folder, settings).args(["doctor", "--json"]).args(extra).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        json(&output)["cuda"].clone()
    };
    let forwards = run(&["--thorough"], &[("EMULATED_DEVICES", "2")]);
    let checks = forwards["checks"].as_array().unwrap();
    assert!(checks.len() > 500, "{}", checks.len());
    for check in checks {
        let (error, tolerance) = (check["error"].as_f64(), check["tolerance"].as_f64().unwrap());
        assert!(error.is_some_and(|e| e <= tolerance), "{check}");
    }
    for source in brainscore::compute::cuda::SOURCES {
        for kernel in source.kernels {
            let seen = checks.iter().filter(|c| c["kernel"] == *kernel).count();
            assert!(seen > 0, "{kernel} is not checked");
        }
    }
    assert_eq!(forwards["cards"].as_array().unwrap().len(), 2);
    let [forwards, backwards] = ["forward", "reverse"].map(|order| run(&[], &[("EMULATED_ORDER", order)]));
    assert_eq!(forwards["checks"], backwards["checks"], "a result depends on the order of threads");
    let bare = tempfile::tempdir().unwrap();
    for library in ["libcuda.so.1", "libnvrtc.so.12"] {
        std::fs::hard_link(folder.join(library), bare.path().join(library)).unwrap();
    }
    let output = emulated(bare.path(), &[]).args(["doctor", "--json"]).output().unwrap();
    let found = json(&output)["cuda"].clone();
    assert_eq!(found["cards"][0]["libraries"], serde_json::json!([]), "{found}");
    assert_eq!(found["failed"], 0, "{found}");
}

/// The emulator notices what it is there for.
#[test]
fn faults_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let main = format!("{SOURCES}/faults.cpp");
    if compile(&[&main, "-o", "faults"], folder.path()).is_none() {
        return;
    }
    let run = |fault: &str, order: &str| {
        Command::new(folder.path().join("faults")).arg(fault).env("EMULATED_ORDER", order).output().unwrap()
    };
    for (fault, words) in [
        ("beyond", "outside of every buffer"),
        ("before", "wrote before a buffer"),
        ("unmet", "a barrier that not all threads"),
        ("half_shuffled", "a shuffle that not all threads"),
    ] {
        let output = run(fault, "forward");
        assert_eq!(output.status.code(), Some(97), "{fault}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{output:?}");
    }
    assert_ne!(run("race", "forward").stdout, run("race", "reverse").stdout);
    assert_eq!(run("fine", "forward").stdout, run("fine", "reverse").stdout);
}

/// NVRTC itself: where `$BRAINSCORE_NVRTC` says, where the loader looks, or in a Python environment.
#[test]
fn nvrtc_compiles_every_kernel() {
    // CUDA 13 knows no sm_70 any more.
    for (architectures, known_to_all) in [("sm_80,sm_90", true), ("sm_70", false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = brainscore();
        if let (None, Some(library)) = (std::env::var_os("BRAINSCORE_NVRTC"), beside_python()) {
            command.env("BRAINSCORE_NVRTC", library);
        }
        let arguments = ["doctor", "--json", "--device", "cpu", "--compile", architectures, "--into"];
        let output = command.args(arguments).arg(folder.path()).output().unwrap();
        let found = json(&output);
        let refused = |why: &str| !output.status.success() && found["errors"][0]["message"].to_string().contains(why);
        if refused("no compiler for them") {
            assert_eq!(output.status.code(), Some(5));
            return skip("no NVRTC");
        }
        if !known_to_all && refused("invalid value for --gpu-architecture") {
            continue;
        }
        assert!(output.status.success(), "{output:?}");
        let compiled = found["compiled"].as_array().unwrap();
        assert_eq!(compiled.len(), architectures.split(',').count() * brainscore::compute::cuda::SOURCES.len());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), compiled.len());
    }
}

/// NVRTC in the site-packages of the Python on the path.
fn beside_python() -> Option<PathBuf> {
    let script = "import os, nvidia.cuda_nvrtc as n; print(os.path.join(list(n.__path__)[0], 'lib'))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (output.status.success() && folder.is_dir()).then_some(folder)
}

/// Without a driver: said, and no fault.
#[test]
fn no_card_is_no_fault_unless_one_was_named() {
    let nothing = tempfile::tempdir().unwrap();
    let bare = |arguments: &[&str]| {
        brainscore()
            .args(arguments)
            .env("LD_LIBRARY_PATH", nothing.path())
            .env("CUDA_VISIBLE_DEVICES", "")
            .output()
            .unwrap()
    };
    let output = bare(&["doctor", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found = json(&output);
    assert!(found["cuda"]["missing"].as_str().unwrap().contains("FL-01"), "{found}");
    assert!(found["blas"].as_str().unwrap().contains("OpenBLAS"), "{found}");
    let output = bare(&["doctor", "--device", "cuda"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let output = bare(&["doctor"]);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("none can be used"),
        "{output:?}"
    );
}

/// A card that is named and cannot be used: one error, its code, status 5.
#[test]
fn a_card_that_fails_is_said_to() {
    let Some(folder) = driver() else { return };
    let bare = tempfile::tempdir().unwrap();
    std::fs::hard_link(folder.join("libcuda.so.1"), bare.path().join("libcuda.so.1")).unwrap();
    let nowhere = bare.path().join("libnvrtc.so.12");
    for (code, folder, settings) in [
        ("FL-01", folder, [("EMULATED_DEVICES", "0"), ("_", "")]),
        ("GP-01", folder, [("EMULATED_MEMORY", "1000"), ("_", "")]),
        ("GP-02", folder, [("EMULATED_LOSE_AFTER", "3"), ("_", "")]),
        ("GP-03", bare.path(), [("BRAINSCORE_NVRTC", nowhere.to_str().unwrap()), ("_", "")]),
    ] {
        // Nothing that an earlier one compiled.
        let cache = tempfile::tempdir().unwrap();
        let mut command = emulated(folder, &settings);
        let output =
            command.env("BRAINSCORE_CACHE", cache.path()).args(["doctor", "--device", "cuda"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{code}: {output:?}");
        assert!(text.contains(&format!("[{code}]")), "{code}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let output = emulated(folder, &[]).args(["doctor", "--device", "cuda:1"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("a number below 1"), "{output:?}");
}

/// Compiled kernels are kept; damaged ones are made again.
#[test]
fn compiled_kernels_are_kept_and_checked() {
    let Some(folder) = driver() else { return };
    let cache = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = emulated(folder, &[]);
        let output = command.env("BRAINSCORE_CACHE", cache.path()).args(["doctor", "--json"]).output().unwrap();
        assert_eq!(json(&output)["cuda"]["failed"], 0, "{output:?}");
        let mut files: Vec<_> = std::fs::read_dir(cache.path().join("kernels"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = run();
    assert_eq!(first.len(), brainscore::compute::cuda::SOURCES.len());
    std::fs::write(&first[0].0, b"damaged").unwrap();
    assert_eq!(run(), first);
}

/// A float64 array as a file.
fn array(path: &Path, rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) {
    let bytes: Vec<u8> = (0..rows)
        .flat_map(|i| (0..columns).map(move |j| (i, j)))
        .flat_map(|(i, j)| value(i, j).to_le_bytes())
        .collect();
    let shape = if columns == 1 { format!("({rows},)") } else { format!("({rows}, {columns})") };
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
    std::fs::write(path, npy(&header, &bytes)).unwrap();
}

/// A value from −1 to 1 without a pattern that matters.
pub fn noise(at: usize) -> f64 {
    ((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 8_388_608.0 - 1.0
}

/// Features, responses and folds: some targets driven by the features, one constant; one feature constant.
fn problem(folder: &Path, rows: usize, features: usize, targets: usize) {
    let x = move |i: usize, j: usize| if j == 1 { 0.1 } else { noise(i * 1013 + j) };
    array(&folder.join("x.npy"), rows, features, x);
    array(&folder.join("y.npy"), rows, targets, move |i, t| match t {
        0 if targets > 1 => 3.0,
        t => x(i, t % features) * (t % 4) as f64 + x(i, (t * 7) % features) + 2.0 * noise(900_001 + i * 509 + t),
    });
    array(&folder.join("folds.npy"), rows, 1, |i, _| (i * 4 / rows) as f64);
}

/// Fits, and returns the scores: text, and numbers where they are some.
fn fitted(command: &mut Command, folder: &Path, flags: &[&str]) -> (Output, Vec<Vec<String>>) {
    let out = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.join(name);
    let (x, y, folds) = (place("x.npy"), place("y.npy"), place("folds.npy"));
    command.arg("fit").arg("--x").arg(x).arg("--y").arg(y).arg("--folds").arg(folds).args(flags);
    let output = command.args(["--threads", "2", "--json", "--out"]).arg(out.path().join("fit")).output().unwrap();
    let scores = std::fs::read_to_string(out.path().join("fit/scores.csv")).unwrap_or_default();
    (output, scores.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

/// The same alphas, and scores to rounding.
fn assert_same(a: &[Vec<String>], b: &[Vec<String>], what: &str) {
    assert!(a.len() > 1 && a.len() == b.len(), "{what}: {} and {} rows", a.len(), b.len());
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(x), Ok(y)) => assert!((x - y).abs() <= 1e-9 * (1.0 + x.abs()), "{what}: {x} {y}"),
            _ => assert_eq!(a, b, "{what}"),
        }
    }
}

/// The ridge engine with cards and without: n > p and n < p, one target and many, cards that are small, two, or lost.
#[test]
fn the_engine_chooses_and_scores_alike_on_cards() {
    let Some(driver) = driver() else { return };
    for (rows, features, targets) in [(64, 9, 33), (48, 70, 130), (40, 90, 1)] {
        let folder = tempfile::tempdir().unwrap();
        problem(folder.path(), rows, features, targets);
        for precision in ["double", "mixed"] {
            let flags = ["--precision", precision];
            let (_, own) = fitted(&mut brainscore(), folder.path(), &flags);
            let what = format!("{rows} × {features}, {targets} targets, {precision}");
            let on = |device: &str, settings: &[(&str, &str)]| {
                fitted(&mut emulated(driver, settings), folder.path(), &[&flags[..], &["--device", device]].concat())
            };
            let (output, scores) = on("cuda", &[]);
            assert_same(&own, &scores, &what);
            assert!(json(&output)["device"].as_str().unwrap().contains("Emulated card 0"), "{output:?}");
            if (features, precision) != (70, "mixed") {
                continue;
            }
            let (output, scores) = on("cuda", &[("EMULATED_DEVICES", "2")]);
            assert_same(&own, &scores, "two cards");
            assert!(json(&output)["device"].as_str().unwrap().contains("Emulated card 1"), "{output:?}");
            // Too small for a block, then for anything.
            for (memory, enough) in [("60000", true), ("20000", false)] {
                let (output, scores) = on("auto", &[("EMULATED_MEMORY", memory)]);
                assert_same(&own, &scores, memory);
                assert_eq!(json(&output)["warnings"].as_array().unwrap().is_empty(), enough, "{output:?}");
            }
            // Lost on the way: the CPU goes on under auto, and nothing is left behind under cuda.
            let lost = [("EMULATED_LOSE_AFTER", "9")];
            let (output, scores) = on("auto", &lost);
            assert_same(&own, &scores, "a lost card");
            assert!(json(&output)["warnings"][0]["code"] == "GP-02", "{output:?}");
            let (output, scores) = on("cuda", &lost);
            assert_eq!((output.status.code(), scores.len()), (Some(5), 0), "{output:?}");
        }
    }
}

/// `auto` without a card says so once; `cuda` is refused before anything is computed.
#[test]
fn auto_falls_back_with_a_warning() {
    let (folder, nothing) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    problem(folder.path(), 40, 5, 3);
    let bare = |device: &str| {
        let mut command = brainscore();
        command.env("LD_LIBRARY_PATH", nothing.path()).env("CUDA_VISIBLE_DEVICES", "");
        fitted(&mut command, folder.path(), &["--device", device])
    };
    let (plain, own) = fitted(&mut brainscore(), folder.path(), &[]);
    assert_eq!((&json(&plain)["device"], plain.stderr.len()), (&Value::from("cpu"), 0), "{plain:?}");
    let (output, scores) = bare("auto");
    assert_same(&own, &scores, "auto");
    assert_eq!(json(&output)["warnings"][0]["code"], "FL-01");
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("[FL-01]").count(), 1, "{output:?}");
    let (output, scores) = bare("cuda");
    assert_eq!((output.status.code(), scores.len()), (Some(5), 0), "{output:?}");
}
