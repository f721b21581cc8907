//! Nobody learns from an output where it was made or by whom, whatever command made it: files are named, folders are not.

use std::path::Path;
use std::process::Command;

use brainscore::io::npy;
use ndarray::Array2;

use crate::support::brainscore;
use crate::support::corpus::files;
use crate::support::image::{TinyRun, noise};
use crate::support::study::TinyStudy;

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|w| w == part.as_bytes())
}

/// What must not stand in any file: the folder of the inputs, and who and where the user is.
fn secrets(folder: &Path) -> Vec<String> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    // The last word of the folder's name is random: it means nothing else.
    let mut secrets = vec![name.rsplit(' ').next().unwrap().to_owned()];
    let home = std::env::var("HOME").ok().filter(|h| h.len() > 5);
    let user = std::env::var("USER").ok().filter(|u| u.len() > 5 && u != "runner");
    secrets.extend(home.into_iter().chain(user));
    secrets
}

#[test]
fn outputs_name_no_folder_and_no_user() {
    let study = TinyStudy::new();
    let model = study.path("model").display().to_string();
    let place = |name: &str| study.path(name);
    study.write("atlas.nii", crate::support::image::atlas().bytes());
    study.write("labels.csv", "component,name\n1,a\n2,b\n3,c\n");
    study.write("texts.txt", "the boat waits\na child sees the red door\n");
    study.write("words.tsv", "word\tonset\toffset\nthe\t1\t2\nboat\t3\t4\n");
    npy::write(&place("x.npy"), Array2::from_shape_vec((30, 4), noise(120, 1)).unwrap().view()).unwrap();
    npy::write(&place("y.npy"), Array2::from_shape_vec((30, 3), noise(90, 2)).unwrap().view()).unwrap();
    npy::write(&place("w.npy"), Array2::from_shape_vec((2, 3), noise(6, 2)).unwrap().view()).unwrap();
    npy::write(&place("folds.npy"), Array2::from_shape_fn((30, 1), |(r, _)| (r / 6) as f64).column(0)).unwrap();
    let toml = study.read("study.toml");
    let rois = "\n[rois]\natlas = \"atlas.nii\"\nlabels = \"labels.csv\"\ntom = { targets = [\"a\"] }\n";
    study.write("study.toml", toml + rois);
    let compare = |out: &str, other: &str| {
        let mut command = brainscore();
        command.args(["compare", &format!("m={model}"), &format!("{other}=untrained:1:{model}"), "--unique", "none"]);
        ran(command.arg("--study").arg(place("study.toml")).arg("--out").arg(place(out)));
    };
    compare("out-1", "u");
    compare("out-2", "v");
    ran(brainscore().arg("report").arg(place("out-1")).arg(place("out-2")).arg("--out").arg(place("out-merged")));
    ran(brainscore()
        .arg("maps")
        .arg(place("out-2"))
        .arg("--atlas")
        .arg(place("atlas.nii"))
        .arg("--labels")
        .arg(place("labels.csv"))
        .arg("--out")
        .arg(place("out-maps")));
    ran(brainscore().args(["extract", &model, "--texts"]).arg(place("texts.txt")).arg("--out").arg(place("out-mean")));
    ran(brainscore()
        .args(["extract", &model, "--pooling", "tokens", "--texts"])
        .arg(place("texts.txt"))
        .arg("--out")
        .arg(place("out-tokens")));
    ran(brainscore()
        .arg("fit")
        .arg("--x")
        .arg(place("x.npy"))
        .arg("--y")
        .arg(place("y.npy"))
        .arg("--folds")
        .arg(place("folds.npy"))
        .arg("--out")
        .arg(place("out-fit")));
    let mut resample = brainscore();
    resample.arg("resample").arg("--words").arg(place("words.tsv")).arg("--features").arg(place("w.npy"));
    std::fs::create_dir(place("out-resampled")).unwrap();
    ran(resample.args(["--tr", "2", "--volumes", "5", "--method", "mean", "--out"]).arg(place("out-resampled/x.npy")));
    let run = TinyRun::new();
    let mut parcellate = brainscore();
    parcellate
        .args(["parcellate", "--no-cache", "--atlas"])
        .arg(run.path("atlas.nii"))
        .arg("--mask")
        .arg(run.path("mask.nii"));
    ran(parcellate.arg("--out").arg(run.path("out-parcels")).arg(run.path("bold.nii")));
    let mut seen = 0;
    for folder in [study.dir.path(), run.dir.path()] {
        for (name, bytes) in files(folder).iter().filter(|(name, _)| name.starts_with("out-")) {
            seen += 1;
            for secret in secrets(folder) {
                assert!(!contains(bytes, &secret), "{name} holds {secret:?}");
            }
        }
    }
    assert!(seen > 150, "{seen} files");
}
