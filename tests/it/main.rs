//! One binary of tests: a module a subject. Tests that need a process or an allocator of their own stand beside this folder.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "jpeg2000")]
mod codecs;
mod codes;
mod continuity;
mod convert;
mod cuda_attention;
mod cuda_blocks;
mod cuda_ceiling;
mod cuda_decoder;
mod cuda_dependent;
mod cuda_golden;
mod cuda_graphs;
mod cuda_kernels;
mod cuda_memory;
mod cuda_ops;
mod cuda_pictures;
mod cuda_planted;
mod cuda_resize;
mod cuda_segment;
mod cuda_table;
mod cuda_whole;
mod determinism;
mod doubts;
mod eval;
mod forms;
mod golden;
mod hostile_checkpoints;
mod hostile_volume;
mod hostile_weights;
mod info;
mod intensity;
mod kernel_costs;
mod mask_writer;
mod metrics;
mod model;
mod ops;
mod orientation;
mod outliers;
mod prompt;
mod ptxas;
mod raster;
mod reading;
mod repository;
mod resize;
mod score;
mod score_command;
mod segment;
mod slices;
mod streaming;
mod surroundings;
mod taxonomy;
mod volume;
mod weights;
