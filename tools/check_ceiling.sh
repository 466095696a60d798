#!/bin/sh
# Fails where a loop that measures the multiply-add rate (src/backend/cpu/ceiling.rs) reads or writes memory, or where it
# holds another number of sums than it should: its rate would be that of the memory, and no ceiling.
#
#     tools/check_ceiling.sh [target/release/medsegx]
set -eu
binary=${1:-target/release/medsegx}
case $(uname -m) in x86_64) ;; *) echo "SKIPPED check_ceiling.sh: only x86-64 is looked at"; exit 0 ;; esac
steps=$(sed -n 's/^const STEPS: usize = \([0-9_]*\);$/\1/p' "$(dirname "$0")/../src/backend/cpu/ceiling.rs" | tr -d _)
[ -n "$steps" ] || { echo "src/backend/cpu/ceiling.rs: no STEPS" >&2; exit 1; }
objdump -d --no-show-raw-insn "$binary" | awk -v steps="$(printf '$0x%x,' "$steps")" -v binary="$binary" '
    # From the instruction that sets the number of steps to the jump back is the loop.
    /^[0-9a-f]+ <.*>:$/ { lines = 0; counting = 0; next }
    index($0, steps) { counting = 1; lines = 0; next }
    !counting { next }
    {
        address[lines] = $1; sub(":", "", address[lines]); line[lines++] = $0
        if ($2 ~ /^j/) {
            for (first = 0; first < lines && address[first] != $3; first++) {}
            if (first < lines) { look(first, lines); counting = 0 }
        }
        if (lines > 400) counting = 0
    }
    function look(first, end,    i, fma, add, dots, wide, memory, kind, expected, found) {
        for (i = first; i < end; i++) {
            if (line[i] ~ /vfmadd/) { fma++; if (line[i] ~ /zmm/) wide = 1 }
            if (line[i] ~ /vdpbf16ps/) dots++
            if (line[i] ~ /[ \t]addps/) add++
            if (line[i] ~ /\(/) memory++
        }
        kind = dots ? "bf16 pairs" : fma ? (wide ? "AVX-512" : "AVX2") : "portable"
        expected = wide || dots ? 24 : 12
        found = dots ? dots : fma ? fma : add
        if (!found) return
        seen[kind]++
        if (memory || found % expected) {
            printf "%s: the loop of %s has %d multiply-adds, not a multiple of %d, or %d accesses to memory, not 0\n", \
                binary, kind, found, expected, memory
            failed = 1
        }
    }
    END {
        split("portable,AVX2,AVX-512,bf16 pairs", kinds, ",")
        for (k = 1; k <= 4; k++) if (!seen[kinds[k]]) { print binary ": no loop of " kinds[k]; failed = 1 }
        if (!failed) print binary ": the loops of portable, AVX2, AVX-512 and bf16 pairs stay in registers"
        exit failed
    }' >&2
