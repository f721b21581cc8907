#!/bin/sh
# A wrapper of rustc that makes it count what our own code and the readers below it execute, for libFuzzer. Works on the stable
# toolchain: the coverage pass is LLVM's own. Arithmetic overflows and failed debug assertions abort.
rustc=$1
shift
case " $* " in
*" --crate-name brainscore "* | *" --crate-name nifti "* | *" --crate-name tar "*)
    exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=on -Coverflow-checks=on
    ;;
esac
exec "$rustc" "$@"
