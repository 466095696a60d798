//! Hostile weight files: cut, damaged or lying ones are refused with a reason, and nothing panics.

use crate::common::fuzz;

use std::path::Path;

use medsegx::Error;
use medsegx::model::{Config, Preset};
use medsegx::segment::{Device, Model, ModelOptions};
use medsegx::weights::{self, Access, Dtype, Weights};

/// As small as a model can be.
fn small() -> Config {
    let mut config = Preset::Tiny.medsegx();
    (config.width, config.heads, config.head_dim, config.mlp) = (4, 1, 4, 3);
    config.global = vec![true];
    let adapters = config.adapters.as_mut().unwrap();
    (adapters.experts, adapters.bottleneck, adapters.embedding, adapters.blocks) = (1, 1, 2, vec![true]);
    (config.prompt_width, config.decoder_mlp, config.iou_hidden) = (16, 2, 2);
    config.upscaling = vec![2, 2, 2, 1];
    config
}

fn file(dtype: Dtype) -> Vec<u8> {
    let (folder, weights) = (tempfile::tempdir().unwrap(), Weights::synthetic(&small(), 3));
    let (path, tensors) = (folder.path().join("w"), weights::names(weights.config()));
    weights::write(&path, false, &tensors, weights.metadata(), dtype, |name| weights.load(name)).unwrap();
    std::fs::read(path).unwrap()
}

fn split(file: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (String::from_utf8(file[8..8 + length].to_vec()).unwrap(), file[8 + length..].to_vec())
}

fn join(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn error(file: Vec<u8>) -> String {
    match Weights::from_bytes(file, "hostile.safetensors") {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn every_cut_file_is_refused() {
    let file = file(Dtype::BF16);
    assert!(Weights::from_bytes(file.clone(), "good").is_ok());
    for length in 0..file.len() {
        let error = error(file[..length].to_vec());
        assert!(error.contains("hostile.safetensors"), "{length} bytes: {error}");
    }
    assert!(error([&file[..], b"\0"].concat()).contains("data"), "a byte more");
}

#[test]
fn damaged_files_never_panic_and_never_give_nan() {
    for dtype in [Dtype::F16, Dtype::F32] {
        let file = file(dtype);
        let header = split(&file).0.len() + 8;
        let check = |damaged| {
            if let Ok(weights) = Weights::from_bytes(damaged, "damaged") {
                for name in weights.names() {
                    if let Ok(values) = weights.load(name) {
                        assert_eq!(values.len(), weights.shape(name).unwrap().iter().product::<usize>());
                        assert!(values.iter().all(|value| value.is_finite()));
                    }
                }
            }
        };
        fuzz::survive("header", &file, header, 4_000, check);
        fuzz::survive("anywhere", &file, file.len(), 1_000, check);
        // Only the digits of shapes and offsets, which the JSON survives.
        fuzz::survive("numbers", &file, 1, 4_000, |mut damaged| {
            let mut random = fuzz::Random(damaged.iter().map(|&byte| u64::from(byte)).sum());
            damaged.clone_from(&file);
            for _ in 0..=random.below(3) {
                let digits: Vec<usize> = (8..header).filter(|&place| damaged[place].is_ascii_digit()).collect();
                damaged[digits[random.below(digits.len())]] = b'0' + random.below(10) as u8;
            }
            check(damaged);
        });
    }
}

#[test]
fn lying_headers_are_refused_with_a_reason() {
    let (header, data) = split(&file(Dtype::F32));
    let name = "prompt_encoder.no_mask_embed.weight";
    let start = header.find(&format!("\"{name}\"")).unwrap();
    let end = start + header[start..].find('}').unwrap() + 1;
    let entry = header[start..end].to_string();
    let (begin, stop) = {
        let offsets = entry.split("\"data_offsets\":[").nth(1).unwrap().split(']').next().unwrap();
        let (begin, stop) = offsets.split_once(',').unwrap();
        (begin.parse::<u64>().unwrap(), stop.parse::<u64>().unwrap())
    };
    let entry_with = |dtype: &str, shape: &str, begin: u64, stop: u64| {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{stop}]}}")
    };
    let replaced = |with: &str| join(&header.replacen(&entry, with, 1), &data);
    let added = |more: &str| join(&format!("{},{more}}}", header.trim_end().strip_suffix('}').unwrap()), &data);
    assert!(Weights::from_bytes(replaced(&entry_with("F32", "[1,16]", begin, stop)), "good").is_ok());

    let huge = 1u64 << 61;
    let eight: Vec<String> = (0..8u64)
        .map(|i| {
            let (begin, stop) = (i.wrapping_mul(huge - 1), (i + 1).wrapping_mul(huge - 1));
            format!("\"x{i}\":{{\"dtype\":\"F16\",\"shape\":[{}],\"data_offsets\":[{begin},{stop}]}}", (huge - 1) / 2)
        })
        .collect();
    let many: String = (0..70_000).map(|i| format!("\"{i}\":0,")).collect();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("the same name and bytes twice", added(&entry), "two entries named prompt_encoder.no_mask_embed.weight"),
        ("the same bytes as another type", added(&entry_with("BF16", "[1,32]", begin, stop)), "two entries"),
        ("two metadata", added("\"__metadata__\":{}"), "two __metadata__"),
        (
            "a metadata key twice",
            join(&header.replacen("\"seed\":", "\"kind\":\"sam\",\"seed\":", 1), &data),
            "two entries named kind",
        ),
        ("metadata of numbers", join(&header.replacen("\"seed\":\"3\"", "\"seed\":3", 1), &data), "expected a string"),
        ("a field twice", replaced(&entry.replacen("\"dtype\"", "\"shape\":[1,16],\"dtype\"", 1)), "duplicate field"),
        ("an unknown field", replaced(&entry.replacen("\"dtype\"", "\"sparse\":1,\"dtype\"", 1)), "unknown field"),
        ("a missing field", replaced(&format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[1,16]}}")), "missing field"),
        ("an unknown type", replaced(&entry_with("F8_E4M3", "[1,64]", begin, stop)), "F32, F16 or BF16"),
        ("integers", replaced(&entry_with("I32", "[1,16]", begin, stop)), "F32, F16 or BF16"),
        ("another length", replaced(&entry_with("F32", "[1,17]", begin, stop)), "64 bytes"),
        ("half the length", replaced(&entry_with("F16", "[1,16]", begin, stop)), "64 bytes"),
        ("an overflowing shape", replaced(&entry_with("F32", "[4294967296,4294967296,16]", begin, stop)), "64 bytes"),
        (
            "a shape that wraps to the length",
            replaced(&entry_with("F32", "[16,4611686018427387905]", begin, stop)),
            "64 bytes",
        ),
        ("an empty tensor", replaced(&entry_with("F32", "[0,18446744073709551615]", begin, begin)), "no empty axis"),
        ("many axes", replaced(&entry_with("F32", "[1,1,1,1,1,1,1,1,16]", begin, stop)), "at most 8 axes"),
        ("offsets backwards", replaced(&entry_with("F32", "[1,16]", stop, begin)), "a range within"),
        ("offsets outside", replaced(&entry_with("F32", "[1,16]", begin, u64::MAX)), "a range within"),
        ("an overlap", replaced(&entry_with("F32", "[1,16]", begin - 4, stop - 4)), "to begin at"),
        ("a gap", replaced(&entry_with("F32", "[1,15]", begin + 4, stop)), "to begin at"),
        ("a negative offset", replaced(&entry.replacen(&format!("[{begin},"), "[-1,", 1)), "integer"),
        ("a fractional axis", replaced(&entry.replacen("[1,16]", "[1,16.0]", 1)), "floating point"),
        ("a length of 2^64", replaced(&entry.replacen("[1,16]", "[18446744073709551616]", 1)), "expected u64"),
        ("lengths that add up past 2^64", join(&format!("{{{}}}", eight.join(",")), &[0; 64]), "a range within"),
        ("nesting", join(&format!("{{\"x\":{}", "[".repeat(200_000)), &data), "invalid type"),
        ("nesting in a field", replaced(&entry.replacen("[1,16]", &"[".repeat(200_000), 1)), "invalid type"),
        (
            "nesting in an unknown field",
            replaced(&entry.replacen("\"dtype\"", &format!("\"x\":{}", "{\"a\":".repeat(200_000)), 1)),
            "unknown field",
        ),
        ("many entries of no use", join(&format!("{{{many}\"x\":0}}"), &data), "invalid type"),
        ("no object", join("[]", &data), "a JSON object"),
        ("nothing", join("", &data), "a JSON object"),
        ("text behind the header", join(&format!("{}x", header.trim_end()), &data), "trailing characters"),
        (
            "other encoding",
            join(&header, &data).into_iter().enumerate().map(|(i, b)| if i == 12 { 0xff } else { b }).collect(),
            "header",
        ),
        ("an endless header", [&u64::MAX.to_le_bytes()[..], &data].concat(), "header length"),
        ("a header longer than the file", [&(1u64 << 20).to_le_bytes()[..], b"{}"].concat(), "10 bytes"),
        ("no tensors", join("{}", b""), "no tensor of image_encoder"),
        ("no tensors but data", join("{}", &data), "data"),
        (
            "another model",
            join("{\"encoder.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", &[0; 4]),
            "no tensor of image_encoder",
        ),
        ("a checkpoint", b"PK\x03\x04\0\0\x08\x08".to_vec(), "medsegx convert"),
        ("an older checkpoint", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20".to_vec(), "medsegx convert"),
        ("an empty file", vec![], "0 bytes"),
    ];
    for (what, file, reason) in cases {
        let error = error(file);
        assert!(error.contains(reason) && error.contains("hostile.safetensors"), "{what}: {error}");
        assert!(error.len() < 100_000, "{what}: a message of {} bytes", error.len());
    }
}

#[test]
fn names_that_would_spoil_a_terminal_are_shown_harmless() {
    let (header, data) = split(&file(Dtype::F32));
    let spoilt = header.replacen("no_mask_embed", &format!("\\u001b[2J\\n{}", "x".repeat(5000)), 1);
    let error = error(join(&spoilt, &data));
    assert!(error.contains("\\u{1b}[2J\\n") && !error.contains('\u{1b}') && error.len() < 2000, "{error}");
}

#[test]
fn values_at_any_address_are_read() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let (header, data) = split(&file(dtype));
        let straight = Weights::from_bytes(join(&header, &data), "straight").unwrap();
        for spaces in 1..8 {
            let shifted = join(&format!("{header}{}", " ".repeat(spaces)), &data);
            let shifted = Weights::from_bytes(shifted, "shifted").unwrap();
            for name in straight.names() {
                assert_eq!(straight.load(name).unwrap(), shifted.load(name).unwrap(), "{name} {spaces}");
            }
        }
    }
}

#[test]
fn nan_and_infinity_are_refused_by_name() {
    let name = "prompt_encoder.point_embeddings.2.weight";
    let bits: [(Dtype, &[&[u8]]); 3] = [
        (Dtype::F32, &[&[0, 0, 0xc0, 0x7f], &[0, 0, 0x80, 0x7f], &[0, 0, 0x80, 0xff], &[1, 0, 0x80, 0x7f]]),
        (Dtype::F16, &[&[0, 0x7e], &[0, 0x7c], &[0, 0xfc], &[1, 0x7c]]),
        (Dtype::BF16, &[&[0xc0, 0x7f], &[0x80, 0x7f], &[0x80, 0xff], &[0x81, 0x7f]]),
    ];
    for (dtype, values) in bits {
        let (header, data) = split(&file(dtype));
        let after = &header[header.find(name).unwrap()..];
        let begin = after.split("\"data_offsets\":[").nth(1).unwrap().split(',').next().unwrap();
        let begin: usize = begin.parse().unwrap();
        for value in values {
            let mut data = data.clone();
            data[begin + 15 * dtype.size()..begin + 16 * dtype.size()].copy_from_slice(value);
            let weights = Weights::from_bytes(join(&header, &data), "w").unwrap();
            for other in weights.names().filter(|&other| other != name) {
                weights.load(other).unwrap();
            }
            let error = weights.load(name).unwrap_err();
            assert!(matches!(&error, Error::Tensor { name: named, .. } if named == name), "{error}");
            assert!(error.to_string().contains("NaN or infinity"), "{error}");
        }
    }
}

/// Weights that are looked at while they are packed: one tensor below others, one beside others, one alone.
#[test]
fn a_model_with_nan_or_infinity_is_refused_by_name() {
    let names = ["adapter_down.0.weight", "adapter_up.0.weight", "mlp.lin2.weight"];
    for (dtype, value) in
        [(Dtype::F32, &[0, 0, 0x80, 0x7f][..]), (Dtype::F16, &[0, 0x7e]), (Dtype::BF16, &[0x80, 0xff])]
    {
        let (header, data) = split(&file(dtype));
        for name in names.map(|name| format!("image_encoder.blocks.0.mlp.{name}")) {
            let after = &header[header.find(&name).unwrap()..];
            let begin = after.split("\"data_offsets\":[").nth(1).unwrap().split(',').next().unwrap();
            let begin: usize = begin.parse().unwrap();
            let mut data = data.clone();
            data[begin..begin + dtype.size()].copy_from_slice(value);
            let weights = Weights::from_bytes(join(&header, &data), "w").unwrap();
            let options = ModelOptions { device: Device::Cpu, ..ModelOptions::default() };
            let error = Model::load(&weights, &options).err().unwrap();
            assert!(matches!(&error, Error::Tensor { name: named, .. } if *named == name), "{dtype:?}: {error}");
            assert!(error.to_string().contains("NaN or infinity"), "{error}");
        }
    }
}

#[test]
fn a_file_that_changes_its_length_is_an_error_and_not_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = file(Dtype::F32);
    for access in [Access::Map, Access::Read] {
        for length in [0, 100, bytes.len() - 1, bytes.len() + 1] {
            let path = folder.path().join("w");
            std::fs::write(&path, &bytes).unwrap();
            let weights = Weights::open(&path, access).unwrap();
            weights.load("image_encoder.pos_embed").unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
            for error in [weights.load("image_encoder.pos_embed").unwrap_err(), weights.sha256().unwrap_err()] {
                assert!(error.to_string().contains("length while it is read"), "{access:?} {length}: {error}");
            }
        }
    }
}

#[test]
fn a_file_that_is_replaced_is_still_the_one_that_was_opened() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), file(Dtype::F32));
    let (path, other) = (folder.path().join("w"), folder.path().join("other"));
    for access in [Access::Map, Access::Read] {
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(&other, b"something else").unwrap();
        let weights = Weights::open(&path, access).unwrap();
        let before = weights.load("image_encoder.pos_embed").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(weights.load("image_encoder.pos_embed").unwrap(), before);
        assert_eq!(weights.sha256().unwrap().unwrap(), weights::sha256(&bytes));
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for access in [Access::Map, Access::Read] {
        assert!(matches!(Weights::open(&folder.path().join("none"), access), Err(Error::Io { operation: "open", .. })));
        assert!(Weights::open(folder.path(), access).is_err());
        if cfg!(unix) {
            assert!(Weights::open(Path::new("/dev/zero"), access).is_err());
        }
        let empty = folder.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert!(Weights::open(&empty, access).is_err());
    }
}
