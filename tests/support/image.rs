//! NIfTI files byte by byte, as any program might write them, and a run small enough to be written anew for every test.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

/// An image to be written. Raw values are stored as they are; slope and intercept only stand in the header.
#[derive(Clone)]
pub struct Image {
    pub version: u8,
    pub big: bool,
    pub datatype: i16,
    pub dim: Vec<i64>,
    pub raw: Vec<f64>,
    pub slope: f64,
    pub intercept: f64,
    pub step: f32,
    pub units: u8,
    pub sform: i16,
    pub qform: i16,
    pub rows: [[f64; 4]; 3],
    /// What stands between the header and the voxels, beside the four bytes that say "no extensions".
    pub gap: Vec<u8>,
    pub extended: bool,
}

impl Image {
    /// float32, version 1, little-endian, 2 mm voxels, 2 s.
    pub fn new(dim: &[i64], raw: Vec<f64>) -> Image {
        Image {
            version: 1,
            big: false,
            datatype: 16,
            dim: dim.to_vec(),
            raw,
            slope: 0.0,
            intercept: 0.0,
            step: 2.0,
            units: 2 | 8,
            sform: 2,
            qform: 0,
            rows: [[2.0, 0.0, 0.0, -4.0], [0.0, 2.0, 0.0, -4.0], [0.0, 0.0, 2.0, -4.0]],
            gap: Vec::new(),
            extended: false,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = if self.version == 1 { vec![0; 352] } else { vec![0; 544] };
        let bits = match self.datatype {
            2 | 256 => 8,
            4 | 512 => 16,
            8 | 16 | 768 => 32,
            _ => 64,
        };
        let offset = out.len() + self.gap.len();
        let mut put = |at: usize, little: &[u8]| {
            let mut word = little.to_vec();
            if self.big {
                word.reverse();
            }
            out[at..at + word.len()].copy_from_slice(&word);
        };
        let mut dim = [1i64; 8];
        dim[0] = self.dim.len() as i64;
        dim[1..=self.dim.len()].copy_from_slice(&self.dim);
        let pixdim = [1.0, 2.0, 2.0, 2.0, self.step, 1.0, 1.0, 1.0];
        if self.version == 1 {
            put(0, &348i32.to_le_bytes());
            (0..8).for_each(|i| put(40 + 2 * i, &(dim[i] as i16).to_le_bytes()));
            put(70, &self.datatype.to_le_bytes());
            put(72, &(bits as i16).to_le_bytes());
            (0..8).for_each(|i| put(76 + 4 * i, &pixdim[i].to_le_bytes()));
            put(108, &(offset as f32).to_le_bytes());
            put(112, &(self.slope as f32).to_le_bytes());
            put(116, &(self.intercept as f32).to_le_bytes());
            put(123, &[self.units]);
            put(252, &self.qform.to_le_bytes());
            put(254, &self.sform.to_le_bytes());
            let flat = self.rows.iter().flatten().enumerate();
            flat.for_each(|(i, v)| put(280 + 4 * i, &(*v as f32).to_le_bytes()));
            out[344..348].copy_from_slice(b"n+1\0");
        } else {
            put(0, &540i32.to_le_bytes());
            put(12, &self.datatype.to_le_bytes());
            put(14, &(bits as i16).to_le_bytes());
            (0..8).for_each(|i| put(16 + 8 * i, &dim[i].to_le_bytes()));
            (0..8).for_each(|i| put(104 + 8 * i, &f64::from(pixdim[i]).to_le_bytes()));
            put(168, &(offset as i64).to_le_bytes());
            put(176, &self.slope.to_le_bytes());
            put(184, &self.intercept.to_le_bytes());
            put(344, &i32::from(self.qform).to_le_bytes());
            put(348, &i32::from(self.sform).to_le_bytes());
            self.rows.iter().flatten().enumerate().for_each(|(i, v)| put(400 + 8 * i, &v.to_le_bytes()));
            put(500, &i32::from(self.units).to_le_bytes());
            out[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
        }
        let end = out.len();
        out[end - 4] = u8::from(self.extended);
        out.extend_from_slice(&self.gap);
        for value in &self.raw {
            let mut word = match self.datatype {
                2 => vec![*value as u8],
                256 => vec![*value as i8 as u8],
                4 => (*value as i16).to_le_bytes().to_vec(),
                512 => (*value as u16).to_le_bytes().to_vec(),
                8 => (*value as i32).to_le_bytes().to_vec(),
                768 => (*value as u32).to_le_bytes().to_vec(),
                1024 => (*value as i64).to_le_bytes().to_vec(),
                1280 => (*value as u64).to_le_bytes().to_vec(),
                16 => (*value as f32).to_le_bytes().to_vec(),
                _ => value.to_le_bytes().to_vec(),
            };
            if self.big {
                word.reverse();
            }
            out.extend_from_slice(&word);
        }
        out
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Numbers that look random and are the same everywhere.
pub fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        })
        .collect()
}

pub const SIDE: usize = 4;
pub const VOLUMES: usize = 24;
pub const MAPS: usize = 3;

/// A run of 4 × 4 × 4 voxels and 24 volumes, three soft maps, a mask and confounds, in a folder of its own.
pub struct TinyRun {
    pub dir: TempDir,
}

impl TinyRun {
    pub fn new() -> TinyRun {
        let run = TinyRun { dir: super::hostile_dir() };
        run.write("bold.nii", bold().bytes());
        run.write("atlas.nii", atlas().bytes());
        run.write("mask.nii", mask().bytes());
        run.write("labels.csv", "component,name\n1,left\n2,right\n3,middle\n");
        let rows: Vec<String> = noise(2 * VOLUMES, 9).chunks(2).map(|r| format!("{}\t{}\n", r[0], r[1])).collect();
        run.write("confounds.tsv", format!("csf\twhite_matter\n{}", rows.concat()));
        run
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// `parcellate` of a run, without a cache.
    pub fn parcellate(&self, bold: &str, out: &str) -> Command {
        let mut command = super::brainscore();
        command.args(["parcellate", "--no-cache", "--threads", "2", "--atlas"]).arg(self.path("atlas.nii"));
        command.arg("--out").arg(self.path(out)).arg(self.path(bold));
        command
    }

    /// Overwrites bytes of a file.
    pub fn patch(&self, name: &str, at: usize, bytes: &[u8]) {
        let mut all = std::fs::read(self.path(name)).unwrap();
        all[at..at + bytes.len()].copy_from_slice(bytes);
        self.write(name, all);
    }
}

pub fn bold() -> Image {
    let side = SIDE as i64;
    let values = noise(SIDE.pow(3) * VOLUMES, 1).iter().map(|v| 100.0 + 10.0 * v).collect();
    Image::new(&[side, side, side, VOLUMES as i64], values)
}

/// Three soft maps that overlap.
pub fn atlas() -> Image {
    let side = SIDE as i64;
    let mut raw = Vec::new();
    for map in 0..MAPS {
        for voxel in 0..SIDE.pow(3) {
            let at = (voxel % SIDE) as f64;
            raw.push((1.0 - 0.4 * (at - 1.5 * map as f64).abs()).max(0.0) * (1.0 + 0.01 * (voxel * (map + 2)) as f64));
        }
    }
    Image::new(&[side, side, side, MAPS as i64], raw)
}

/// All but the first slice.
pub fn mask() -> Image {
    let side = SIDE as i64;
    let raw = (0..SIDE.pow(3)).map(|v| f64::from(u8::from(v >= SIDE * SIDE))).collect();
    Image { datatype: 2, ..Image::new(&[side, side, side], raw) }
}
