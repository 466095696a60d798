//! Writes checkpoints as torch does, in both containers, and as no torch ever would.

/// A tensor that is a whole storage of its own.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// A storage: its key, class in module `torch`, length in values, and bytes.
pub struct Storage {
    pub key: String,
    pub class: &'static str,
    pub length: usize,
    pub bytes: Vec<u8>,
}

/// Pickle protocol 2, opcode by opcode.
#[derive(Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, opcodes: &[u8]) -> Self {
        self.0.extend(opcodes);
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub fn int(self, value: i64) -> Self {
        match value {
            0..=0xff => self.op(&[b'K', value as u8]),
            0x100..=0xffff => self.op(b"M").op(&(value as u16).to_le_bytes()),
            _ => match i32::try_from(value) {
                Ok(value) => self.op(b"J").op(&value.to_le_bytes()),
                Err(_) => self.op(&[0x8a, 8]).op(&value.to_le_bytes()),
            },
        }
    }

    pub fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |pickle, &value| pickle.int(value)).op(b"t")
    }

    pub fn ordered_dict(self) -> Self {
        self.global("collections", "OrderedDict").op(b")R")
    }

    /// A storage, as the zip container names it or as the older one does.
    pub fn storage(self, class: &str, key: &str, length: i64, legacy: bool) -> Self {
        let pickle = self.op(b"(").text("storage").global("torch", class).text(key).text("cuda:0").int(length);
        pickle.op(if legacy { b"NtQ" } else { b"tQ" })
    }

    /// The call that rebuilds a tensor of the storage that `storage` pushes.
    pub fn tensor(self, storage: impl FnOnce(Self) -> Self, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        let pickle = storage(self.global("torch._utils", "_rebuild_tensor_v2").op(b"("));
        pickle.int(offset).ints(shape).ints(strides).op(&[0x89]).ordered_dict().op(b"tR")
    }

    pub fn stop(self) -> Vec<u8> {
        self.op(b".").0
    }
}

pub fn contiguous(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as i64;
    }
    strides
}

/// A float32 storage.
pub fn floats(key: &str, values: &[f32]) -> Storage {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Storage { key: key.into(), class: "FloatStorage", length: values.len(), bytes }
}

/// The pickle of a state dict, without STOP, and its storages.
pub fn state_dict(pickle: Pickle, tensors: &[Tensor], legacy: bool) -> (Pickle, Vec<Storage>) {
    let mut pickle = pickle.ordered_dict().op(b"q\0(");
    let mut storages = Vec::new();
    for (key, tensor) in tensors.iter().enumerate() {
        let key = key.to_string();
        let shape: Vec<i64> = tensor.shape.iter().map(|&axis| axis as i64).collect();
        let storage = |pickle: Pickle| pickle.storage("FloatStorage", &key, tensor.values.len() as i64, legacy);
        pickle = pickle.text(&tensor.name).tensor(storage, 0, &shape, &contiguous(&tensor.shape));
        storages.push(floats(&key, &tensor.values));
    }
    // torch hangs the versions of its modules on the dictionary.
    (pickle.op(b"u}").text("_metadata").op(b"}sb"), storages)
}

/// A plain state dict as today's torch saves it.
pub fn plain_zip(tensors: &[Tensor]) -> Vec<u8> {
    let (pickle, storages) = state_dict(Pickle::new(), tensors, false);
    zip(&pickle.stop(), &storages)
}

/// A plain state dict as torch before 1.6 saved it.
pub fn plain_legacy(tensors: &[Tensor]) -> Vec<u8> {
    let (pickle, storages) = state_dict(Pickle::new(), tensors, true);
    legacy(&pickle.stop(), &storages)
}

/// What training scripts save: the state dict beside an optimizer and numbers.
pub fn training_zip(tensors: &[Tensor]) -> Vec<u8> {
    let pickle = Pickle::new().op(b"}(").text("epoch").int(7).text("model");
    let (pickle, storages) = state_dict(pickle, tensors, false);
    let pickle = pickle.text("optimizer").op(b"}(").text("lr").op(b"G").op(&0.1f64.to_be_bytes());
    let pickle = pickle.text("betas").op(b"G").op(&0.9f64.to_be_bytes()).op(b"G").op(&0.99f64.to_be_bytes());
    let pickle = pickle.op(&[0x86]).text("on").op(&[0x88]).text("no").op(b"N").text("big").op(&[0x8a, 9]).op(&[1; 9]);
    let pickle = pickle.text("params").op(b"](").int(0).int(70_000).op(b"e").int(5).op(b"au");
    let pickle = pickle.text("args").global("argparse", "Namespace").op(&[b')', 0x81, b'}']).text("x").int(1).op(b"sb");
    zip(&pickle.op(b"u").stop(), &storages)
}

/// What the published fine-tuning saves as `model_best.pth`: the trained tensors, AdamW with a step and two moments of
/// each, and the epoch.
pub fn fine_tuned_zip(tensors: &[Tensor]) -> Vec<u8> {
    let (pickle, mut storages) = state_dict(Pickle::new().op(b"}(").text("model"), tensors, false);
    let mut pickle = pickle.text("optimizer").op(b"}(").text("state").op(b"}(");
    for (index, tensor) in tensors.iter().enumerate() {
        pickle = pickle.int(index as i64).op(b"}(");
        let moment = |scale: f32| tensor.values.iter().map(|value| scale * value).collect();
        let shape: Vec<i64> = tensor.shape.iter().map(|&axis| axis as i64).collect();
        let of_tensor = contiguous(&tensor.shape);
        let none: (&[i64], &[i64]) = (&[], &[]);
        let whole = (shape.as_slice(), of_tensor.as_slice());
        for (name, values, (shape, strides)) in
            [("step", vec![30.0], none), ("exp_avg", moment(0.5), whole), ("exp_avg_sq", moment(0.25), whole)]
        {
            let key = storages.len().to_string();
            let storage = |pickle: Pickle| pickle.storage("FloatStorage", &key, values.len() as i64, false);
            pickle = pickle.text(name).tensor(storage, 0, shape, strides);
            storages.push(floats(&key, &values));
        }
        pickle = pickle.op(b"u");
    }
    let pickle = pickle.op(b"u").text("param_groups").op(b"](}(").text("lr").op(b"G").op(&5e-5f64.to_be_bytes());
    let pickle = pickle.text("amsgrad").op(&[0x89]).text("params").op(b"](").int(0).int(1).op(b"eueu");
    zip(&pickle.text("epoch").int(29).op(b"u").stop(), &storages)
}

/// One record of a zip archive, which may lie.
#[derive(Clone)]
pub struct Record {
    pub name: String,
    pub bytes: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub checksum: u32,
}

pub fn record(name: &str, bytes: &[u8]) -> Record {
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    Record { name: name.into(), bytes: bytes.into(), method: 0, flags: 0x0808, checksum: checksum.sum() }
}

pub fn records(pickle: &[u8], storages: &[Storage]) -> Vec<Record> {
    let mut records = vec![record("archive/data.pkl", pickle), record("archive/byteorder", b"little")];
    records.extend(storages.iter().map(|storage| record(&format!("archive/data/{}", storage.key), &storage.bytes)));
    records.push(record("archive/version", b"3\n"));
    records
}

pub fn zip(pickle: &[u8], storages: &[Storage]) -> Vec<u8> {
    zip_of(&records(pickle, storages))
}

/// Data aligned to 64 bytes by an extra field, sizes behind the data, a 64-bit end record: as torch writes.
pub fn zip_of(records: &[Record]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for record in records {
        let (start, length) = (file.len() as u32, record.bytes.len() as u32);
        let padding = (64 - (file.len() + 30 + record.name.len() + 4) % 64) % 64;
        let (name, extra) = (record.name.len() as u16, padding as u16 + 4);
        let common =
            [0u16.to_le_bytes(), record.flags.to_le_bytes(), record.method.to_le_bytes(), [0; 2], [0; 2]].concat();
        file.extend([b"PK\x03\x04".as_slice(), &common, &[0; 12], &name.to_le_bytes(), &extra.to_le_bytes()].concat());
        file.extend([record.name.as_bytes(), b"FB", &(padding as u16).to_le_bytes(), &vec![b'Z'; padding]].concat());
        file.extend(&record.bytes);
        let sizes = [record.checksum.to_le_bytes(), length.to_le_bytes(), length.to_le_bytes()].concat();
        file.extend([b"PK\x07\x08".as_slice(), &sizes].concat());
        directory.extend([b"PK\x01\x02\0\0".as_slice(), &common, &sizes, &name.to_le_bytes(), &[0; 12]].concat());
        directory.extend([start.to_le_bytes().as_slice(), record.name.as_bytes()].concat());
    }
    let (start, length, count) = (file.len() as u64, directory.len() as u64, records.len() as u64);
    file.extend(directory);
    let end = file.len() as u64;
    file.extend([b"PK\x06\x06".as_slice(), &44u64.to_le_bytes(), &[0; 12]].concat());
    file.extend([count, count, length, start].map(u64::to_le_bytes).concat());
    file.extend([b"PK\x06\x07\0\0\0\0".as_slice(), &end.to_le_bytes(), &1u32.to_le_bytes()].concat());
    file.extend(
        [b"PK\x05\x06\0\0\0\0".as_slice(), &(count as u16).to_le_bytes(), &(count as u16).to_le_bytes()].concat(),
    );
    file.extend([(length as u32).to_le_bytes().as_slice(), &(start as u32).to_le_bytes(), &[0; 2]].concat());
    file
}

pub fn legacy(pickle: &[u8], storages: &[Storage]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    let system = Pickle::new().op(b"}(").text("protocol_version").int(1001).text("little_endian").op(&[0x88]);
    file.extend(system.text("type_sizes").op(b"}(").text("int").int(4).op(b"uu").stop());
    file.extend(pickle);
    let keys = storages.iter().fold(Pickle::new().op(b"]("), |pickle, storage| pickle.text(&storage.key));
    file.extend(keys.op(b"e").stop());
    for storage in storages {
        file.extend((storage.length as u64).to_le_bytes());
        file.extend(&storage.bytes);
    }
    file
}
