#![allow(unsafe_code, reason = "OpenBLAS keeps its number of threads in a global")]

use std::ffi::CStr;
use std::os::raw::{c_char, c_int};
use std::sync::Once;
use std::sync::OnceLock;

unsafe extern "C" {
    fn openblas_set_num_threads(threads: c_int);
    fn openblas_get_config() -> *const c_char;
}

/// Makes every BLAS call run on the thread that makes it.
///
/// All parallelism of this program is rayon's, over independent pieces of work: results then do not depend on the
/// number of threads, and rayon and BLAS never compete for cores.
pub fn single_threaded_blas() {
    static ONCE: Once = Once::new();
    // SAFETY: a plain setter of a global integer; `Once` keeps calls from racing.
    ONCE.call_once(|| unsafe { openblas_set_num_threads(1) });
}

/// What the linked BLAS says about itself (version, architecture).
pub fn blas_description() -> String {
    // OpenBLAS writes the text anew at every call: two calls at once append to each other's.
    static TEXT: OnceLock<String> = OnceLock::new();
    // SAFETY: returns a pointer to a static NUL-terminated string, or null; nobody else asks meanwhile.
    let read = || unsafe {
        let text = openblas_get_config();
        if text.is_null() { "unknown".to_owned() } else { CStr::from_ptr(text).to_string_lossy().trim().to_owned() }
    };
    TEXT.get_or_init(read).clone()
}
