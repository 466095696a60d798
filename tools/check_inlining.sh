#!/bin/sh
# Fails where an instruction of a CPU kernel was compiled to a call: the code around it did not end up inside a function
# that is compiled for the instruction set (src/backend/cpu/simd.rs), and passes its registers through memory.
#
#     tools/check_inlining.sh [target/release/medsegx]
set -eu
binary=${1:-target/release/medsegx}
symbols=$(nm --demangle "$binary")
# An empty list of symbols would pass anything.
case $symbols in *medsegx::backend::cpu*) ;; *) echo "$binary: no symbols, build it unstripped" >&2; exit 1 ;; esac
calls=$(printf '%s\n' "$symbols" | grep -E 'core_arch::.*_mm(256|512)_' || true)
if [ -n "$calls" ]; then
    printf '%s: instructions that are calls (the caller: objdump -d --demangle):\n%s\n' "$binary" "$calls" >&2
    exit 1
fi
echo "$binary: every vector instruction is inlined"
