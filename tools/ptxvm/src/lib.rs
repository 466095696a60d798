//! Runs PTX on the CPU, checks it as a sanitizer would and counts what it costs.
