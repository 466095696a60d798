//! Hostile PyTorch checkpoints: cut, damaged or lying files are refused with a reason, and nothing panics.

use crate::common::fuzz;
use crate::common::pth;

use medsegx::weights::torch::Checkpoint;
use pth::{Pickle, Storage, Tensor, record, records};

/// Three small tensors, one file a container.
fn containers() -> [(&'static str, Vec<u8>); 3] {
    let tensor = |name: &str, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        Tensor { name: name.into(), shape: shape.into(), values: (0..count).map(|x| x as f32).collect() }
    };
    let tensors = [tensor("a.weight", &[3, 2]), tensor("a.bias", &[3]), tensor("b", &[1, 2, 2])];
    [
        ("zip", pth::plain_zip(&tensors)),
        ("legacy", pth::plain_legacy(&tensors)),
        ("training", pth::training_zip(&tensors)),
    ]
}

fn error(file: Vec<u8>) -> String {
    match Checkpoint::from_bytes(file, "hostile.pth") {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn every_cut_file_is_refused() {
    for (what, file) in containers() {
        assert!(Checkpoint::from_bytes(file.clone(), what).is_ok());
        for length in 0..file.len() {
            assert!(Checkpoint::from_bytes(file[..length].to_vec(), what).is_err(), "{what}: {length} bytes");
        }
        let longer = [&file[..], b"\0"].concat();
        assert!(Checkpoint::from_bytes(longer, what).is_err(), "{what}: a byte more");
    }
}

#[test]
fn damaged_files_never_panic() {
    for (what, file) in containers() {
        fuzz::survive(what, &file, file.len(), 40_000, |damaged| {
            if let Ok(checkpoint) = Checkpoint::from_bytes(damaged, what) {
                for (name, shape) in checkpoint.tensors() {
                    if let Ok(values) = checkpoint.load(name) {
                        assert_eq!(values.len(), shape.iter().product::<usize>());
                    }
                }
            }
        });
    }
    // With the checksum that fits, so that the damage reaches the pickle.
    let storages = || [pth::floats("0", &[1.0, 2.0, 3.0, 4.0])];
    let tensor = |pickle: Pickle| pickle.tensor(storage, 0, &[2, 2], &[2, 1]);
    let pickle = tensor(tensor(Pickle::new().op(b"}(").text("x")).text("y")).op(b"u").stop();
    fuzz::survive("pickle", &pickle, pickle.len(), 100_000, |damaged| {
        if let Ok(checkpoint) = Checkpoint::from_bytes(pth::zip(&damaged, &storages()), "pickle") {
            checkpoint.tensors().for_each(|(name, _)| drop(checkpoint.load(name)));
        }
    });
}

#[test]
fn a_damaged_storage_is_found_by_its_checksum() {
    let (_, mut file) = containers().into_iter().next().unwrap();
    let place = file.windows(8).position(|bytes| bytes == [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat()).unwrap();
    file[place] ^= 1;
    let checkpoint = Checkpoint::from_bytes(file, "zip").unwrap();
    assert!(checkpoint.load("a.weight").unwrap_err().to_string().contains("checksum"));
}

/// A state dict whose one tensor is what `value` pushes, in a zip with one storage of four floats.
fn hostile(value: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    let pickle = value(Pickle::new().op(b"}(").text("x")).op(b"u").stop();
    pth::zip(&pickle, &[pth::floats("0", &[1.0, 2.0, 3.0, 4.0])])
}

fn storage(pickle: Pickle) -> Pickle {
    pickle.storage("FloatStorage", "0", 4, false)
}

#[test]
fn hostile_pickles_are_refused_with_a_reason() {
    let four = |pickle: Pickle| pickle.tensor(storage, 0, &[2, 2], &[2, 1]);
    assert!(Checkpoint::from_bytes(hostile(four), "good").is_ok());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a call", hostile(|p| p.global("os", "system").text("touch /tmp/x").op(&[0x85]).op(b"R")), "os system"),
        ("a call by NEWOBJ", hostile(|p| p.global("builtins", "eval").text("1").op(&[0x85, 0x81])), "builtins eval"),
        ("a storage as a function", hostile(|p| p.global("torch", "FloatStorage").op(b")R")), "a call that rebuilds"),
        ("too few arguments", hostile(|p| p.global("torch._utils", "_rebuild_tensor_v2").op(b")R")), "0 arguments"),
        ("a tensor of no storage", hostile(|p| p.tensor(|p| p.int(3), 0, &[1], &[1])), "a tensor's storage"),
        ("outside its storage", hostile(|p| p.tensor(storage, 1, &[2, 2], &[2, 1])), "a view of 4 values"),
        ("a negative offset", hostile(|p| p.tensor(storage, -1, &[1], &[1])), "-1"),
        ("a negative stride", hostile(|p| p.tensor(storage, 3, &[2], &[-1])), "-1"),
        ("an overflowing stride", hostile(|p| p.tensor(storage, 0, &[3, 1], &[i64::MAX, 1])), "a view of 4 values"),
        ("an overflowing shape", hostile(|p| p.tensor(storage, 0, &[i64::MAX, 4], &[0, 0])), "a view of 4 values"),
        ("blown up by stride 0", hostile(|p| p.tensor(storage, 0, &[1 << 40], &[0])), "a view of 4 values"),
        ("ranks apart", hostile(|p| p.tensor(storage, 0, &[2, 2], &[2])), "a view of 4 values"),
        ("many axes", hostile(|p| p.tensor(storage, 0, &[1; 9], &[1; 9])), "at most 8 axes"),
        (
            "a storage too long",
            hostile(|p| p.tensor(|p| p.storage("FloatStorage", "0", 5, false), 0, &[1], &[1])),
            "16 bytes",
        ),
        (
            "an endless storage",
            hostile(|p| p.tensor(|p| p.storage("FloatStorage", "0", i64::MAX, false), 0, &[1], &[1])),
            "16 bytes",
        ),
        (
            "a missing storage",
            hostile(|p| p.tensor(|p| p.storage("FloatStorage", "7", 4, false), 0, &[1], &[1])),
            "archive/data/7",
        ),
        (
            "a storage outside",
            hostile(|p| p.tensor(|p| p.storage("FloatStorage", "../version", 4, false), 0, &[1], &[1])),
            "version",
        ),
        (
            "two types of one storage",
            hostile(|p| {
                p.tensor(storage, 0, &[1], &[1]).text("y").tensor(
                    |p| p.storage("IntStorage", "0", 4, false),
                    0,
                    &[1],
                    &[1],
                )
            }),
            "one type",
        ),
        (
            "an unknown storage",
            hostile(|p| p.tensor(|p| p.storage("QUInt8Storage", "0", 4, false), 0, &[1], &[1])),
            "QUInt8Storage",
        ),
        ("one name twice", hostile(|p| four(p).text("x").tensor(storage, 0, &[1], &[1])), "two entries named x"),
        ("no tensor", hostile(|p| p.int(1)), "got an integer; needs a tensor"),
        ("no name", hostile(|p| four(p).int(5).int(6)), "names of tensors"),
        ("an odd number", hostile(|p| four(p).text("y")), "odd"),
        ("a dictionary of nothing", pth::zip(&Pickle::new().op(b"}").stop(), &[]), "tensors"),
        ("no dictionary", pth::zip(&Pickle::new().op(b"]").stop(), &[]), "got a list; needs a dictionary"),
        ("an empty pickle", pth::zip(&[], &[]), "the end"),
        ("nothing on the stack", pth::zip(&Pickle::new().stop(), &[]), "a value on the stack"),
        ("taking below a mark", pth::zip(&Pickle::new().op(b"}(0").stop(), &[]), "0x30"),
        ("a pair below a mark", pth::zip(&Pickle::new().op(b"]N(a").stop(), &[]), "a value on the stack"),
        ("no mark", pth::zip(&Pickle::new().op(b"]Nt").stop(), &[]), "a mark"),
        (
            "a memo index ahead",
            pth::zip(&Pickle::new().op(b"]r").op(&u32::MAX.to_le_bytes()).stop(), &[]),
            "memo index 0",
        ),
        ("a memo index of nothing", pth::zip(&Pickle::new().op(b"h\x05").stop(), &[]), "in use"),
        ("text without end", pth::zip(&Pickle::new().op(b"X\xff\xff\xff\xff").stop(), &[]), "4294967295 more bytes"),
        ("text of no encoding", pth::zip(&Pickle::new().op(b"X\x01\0\0\0\xff").stop(), &[]), "UTF-8"),
        ("another protocol", pth::zip(&[0x80, 4, b'.'], &[]), "protocol 4"),
        ("an unknown opcode", pth::zip(&Pickle::new().op(b"\x95").stop(), &[]), "0x95"),
        ("setting in a tuple", pth::zip(&Pickle::new().op(b")NNs").stop(), &[]), "a dictionary to fill"),
        ("attributes of a number", pth::zip(&Pickle::new().op(b"N}b").stop(), &[]), "attributes"),
        ("too many steps", pth::zip(&Pickle::new().op(&vec![b'N'; (1 << 20) + 9]).stop(), &[]), "1048576 steps"),
    ];
    for (what, file, reason) in cases {
        let error = error(file);
        assert!(error.contains(reason) && error.contains("hostile.pth"), "{what}: {error}");
    }
}

/// Each of these made a reader that copies or recurses run out of memory or stack.
#[test]
fn bombs_of_nesting_and_sharing_are_harmless() {
    let deep = |open: &[u8], close: &[u8]| {
        let pickle = Pickle::new().op(&open.repeat(200_000)).op(b"N").op(&close.repeat(200_000));
        pth::zip(&pickle.stop(), &[])
    };
    assert!(error(deep(b"(", b"t")).contains("got a tuple; needs a dictionary"));
    assert!(error(deep(b"](", b"e")).contains("got a list; needs a dictionary"));
    // Each level holds the one before twice: 2^100000 values if they were copied.
    let doubled = Pickle::new().op(b"]q\0").op(&b"h\0\x86q\0".repeat(100_000)).stop();
    assert!(error(pth::zip(&doubled, &[])).contains("got a tuple; needs a dictionary"));
    // A list in itself.
    let cycle = Pickle::new().op(b"]q\0h\0a").stop();
    assert!(error(pth::zip(&cycle, &[])).contains("got a list; needs a dictionary"));
}

#[test]
fn hostile_archives_are_refused_with_a_reason() {
    let pickle = Pickle::new().op(b"}(").text("x").tensor(storage, 0, &[2, 2], &[2, 1]).op(b"u").stop();
    let good = || records(&pickle, &[pth::floats("0", &[1.0, 2.0, 3.0, 4.0])]);
    let changed = |change: &dyn Fn(&mut Vec<pth::Record>)| {
        let mut records = good();
        change(&mut records);
        pth::zip_of(&records)
    };
    let raw = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = pth::zip_of(&good());
        change(&mut file);
        file
    };
    let find = |file: &[u8], what: &[u8]| file.windows(what.len()).rposition(|bytes| bytes == what).unwrap();
    assert!(Checkpoint::from_bytes(raw(&|_| ()), "good").is_ok());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("compressed", changed(&|r| r[2].method = 8), "compression method 8"),
        ("encrypted", changed(&|r| r[2].flags = 1), "encryption"),
        (
            "one name twice",
            changed(&|r| r.push(record("archive/data/0", &[0; 16]))),
            "two records named archive/data/0",
        ),
        ("two pickles", changed(&|r| r.push(record("other/data.pkl", b""))), "one record data.pkl"),
        ("no pickle", changed(&|r| drop(r.remove(0))), "one record data.pkl"),
        ("big endian", changed(&|r| r[1] = record("archive/byteorder", b"big")), "big"),
        ("a damaged pickle", changed(&|r| r[0].checksum ^= 1), "checksum"),
        ("a comment", raw(&|f| *f.iter_mut().nth_back(1).unwrap() = 1), "no comment"),
        (
            "a moved directory",
            raw(&|f| {
                let at = find(f, b"PK\x06\x06");
                f[at + 48] ^= 4;
            }),
            "agree",
        ),
        (
            "too many records",
            raw(&|f| {
                let at = find(f, b"PK\x05\x06");
                f[at + 8] = 9;
                f[at + 10] = 9;
            }),
            "agree",
        ),
        (
            "overlap",
            raw(&|f| {
                // The directory entry of the version points at the header of the storage.
                let storage = f.windows(14).position(|b| b == b"archive/data/0").unwrap() as u32 - 30;
                let entry = find(f, b"archive/version") - 4;
                f[entry..entry + 4].copy_from_slice(&storage.to_le_bytes());
            }),
            "the record archive/version",
        ),
        (
            "reaching into the next",
            raw(&|f| {
                let entry = find(f, b"archive/byteorder") - 46;
                for field in [20, 24] {
                    f[entry + field] = 200;
                }
            }),
            "reaching into another",
        ),
        (
            "outside the file",
            raw(&|f| {
                let at = find(f, b"archive/data/0") - 2;
                f[at] = 0xff;
            }),
            "before byte",
        ),
    ];
    for (what, file, reason) in cases {
        let error = error(file);
        assert!(error.contains(reason), "{what}: {error}");
    }
}

#[test]
fn hostile_streams_are_refused_with_a_reason() {
    let storage = |pickle: Pickle| pickle.storage("FloatStorage", "0", 4, true);
    let pickle = Pickle::new().op(b"}(").text("x").tensor(storage, 0, &[2, 2], &[2, 1]).op(b"u").stop();
    let four = || pth::floats("0", &[1.0, 2.0, 3.0, 4.0]);
    assert!(Checkpoint::from_bytes(pth::legacy(&pickle, &[four()]), "good").is_ok());
    let view = Pickle::new().op(b"}(").text("x").tensor(
        |p| {
            p.op(b"(").text("storage").global("torch", "FloatStorage").text("0").text("cpu").int(4).ints(&[0]).op(b"tQ")
        },
        0,
        &[1],
        &[1],
    );
    let mut big_endian = pth::legacy(&pickle, &[four()]);
    let place = big_endian.windows(14).position(|bytes| bytes == b"little_endian\x88").unwrap();
    big_endian[place + 13] = 0x89;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a storage of another length", pth::legacy(&pickle, &[Storage { length: 3, ..four() }]), "length 4"),
        ("a missing storage", pth::legacy(&pickle, &[]), "storage 0"),
        ("a storage twice", pth::legacy(&pickle, &[four(), four()]), "each once"),
        ("a storage of nobody", pth::legacy(&pickle, &[four(), Storage { key: "1".into(), ..four() }]), "got 1;"),
        ("a view of a storage", pth::legacy(&view.op(b"u").stop(), &[four()]), "a storage with its class"),
        ("big endian", big_endian, "little_endian"),
        (
            "another protocol",
            pth::legacy(&pickle, &[four()])
                .into_iter()
                .enumerate()
                .map(|(i, b)| if i == 18 { 0xea } else { b })
                .collect(),
            "protocol 1001",
        ),
    ];
    for (what, file, reason) in cases {
        let error = error(file);
        assert!(error.contains(reason), "{what}: {error}");
    }
}
