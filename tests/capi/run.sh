#!/usr/bin/env bash
# The C library as a host meets it: installed by cargo-c into target/capi, then C and C++ programs built against that
# tree, shared and static, through pkg-config and CMake; under AddressSanitizer and valgrind; 32 threads; faults one after
# another; the header, the ABI and the symbols compared with what is committed. tests/capi/README.md says what each proves.
# Missing tools are installed where that is possible, and named as skipped where it is not.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD
work=$root/target/capi
prefix=$work/prefix
fixture=$work/fixture
warnings="-Wall -Wextra -Wpedantic -Werror"
c99="cc -std=c99 $warnings"
cpp17="c++ -std=c++17 $warnings"

say() { printf '\n--- %s\n' "$*"; }

need() { # tool, Debian package, what is skipped without it
    command -v "$1" >/dev/null && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt-get update -qq && apt-get install -y -qq "$2") >/dev/null 2>&1 || true
    fi
    command -v "$1" >/dev/null && return 0
    echo "SKIPPED $3: $1 is not there"
    return 1
}

say "install"
if ! cargo cinstall --version >/dev/null 2>&1; then
    # Unoptimised: it is built once and does little.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug cargo-c@0.10.24
fi
rm -rf "$work"
mkdir -p "$work"
# In a folder of its own: cargo and the one inside cargo-c do not know each other's build scripts, and the tests below
# would be compiled anew.
cargo cinstall --release --target-dir "$root/target/cargo-c" --prefix "$prefix" --libdir "$prefix/lib" --no-default-features --features cuda
need pkg-config pkg-config "the C library's checks" || exit 1
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
cflags=$(pkg-config --cflags medsegx)
shared=$(pkg-config --libs medsegx)
system=$(sed -n 's/^Libs.private: //p' "$PKG_CONFIG_PATH/medsegx.pc")
static="$prefix/lib/libmedsegx.a $system"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | sed -n 1p)
[ "$(pkg-config --modversion medsegx)" = "$version" ]

say "the header is what src/capi says"
diff -u include/medsegx.h "$prefix/include/medsegx.h"
diff -u include/medsegx.hpp "$prefix/include/medsegx.hpp"

say "the ABI is that of version 1"
cd tests/capi
$c99 $cflags -fsyntax-only baseline.c
nm -D --defined-only "$prefix/lib/libmedsegx.so" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | sort >"$work/symbols.txt"
diff -u symbols.txt "$work/symbols.txt"
# Nothing of the header is missing in baseline.c: each function, each field of each struct, each number.
sed 's://.*::' "$prefix/include/medsegx.h" | awk '
    /^typedef struct medsegx_[a-z_]+ \{/ { name = $3; next }
    /^enum medsegx_/ { name = "enum"; next }
    /^ *\}/ { name = "" }
    name == "enum" && / = / { print "(" $1 "," }
    name != "" && name != "enum" && /;/ { field = $NF; gsub(/[*;]|\[[0-9]+\]/, "", field); print name ", " field "," }
' >"$work/declared.txt"
sed 's/$/(/' symbols.txt >>"$work/declared.txt"
while read -r wanted; do
    grep --quiet --fixed-strings "$wanted" baseline.c || { echo "baseline.c lacks $wanted"; exit 1; }
done <"$work/declared.txt"
echo "$(wc -l <"$work/declared.txt") numbers, fields and functions"
[ "$(readelf -d "$prefix/lib/libmedsegx.so" | grep --count 'soname: \[libmedsegx.so.0.1\]')" = 1 ]

say "nothing that prints, connects, catches signals or changes the process"
nm -D --undefined-only "$prefix/lib/libmedsegx.so" | awk '{ print $2 }' | sed 's/@.*//' | sort >"$work/imports.txt"
if grep --extended-regexp --line-regexp "$(tr '\n' '|' <<'FORBIDDEN' | sed 's/|$//'
socket|connect|bind|listen|accept4?|getaddrinfo|send(to|msg)?|recv(from|msg)?
(un)?setenv|putenv|clearenv|setlocale|chdir|umask|signal|sigaction|sigprocmask|pthread_sigmask|raise|kill
fork|vfork|exec.*|posix_spawn.*|system|exit|_exit|atexit|feset.*|feenable.*|v?f?printf|f?puts|putchar|fwrite|syslog
FORBIDDEN
)" "$work/imports.txt"; then
    echo "the library must not import these"
    exit 1
fi

say "fixture"
cd "$root"
MEDSEGX_CAPI_FIXTURE=$fixture cargo test --quiet --release --test capi_fixture
"${CARGO_TARGET_DIR:-target}/release/medsegx" synth --config tiny -o "$fixture/tiny.safetensors" --force
sha256sum <"$fixture/tiny.safetensors" >"$fixture/tiny.sha256"
"${CARGO_TARGET_DIR:-target}/release/medsegx" synth --config litemedsam -o "$fixture/litemedsam.safetensors" --force

say "header alone, in every language that it claims"
for standard in c99 c11 c17; do
    echo '#include <medsegx.h>' | cc -x c -std=$standard $warnings $cflags -fsyntax-only -
done
for standard in c++11 c++17 c++20; do
    echo '#include <medsegx.h>' | c++ -x c++ -std=$standard $warnings $cflags -fsyntax-only -
done
for standard in c++17 c++20; do
    echo '#include <medsegx.hpp>' | c++ -x c++ -std=$standard $warnings $cflags -fsyntax-only -
done

say "the program at the top of the header"
sed -n '/A complete program:/,/^ \* Threads\./ s/^ \*     //p' include/medsegx.h >"$work/example.c"
$c99 $cflags "$work/example.c" -o "$work/example" $shared
ln -s "$fixture/tiny.safetensors" "$work/medsegx_vit_b.safetensors"
(cd "$work" && ./example) | tee "$work/example.txt"
grep --quiet 'pixels, agreement' "$work/example.txt"

say "the lines of the README"
{
    cat <<'BEFORE'
#include <medsegx.h>
#include <stdio.h>
int main(void) {
    enum { W = 96, H = 64, count = 2 };
    static short pixels[H * W];
    medsegx_model *model = NULL;
    medsegx_session *session = NULL;
    medsegx_error *error = NULL;
    medsegx_context_names names;
    medsegx_context_names_init(&names, sizeof names);
    names.task = "CT_Liver";
    medsegx_context context;
    medsegx_context_init(&context, sizeof context);
    if (medsegx_context_from_names(&names, &context, NULL)) return 1;
    medsegx_slice slice;
    medsegx_slice_init(&slice, sizeof slice);
    slice.pixel_type = MEDSEGX_PIXEL_I16;
    slice.pixels = pixels;
    slice.height = H;
    slice.width = W;
    medsegx_prompt prompts[count];
    medsegx_result results[count];
    for (int i = 0; i < count; i++) {
        medsegx_prompt_init(&prompts[i], sizeof prompts[i]);
        medsegx_result_init(&results[i], sizeof results[i]);
        prompts[i].has_box = 1;
        prompts[i].box[2] = prompts[i].box[3] = 20 + i;
    }
    for (int i = 0; i < H * W; i++) pixels[i] = (short)(i * 31 % 997);
BEFORE
    sed -n '/^```c$/,/^```$/p' README.md | grep --invert-match '^```'
    cat <<'AFTER'
    if (error) fprintf(stderr, "%s\n", medsegx_error_message(error));
    for (int i = 0; i < count; i++) printf("%u masks, chosen: %d\n", results[i].mask_count, results[i].chosen);
    medsegx_session_free(session);
    medsegx_model_free(model);
    return error != NULL;
}
AFTER
} >"$work/readme.c"
[ "$(grep --count 'medsegx_session_prompt\|medsegx_model_open' "$work/readme.c")" = 2 ]
$c99 $cflags "$work/readme.c" -o "$work/readme" $shared
[ "$(cd "$work" && ./readme | grep --count '^3 masks, chosen: [1-3]$')" = 2 ]

say "the examples"
$c99 $cflags examples/c/slice.c -o "$work/slice" $shared
$cpp17 $cflags examples/c/volume.cpp -o "$work/volume" $shared
"$work/slice" weights/demo.safetensors | tee "$work/slice.txt"
"$work/volume" weights/demo.safetensors | tee "$work/volume.txt"
[ "$(grep --count --extended-regexp 'box [0-2]: [1-9][0-9]* pixels' "$work/slice.txt")" = 3 ]
grep --quiet --extended-regexp '^[1-9][0-9]* voxels on ' "$work/volume.txt"
# Another kind of network, whose made-up weights promise no pixel.
"$work/slice" "$fixture/litemedsam.safetensors" | tee "$work/slice.txt"
"$work/volume" "$fixture/litemedsam.safetensors" | tee "$work/volume.txt"
[ "$(grep --count --extended-regexp 'box [0-2]: [0-9]+ pixels' "$work/slice.txt")" = 3 ]
grep --quiet --extended-regexp '^[0-9]+ voxels on ' "$work/volume.txt"

say "C and C++, shared and static"
grep --quiet --fixed-strings -- "libmedsegx.a $system" docs/c.md || { echo "docs/c.md lacks: libmedsegx.a $system"; exit 1; }
cd tests/capi
$c99 $cflags api.c tune.c nonsense.c twice.c -o "$work/api_shared" $shared -lm
$c99 $cflags api.c tune.c nonsense.c twice.c -o "$work/api_static" $static
$cpp17 $cflags raii.cpp -o "$work/raii_shared" $shared
$cpp17 $cflags raii.cpp -o "$work/raii_static" $static
for program in api_shared api_static raii_shared raii_static; do
    "$work/$program" "$fixture"
done

say "another Rust library beside it, and two copies of it"
rustc --edition 2024 -O --crate-type staticlib other.rs -o "$work/libother.a"
$c99 $cflags beside.c -o "$work/beside" "$work/libother.a" $static
"$work/beside"
cp "$prefix/lib/libmedsegx.so" "$work/libcopy.so"
$c99 $cflags loaded_twice.c -o "$work/loaded_twice" $shared -ldl
"$work/loaded_twice" "$fixture" "$prefix/lib/libmedsegx.so" "$work/libcopy.so"

say "a scanner"
$c99 $cflags scanner.c -o "$work/scanner" $shared
"$work/scanner" "$fixture" 60

say "32 threads"
$c99 $cflags stress.c -o "$work/stress" $shared -lpthread
"$work/stress" "$fixture"

say "faults, one after another"
$c99 $cflags faults.c -o "$work/faults" $shared -lpthread -ldl
"$work/faults" "$fixture"

say "AddressSanitizer on the C side"
$c99 -g -fsanitize=address,undefined -fno-sanitize-recover=all $cflags api.c tune.c nonsense.c twice.c -o "$work/api_asan" $shared -lm
[ "$(nm "$work/api_asan" | grep -c __asan_init)" -gt 0 ] # grep -q would close the pipe under nm
"$work/api_asan" "$fixture"

if need valgrind valgrind "valgrind"; then
    say "valgrind"
    # One thread, since valgrind runs one at a time and others that wait for work would only take turns; portable
    # instructions, since it computes each lane of a fused multiply-add in software.
    CAPI_THREADS=1 CAPI_INSTRUCTIONS=1 valgrind --quiet --error-exitcode=9 --leak-check=full \
        --show-leak-kinds=definite --errors-for-leak-kinds=definite --suppressions=valgrind.supp "$work/api_shared" "$fixture"
fi

if need cmake cmake "CMake"; then
    say "CMake, shared and static"
    cmake -S . -B "$work/cmake" -DMEDSEGX_PREFIX="$prefix" >/dev/null
    cmake --build "$work/cmake" >/dev/null
    for program in api_cmake api_cmake_static raii_cmake; do
        "$work/cmake/$program" "$fixture"
    done
    for version in 0.2 1 0.1.1; do
        if cmake -S . -B "$work/cmake-$version" -DMEDSEGX_PREFIX="$prefix" -DMEDSEGX_VERSION=$version >/dev/null 2>&1; then
            echo "find_package took the package for version $version" >&2
            exit 1
        fi
    done
fi

say "panics, and the cost of a call through C"
cd "$root"
cargo test --quiet --release --lib capi:: -- --nocapture --include-ignored --test-threads 1

say "the C library holds"
