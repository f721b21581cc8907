//! Every bad image, atlas and confounds table: its code, its message, its exit status, and an output place that stays
//! empty. Each case is made from a good run by one change; `bad::every_code_has_a_case` counts these, too.

use brainscore::error::Code;

use crate::support::brainscore;
use crate::support::corpus::{self, Observed};
use crate::support::image::{Image, TinyRun, atlas, bold, gzip, mask};
use crate::support::study::listing;

struct Case {
    name: &'static str,
    says: &'static [&'static str],
    change: fn(&TinyRun),
    /// Further flags, `{}` standing for the folder; the run is `bold.nii` unless `BOLD=` names another.
    flags: &'static [&'static str],
}

const fn case(name: &'static str, says: &'static [&'static str], change: fn(&TinyRun)) -> Case {
    Case { name, says, change, flags: &[] }
}

const HIGH_PASS: &[&str] = &["--high-pass", "0.01"];
const CONFOUNDS: &[&str] = &["--confounds", "{}/confounds.tsv", "--confound-columns", "csf,white_matter"];
const LABELS: &[&str] = &["--labels", "{}/labels.csv"];
const PACKED: &[&str] = &["BOLD=bold.nii.gz"];

fn image(run: &TinyRun, change: impl FnOnce(&mut Image)) {
    let mut image = bold();
    change(&mut image);
    run.write("bold.nii", image.bytes());
}

fn packed(run: &TinyRun, bytes: impl AsRef<[u8]>) {
    run.write("bold.nii.gz", bytes);
}

const CASES: &[Case] = &[
    case("nifti/NI-01-empty", &["bold.nii: is empty"], |r| r.write("bold.nii", "")),
    case("nifti/NI-01-short", &["has 40 bytes, too few for a NIfTI-1 header of 348"], |r| {
        r.write("bold.nii", &bold().bytes()[..40])
    }),
    case("nifti/NI-01-text", &["is no NIfTI image; it starts with bytes 54 52"], |r| {
        r.write("bold.nii", "TR 2.0 ".repeat(100))
    }),
    case("nifti/NI-01-analyze", &["magic bytes 00 00 00 00", "Analyze 7.5"], |r| r.patch("bold.nii", 344, &[0; 4])),
    case("nifti/NI-01-pair", &[".hdr/.img pair"], |r| r.patch("bold.nii", 344, b"ni1\0")),
    case("nifti/NI-01-lfs-pointer", &["Git-LFS pointer", "git lfs pull"], |r| {
        r.write("bold.nii", format!("version https://git-lfs.github.com/spec/v1\n{}", "x".repeat(400)));
    }),
    case("nifti/NI-01-version-2-as-text", &["transferred as text"], |r| {
        r.write("bold.nii", Image { version: 2, ..bold() }.bytes());
        r.patch("bold.nii", 8, b"\n\n\x1a\n");
    }),
    Case {
        flags: PACKED,
        ..case("nifti/NI-04-checksum", &["bold.nii.gz: is damaged"], |r| {
            let mut bytes = gzip(&bold().bytes());
            let at = bytes.len() - 7;
            bytes[at] ^= 1;
            packed(r, bytes);
        })
    },
    Case {
        flags: PACKED,
        ..case("nifti/NI-04-length", &["bold.nii.gz: is damaged"], |r| {
            let mut bytes = gzip(&bold().bytes());
            *bytes.last_mut().unwrap() ^= 1;
            packed(r, bytes);
        })
    },
    case("nifti/NI-05-plain", &["is cut short: 6000 bytes of voxels", "expected 6144"], |r| {
        let bytes = bold().bytes();
        r.write("bold.nii", &bytes[..bytes.len() - 144]);
    }),
    Case {
        flags: PACKED,
        ..case("nifti/NI-05-compressed", &["is cut short", "expected 6144"], |r| {
            let bytes = gzip(&bold().bytes());
            packed(r, &bytes[..bytes.len() / 2]);
        })
    },
    Case {
        flags: PACKED,
        ..case("nifti/NI-05-no-checksum", &["is cut short: 6144 bytes of voxels"], |r| {
            let bytes = gzip(&bold().bytes());
            packed(r, &bytes[..bytes.len() - 8]);
        })
    },
    case("nifti/NI-07-plain", &["has 8 bytes after its last volume"], |r| {
        r.write("bold.nii", [&bold().bytes()[..], &[0; 8]].concat());
    }),
    Case {
        flags: PACKED,
        ..case("nifti/NI-07-within", &["has bytes after its last volume"], |r| {
            packed(r, gzip(&[&bold().bytes()[..], &[0; 8]].concat()));
        })
    },
    Case {
        flags: PACKED,
        ..case("nifti/NI-07-behind", &["has bytes after its last volume"], |r| {
            packed(r, [&gzip(&bold().bytes())[..], b"polyglot PK"].concat());
        })
    },
    case("nifti/NI-08-rank-0", &["dim[0] is 0", "from 1 to 7"], |r| r.patch("bold.nii", 40, &[0, 0])),
    case("nifti/NI-08-rank-9", &["dim[0] is 9"], |r| r.patch("bold.nii", 40, &[9, 0])),
    case("nifti/NI-08-negative", &["dim[2] is -4"], |r| r.patch("bold.nii", 44, &(-4i16).to_le_bytes())),
    case("nifti/NI-08-zero", &["dim[4] is 0"], |r| r.patch("bold.nii", 48, &[0, 0])),
    case("nifti/NI-08-overflow", &["more than can be counted"], |r| {
        r.write("bold.nii", Image { version: 2, ..bold() }.bytes());
        (1..=4).for_each(|axis| r.patch("bold.nii", 16 + 8 * axis, &(1i64 << 31).to_le_bytes()));
    }),
    case("nifti/NI-09-volume", &["claims volumes of 140724603846652 bytes"], |r| {
        (1..=3).for_each(|axis| r.patch("bold.nii", 40 + 2 * axis, &32767i16.to_le_bytes()));
    }),
    Case {
        flags: PACKED,
        ..case("nifti/NI-09-compressed", &["compressed bytes can hold"], |r| {
            let mut bytes = bold().bytes();
            (1..=4).for_each(|axis| bytes[40 + 2 * axis..42 + 2 * axis].copy_from_slice(&900i16.to_le_bytes()));
            packed(r, gzip(&bytes));
        })
    },
    case("nifti/NI-10-bitpix", &["datatype is float32 but bitpix is 64", "expected bitpix 32"], |r| {
        r.patch("bold.nii", 72, &[64, 0])
    }),
    case("nifti/NI-11-nan", &["vox_offset is NaN"], |r| r.patch("bold.nii", 108, &f32::NAN.to_le_bytes())),
    case("nifti/NI-11-negative", &["vox_offset is -5"], |r| r.patch("bold.nii", 108, &(-5f32).to_le_bytes())),
    case("nifti/NI-11-fraction", &["vox_offset is 353.5"], |r| r.patch("bold.nii", 108, &353.5f32.to_le_bytes())),
    case("nifti/NI-11-beyond", &["vox_offset is 1000000"], |r| r.patch("bold.nii", 108, &1e6f32.to_le_bytes())),
    case("nifti/NI-13-size-0", &["extension 1 claims 0 bytes"], |r| {
        image(r, |i| (i.gap, i.extended) = (vec![0; 16], true));
    }),
    case("nifti/NI-13-beyond", &["extension 1 claims 1600 bytes", "at most the 32 bytes"], |r| {
        image(r, |i| (i.gap, i.extended) = ([&1600i32.to_le_bytes()[..], &[0; 28]].concat(), true));
    }),
    case("nifti/NI-14-slope", &["scl_slope is inf"], |r| image(r, |i| i.slope = f64::INFINITY)),
    case("nifti/NI-14-intercept", &["scl_inter is NaN"], |r| image(r, |i| (i.slope, i.intercept) = (2.0, f64::NAN))),
    case("nifti/NI-15-complex", &["datatype is 32 (complex64)"], |r| r.patch("bold.nii", 70, &[32, 0, 64, 0])),
    case("nifti/NI-15-colours", &["datatype is 128 (RGB colours)"], |r| r.patch("bold.nii", 70, &[128, 0, 24, 0])),
    case("nifti/NI-15-float128", &["datatype is 1536 (float128)"], |r| r.patch("bold.nii", 70, &[0, 6, 128, 0])),
    case("nifti/NI-15-unknown", &["datatype is 3 (no type of the format)"], |r| r.patch("bold.nii", 70, &[3, 0])),
    case("nifti/NI-16-three-axes", &["has 1 volume", "a 4-D run"], |r| {
        image(r, |i| {
            i.dim.pop();
            i.raw.truncate(64);
        });
    }),
    case("nifti/NI-16-five-axes", &["has 5 axes"], |r| image(r, |i| i.dim = vec![4, 4, 4, 12, 2])),
    case("nifti/NI-17-nowhere", &["neither an sform nor a qform"], |r| image(r, |i| i.sform = 0)),
    case("nifti/NI-17-singular", &["singular or not finite"], |r| image(r, |i| i.rows[2] = i.rows[1])),
    case("nifti/NI-17-nan", &["singular or not finite"], |r| image(r, |i| i.rows[0][3] = f64::NAN)),
    case("nifti/NI-17-no-rotation", &["quaternion [3.0, 0.0, 0.0]"], |r| {
        image(r, |i| (i.sform, i.qform) = (0, 1));
        r.patch("bold.nii", 256, &3f32.to_le_bytes());
    }),
    Case {
        flags: HIGH_PASS,
        ..case("nifti/NI-18-no-time", &["has 0 s between volumes", "--tr"], |r| image(r, |i| i.step = 0.0))
    },
    Case {
        flags: HIGH_PASS,
        ..case("nifti/NI-18-milliseconds", &["has 2000 s between volumes", "looks like milliseconds"], |r| {
            image(r, |i| i.step = 2000.0);
        })
    },
    Case {
        flags: HIGH_PASS,
        ..case("nifti/NI-18-sidecar", &["its header says 2 s between volumes, its sidecar 1.5 s"], |r| {
            r.write("bold.json", "{\"RepetitionTime\": 1.5}");
        })
    },
    case(
        "nifti/NI-19-nan",
        &["volume 2 holds 2 NaN or infinite values within the mask, the first at voxel (1, 0, 1)"],
        |r| {
            image(r, |i| (i.raw[2 * 64 + 17], i.raw[2 * 64 + 40]) = (f64::NAN, f64::INFINITY));
        },
    ),
    case("nifti/NI-20-constant", &["is the same in all volumes"], |r| image(r, |i| i.raw.fill(3.0))),
    case("nifti/NI-20-zero", &["is all zero"], |r| image(r, |i| i.raw.fill(0.0))),
    case("nifti/NI-20-empty-mask", &["mask.nii: is empty"], |r| {
        let mut empty = mask();
        empty.raw.fill(0.0);
        r.write("mask.nii", empty.bytes());
    }),
    case("nifti/NI-21-apart", &["atlas.nii: lies on 4 × 4 × 4 voxels", "an overlap with"], |r| {
        let mut far = atlas();
        far.rows[1][3] = 400.0;
        r.write("atlas.nii", far.bytes());
    }),
    Case {
        flags: CONFOUNDS,
        ..case("confounds/BO-01-rows", &["confounds.tsv: has 2 rows", "24, one per volume"], |r| {
            r.write("confounds.tsv", "csf\twhite_matter\n1\t2\n2\t1\n");
        })
    },
    Case {
        flags: &["--confounds", "{}/a.tsv", "--confounds", "{}/b.tsv", "--strategy", "global"],
        ..case("confounds/BO-01-count", &["--confounds: given 2 times", "expected 1"], |_| {})
    },
    Case {
        flags: HIGH_PASS,
        ..case("confounds/BO-02-short-run", &["has 18 volumes", "more than 18 for the high-pass"], |r| {
            image(r, |i| {
                i.dim[3] = 18;
                i.raw.truncate(18 * 64);
            });
        })
    },
    Case {
        flags: LABELS,
        ..case("atlas/RO-01-count", &["labels.csv: has 2 labels", "expected 3"], |r| {
            r.write("labels.csv", "component,name\n1,left\n2,right\n");
        })
    },
    Case {
        flags: LABELS,
        ..case("atlas/RO-02-twice", &["the label \"left\" stands twice"], |r| {
            r.write("labels.csv", "name\nleft\nright\nleft\n");
        })
    },
    Case {
        flags: LABELS,
        ..case("atlas/RO-02-empty", &["label 2 is empty"], |r| {
            r.write("labels.csv", "component,name\n1,left\n2,\n3,middle\n");
        })
    },
    Case {
        flags: LABELS,
        ..case("atlas/RO-02-gap", &["leave a gap or repeat before 4"], |r| {
            r.write("labels.csv", "component,name\n1,left\n2,right\n4,middle\n");
        })
    },
    case("atlas/RO-04-weights", &["is a 3-D image that holds 0.5"], |r| {
        let mut map = mask();
        (map.datatype, map.raw[3]) = (16, 0.5);
        r.write("atlas.nii", map.bytes());
    }),
    case("atlas/RO-07-empty-map", &["1 of 3 parcels have no voxel", "parcel_2", "at most 5 %"], |r| {
        let mut maps = atlas();
        maps.raw[64..128].fill(0.0);
        r.write("atlas.nii", maps.bytes());
    }),
];

fn code_of(case: &Case) -> Code {
    let slug = case.name.split('/').nth(1).unwrap();
    *Code::ALL.iter().find(|c| slug.starts_with(c.as_str())).unwrap_or_else(|| panic!("{} names no code", case.name))
}

/// The fixtures that are made here.
pub fn names() -> Vec<String> {
    CASES.iter().map(|case| case.name.to_owned()).collect()
}

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    CASES.iter().map(code_of).collect()
}

fn parcellate(run: &TinyRun, flags: &[&str]) -> std::process::Output {
    let here = run.dir.path().to_str().unwrap();
    let bold = flags.iter().find_map(|f| f.strip_prefix("BOLD=")).unwrap_or("bold.nii");
    let mut command = brainscore();
    command.args(["parcellate", "--no-cache", "--threads", "2", "--atlas"]).arg(run.path("atlas.nii"));
    command.arg("--mask").arg(run.path("mask.nii")).arg("--out").arg(run.path("out")).arg(run.path(bold));
    command.args(flags.iter().filter(|f| !f.starts_with("BOLD=")).map(|f| f.replace("{}", here)));
    command.output().unwrap()
}

#[test]
fn the_good_run_is_parcellated() {
    let run = TinyRun::new();
    let flags = [HIGH_PASS, CONFOUNDS, LABELS, &["--standardize", "zscore_sample"]].concat();
    let output = parcellate(&run, &flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(listing(&run.path("out")), ["bold_parcels.json", "bold_parcels.npy", "bold_parcels.parquet"]);
}

#[test]
fn every_bad_image_is_refused_by_name_and_nothing_is_written() {
    let mut wrong = Vec::new();
    for case in CASES {
        let run = TinyRun::new();
        let good = corpus::files(run.dir.path());
        (case.change)(&run);
        let bad = corpus::files(run.dir.path());
        let before = listing(run.dir.path());
        let output = parcellate(&run, case.flags);
        wrong.extend(
            Observed { name: case.name, folder: run.dir.path(), good: &good, bad: &bad, output: &output }.complaints(),
        );
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = code_of(case);
        let mut complain = |what: String| wrong.push(format!("{}: {what}\n    {stderr}", case.name));
        if output.status.code() != Some(i32::from(code.status().exit_code())) {
            complain(format!("exit status {:?}", output.status.code()));
        }
        if !stderr.lines().any(|l| l.starts_with("error: ") && l.ends_with(&format!("[{code}]"))) {
            complain(format!("no error [{code}]"));
        }
        for part in case.says {
            if !stderr.contains(part) {
                complain(format!("does not say {part:?}"));
            }
        }
        if listing(run.dir.path()) != before {
            complain("something was written".to_owned());
        }
    }
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
}

/// NI-19: what lies outside the mask does not matter, smoothed or not.
#[test]
fn nan_outside_the_mask_is_nothing() {
    let run = TinyRun::new();
    image(&run, |i| i.raw[5] = f64::NAN);
    for flags in [&["--json"][..], &["--smooth", "3"]] {
        let output = parcellate(&run, flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn all_problems_of_a_parcellation_come_at_once() {
    let run = TinyRun::new();
    run.write("bold.nii", "");
    run.write("mask.nii", "");
    run.write("labels.csv", "name\na\na\na\n");
    let output = parcellate(&run, LABELS);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.matches("error: ").count(), 3, "{stderr}");
    assert!(stderr.contains("3 problems; nothing was written"), "{stderr}");
}
