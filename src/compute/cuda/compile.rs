//! Kernels → code for a card, by NVRTC, kept in the cache folder.
//!
//! NVRTC comes with the CUDA toolkit, with many Python environments (`pip install nvidia-cuda-nvrtc-cu12`) and with PyTorch.
//! It is looked for at `$BRAINSCORE_NVRTC` (the library or its folder), where the loader looks, in the site-packages of the
//! active Python environment, and in /usr/local/cuda. Code is compiled to a cubin for the very card: PTX from an NVRTC
//! newer than the driver would be refused. A kept cubin is used when its digest over source, options and driver matches and
//! its own bytes are whole; otherwise it is made again. `kernels/ARCHITECTURE` beside the program is looked at, too, so that
//! a release can bring its cubins along.

#![allow(unsafe_code, reason = "loads NVRTC and calls it")]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::nvrtc::result as nvrtc;
use cudarc::nvrtc::sys;

use super::fault;
use super::sources::{COMMON, SOURCES, Source};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::{atomic, digest, disk};

/// Options of every compilation. Contraction to fused multiply-adds stays on, as in CUDA.
const OPTIONS: &[&str] = &["--std=c++17"];
/// Names that NVRTC's library has had.
const NAMES: &[&str] = &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so", "nvrtc64_120_0.dll"];

/// Loads NVRTC once for the life of the program; says where from and its version.
///
/// # Errors
/// `GP-03` when there is none.
pub fn compiler() -> Result<&'static (String, (i32, i32))> {
    static FOUND: OnceLock<Option<(String, (i32, i32))>> = OnceLock::new();
    FOUND.get_or_init(load).as_ref().ok_or_else(|| {
        Error::new(Code::Gp03, "the kernels", "no compiler for them (libnvrtc) was found")
            .expected("NVRTC of CUDA 11.2 or newer")
            .hint(
                "`pip install nvidia-cuda-nvrtc-cu12` and activate that environment, or set BRAINSCORE_NVRTC to the \
                 library; --device cpu does without it",
            )
    })
}

fn load() -> Option<(String, (i32, i32))> {
    let place = candidates().into_iter().find(|path| {
        // SAFETY: NVRTC's initialisation has no requirements. The handle is leaked: the library stays loaded, and the
        // bindings then find it by its name.
        match unsafe { libloading::Library::new(path) } {
            Ok(library) => {
                std::mem::forget(library);
                true
            }
            Err(_) => false,
        }
    })?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers. A library without the function panics in the bindings, which counts as none.
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unsafe {
        sys::is_culib_present() && sys::nvrtcVersion(&mut major, &mut minor).result().is_ok()
    }));
    matches!(asked, Ok(true)).then(|| (place.display().to_string(), (major, minor)))
}

/// Where NVRTC may be, the first that loads counts.
fn candidates() -> Vec<PathBuf> {
    let within = |folder: &Path| NAMES.iter().map(|n| folder.join(n)).filter(|p| p.is_file()).collect::<Vec<_>>();
    if let Some(named) = std::env::var_os("BRAINSCORE_NVRTC").map(PathBuf::from) {
        return if named.is_dir() { within(&named) } else { vec![named] };
    }
    let mut found: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).collect();
    for root in ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os) {
        for python in subfolders(&Path::new(&root).join("lib")) {
            let nvidia = python.join("site-packages/nvidia");
            for package in ["cuda_nvrtc", "cu13", "cu12"] {
                found.extend(within(&nvidia.join(package).join("lib")));
            }
        }
    }
    found.extend(within(Path::new("/usr/local/cuda/lib64")));
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

/// Compiles one file for an architecture such as `sm_90`.
///
/// # Errors
/// `GP-03` when there is no compiler, or when it refuses; its words are in the message.
fn compile(source: &Source, architecture: &str) -> Result<Vec<u8>> {
    compiler()?;
    let text = CString::new(format!("{COMMON}\n#line 1 \"{}.cu\"\n{}", source.name, source.text))
        .map_err(|e| fault::library("NVRTC", "reading a kernel", e))?;
    let program = nvrtc::create_program(&text, None).map_err(|e| fault::library("NVRTC", "creating a program", e))?;
    let mut options: Vec<String> = OPTIONS.iter().map(|o| (*o).to_owned()).collect();
    options.push(format!("--gpu-architecture={architecture}"));
    // SAFETY: `program` was created above and is destroyed below, after its last use; `text` outlives it.
    unsafe {
        let done = nvrtc::compile_program(program, &options);
        let result = match done {
            Ok(()) => cubin(program),
            Err(e) => {
                let log = nvrtc::get_program_log(program).unwrap_or_default();
                let log: Vec<u8> = log.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
                let words = String::from_utf8_lossy(&log);
                let words: String =
                    words.lines().filter(|l| !l.trim().is_empty()).take(5).collect::<Vec<_>>().join(" | ");
                Err(Error::new(
                    Code::Gp03,
                    format!("kernels/{}.cu", source.name),
                    format!("NVRTC refused it for {architecture} ({e:?}): {words}"),
                ))
            }
        };
        nvrtc::destroy_program(program).ok();
        result
    }
}

/// The code of a compiled program.
///
/// # Safety
/// `program` was compiled and not destroyed.
unsafe fn cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>> {
    let failed = |e| fault::library("NVRTC", "fetching the code", e);
    let mut size = 0usize;
    // SAFETY: writes one size; then exactly that many bytes into a buffer of that size.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(failed)?;
        let mut code = vec![0u8; size];
        sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast()).result().map_err(failed)?;
        Ok(code)
    }
}

/// What a kept cubin must have been made from.
fn key(source: &Source, architecture: &str, driver: Option<i32>) -> Digest {
    let parts = [COMMON, source.text, architecture, &OPTIONS.join(" "), &format!("{driver:?}")];
    digest(parts.join("\0").as_bytes())
}

fn file_name(source: &Source, architecture: &str, key: &Digest) -> String {
    format!("{}-{architecture}-{}.cubin", source.name, &key.to_string()[..16])
}

/// Reads a kept cubin: a digest of the rest, then the code. Nothing where it is absent or damaged.
fn kept(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let at = bytes.iter().position(|b| *b == b'\n')?;
    let code = bytes.get(at + 1..)?;
    (bytes[..at] == *digest(code).to_string().as_bytes()).then(|| code.to_vec())
}

fn keep(path: &Path, code: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        disk::create_dir_all(folder).map_err(|e| atomic::write_error(folder, "creating", e))?;
    }
    let mut bytes = format!("{}\n", digest(code)).into_bytes();
    bytes.extend_from_slice(code);
    atomic::write(path, &bytes)
}

/// The code of one file for a card: from the cache folder, from beside the program, or compiled now and kept.
///
/// `usable` says whether the driver takes it: a cubin brought along may be too new for it.
///
/// # Errors
/// As [`compile`], or what `usable` says of newly compiled code.
pub(super) fn code<T>(
    source: &Source,
    architecture: &str,
    driver: Option<i32>,
    cache: Option<&Path>,
    usable: impl Fn(Vec<u8>) -> Result<T>,
) -> Result<T> {
    let own = key(source, architecture, driver);
    let in_cache = cache.map(|folder| folder.join("kernels").join(file_name(source, architecture, &own)));
    let shipped = key(source, architecture, None);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("kernels").join(file_name(source, architecture, &shipped))));
    for path in in_cache.iter().chain(&beside) {
        if let Some(found) = kept(path).and_then(|code| usable(code).ok()) {
            return Ok(found);
        }
    }
    let made = compile(source, architecture)?;
    if let Some(path) = &in_cache {
        // A cache that cannot be written costs a second next time, and is no reason to stop.
        keep(path, &made).ok();
    }
    usable(made)
}

/// Compiles all kernels for an architecture into `folder`, for any driver; (kernel file, bytes of code) each.
///
/// # Errors
/// As [`compile`]; `IO-01` when the folder cannot be written.
pub fn compile_all(architecture: &str, folder: Option<&Path>) -> Result<Vec<(&'static str, usize)>> {
    let one = |source: &Source| {
        let code = compile(source, architecture)?;
        if let Some(folder) = folder {
            keep(&folder.join(file_name(source, architecture, &key(source, architecture, None))), &code)?;
        }
        Ok((source.name, code.len()))
    };
    SOURCES.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_code_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels/a.cubin");
        assert_eq!(kept(&path), None);
        keep(&path, b"\x7fELF\ncode").unwrap();
        assert_eq!(kept(&path).unwrap(), b"\x7fELF\ncode");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(kept(&path), None);
        std::fs::write(&path, b"no line end").unwrap();
        assert_eq!(kept(&path), None);
    }

    #[test]
    fn the_key_knows_source_architecture_and_driver() {
        let base = key(&SOURCES[0], "sm_80", Some(12040));
        assert_ne!(base, key(&SOURCES[1], "sm_80", Some(12040)));
        assert_ne!(base, key(&SOURCES[0], "sm_90", Some(12040)));
        assert_ne!(base, key(&SOURCES[0], "sm_80", Some(12050)));
        assert_eq!(base, key(&SOURCES[0], "sm_80", Some(12040)));
    }
}
