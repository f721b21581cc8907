#![no_main]

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's own hook stops at every panic, also at those of the tokenizers library that become an error.
        let stop = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !brainscore::error::is_contained() {
                stop(panic);
            }
        }));
    },
    |bytes: &[u8]| {
        readers::run("tokenizer", bytes);
    }
);
