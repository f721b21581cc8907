#![allow(unsafe_code, reason = "OpenBLAS keeps its number of threads and its choice of kernels in globals")]

use std::ffi::{CStr, c_void};
use std::os::raw::{c_char, c_int};
use std::sync::Once;

unsafe extern "C" {
    fn openblas_set_num_threads(threads: c_int);
    fn openblas_get_config() -> *const c_char;
}

/// Makes every BLAS call run on the thread that makes it, with the fastest kernels that this processor can run.
///
/// All parallelism of this program is rayon's, over independent pieces of work: results then do not depend on the
/// number of threads, and rayon and BLAS never compete for cores.
///
/// Programs call this first, before they start threads: where OpenBLAS does not know the processor, its environment
/// variable is set here.
pub fn single_threaded_blas() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        choose_kernels();
        // SAFETY: a plain setter of a global integer; `Once` keeps calls from racing.
        unsafe { openblas_set_num_threads(1) }
    });
}

/// OpenBLAS picks its kernels by model number, and those for AVX2 on processors newer than itself, at half the speed of
/// the AVX-512 ones. Where it runs such kernels on a processor that has AVX-512, it is asked to choose again by its own
/// variable, `OPENBLAS_CORETYPE`. One that the user has set is left alone.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn choose_kernels() {
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    const VARIABLE: &str = "OPENBLAS_CORETYPE";
    let modern = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"].iter().all(|name| match *name {
        "avx512f" => std::arch::is_x86_feature_detected!("avx512f"),
        "avx512bw" => std::arch::is_x86_feature_detected!("avx512bw"),
        "avx512dq" => std::arch::is_x86_feature_detected!("avx512dq"),
        "avx512vl" => std::arch::is_x86_feature_detected!("avx512vl"),
        _ => std::arch::is_x86_feature_detected!("avx512cd"),
    });
    let description = blas_description();
    let outdated = ["Haswell", "Zen"].iter().any(|core| description.split_whitespace().any(|word| word == *core));
    if !modern || !outdated || std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let find = |name: &CStr| {
        // SAFETY: looks a name up among the symbols of the running program (a null handle on Linux); the name ends in NUL.
        unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) }
    };
    let (quit, init) = (find(c"gotoblas_dynamic_quit"), find(c"gotoblas_dynamic_init"));
    // An OpenBLAS built for one processor has no such functions.
    if quit.is_null() || init.is_null() {
        return;
    }
    // SAFETY: both symbols are OpenBLAS's own `void f(void)`: the first forgets the kernels chosen, the second chooses
    // them by the variable, or by model number where it does not know the value. No product is under way: this runs
    // once, before the first. Setting a variable is sound while no other thread reads the environment except through
    // `std`, which locks it; the documentation asks for this call before threads are started.
    unsafe {
        std::env::set_var(VARIABLE, "SkylakeX");
        std::mem::transmute::<*mut c_void, extern "C" fn()>(quit)();
        std::mem::transmute::<*mut c_void, extern "C" fn()>(init)();
        // Child processes choose for themselves.
        std::env::remove_var(VARIABLE);
    }
}

/// What the linked BLAS says about itself (version, architecture).
pub fn blas_description() -> String {
    // SAFETY: returns a pointer to a static NUL-terminated string, or null.
    unsafe {
        let text = openblas_get_config();
        if text.is_null() { "unknown".to_owned() } else { CStr::from_ptr(text).to_string_lossy().trim().to_owned() }
    }
}
