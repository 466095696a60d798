#!/usr/bin/env bash
# The C library as a host meets it: installed by cargo-c into target/capi, then C and C++ programs built against that
# tree, shared and static, through pkg-config and CMake; under AddressSanitizer; 32 threads; the exported symbols. Missing
# tools are installed where that is possible, and named as skipped where it is not.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD
work=$root/target/capi
prefix=$work/prefix
fixture=$work/fixture
warnings="-std=c99 -Wall -Wextra -Wpedantic -Werror"

say() { printf '\n--- %s\n' "$*"; }

need() { # tool, Debian package
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
    cargo install --quiet --locked cargo-c@0.10.24
fi
rm -rf "$work"
mkdir -p "$work"
cargo cinstall --release --prefix "$prefix" --libdir "$prefix/lib" --no-default-features --features cuda
need pkg-config pkg-config "the C library's checks" || exit 1
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
cflags=$(pkg-config --cflags medsegx)
shared=$(pkg-config --libs medsegx)
static="$prefix/lib/libmedsegx.a $(pkg-config --static --libs medsegx | tr ' ' '\n' | grep -v -- '-lmedsegx' | tr '\n' ' ')"
[ "$(pkg-config --modversion medsegx)" = "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)" ]

say "fixture"
MEDSEGX_CAPI_FIXTURE=$fixture cargo test --quiet --release --test capi_fixture
cargo run --quiet --release -- synth --config tiny -o "$fixture/tiny.safetensors" --force

say "exported symbols"
nm -D --defined-only "$prefix/lib/libmedsegx.so" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | sort >"$work/symbols.txt"
diff -u tests/capi/symbols.txt "$work/symbols.txt"
readelf -d "$prefix/lib/libmedsegx.so" | grep SONAME

say "header alone"
for standard in c99 c11; do
    echo '#include <medsegx.h>' | cc -x c -std=$standard -Wall -Wextra -Wpedantic -Werror $cflags -fsyntax-only -
done
echo '#include <medsegx.hpp>' | c++ -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror $cflags -fsyntax-only -

say "C and C++, shared and static"
cd tests/capi
cc $warnings $cflags api.c twice.c -o "$work/api_shared" $shared
cc $warnings $cflags api.c twice.c -o "$work/api_static" $static
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror $cflags raii.cpp -o "$work/raii_shared" $shared
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror $cflags raii.cpp -o "$work/raii_static" $static
for program in api_shared api_static raii_shared raii_static; do
    "$work/$program" "$fixture"
done

say "a scanner"
cc $warnings $cflags scanner.c -o "$work/scanner" $shared
"$work/scanner" "$fixture" 60

say "32 threads"
cc $warnings $cflags stress.c -o "$work/stress" $shared -lpthread
"$work/stress" "$fixture"

say "AddressSanitizer on the C side"
cc $warnings -g -fsanitize=address,undefined -fno-sanitize-recover=all $cflags api.c twice.c -o "$work/api_asan" $shared
[ "$(nm "$work/api_asan" | grep -c __asan_init)" -gt 0 ] # grep -q would close the pipe under nm
"$work/api_asan" "$fixture"

if need cmake cmake "CMake"; then
    say "CMake"
    cmake -S . -B "$work/cmake" -DMEDSEGX_PREFIX="$prefix" >/dev/null
    cmake --build "$work/cmake" >/dev/null
    "$work/cmake/api_cmake" "$fixture"
    "$work/cmake/raii_cmake" "$fixture"
fi

echo "the C library holds"
