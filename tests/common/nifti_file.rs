//! NIfTI files for tests, laid out by hand from nifti1.h and nifti2.h, independent of the reader under test.

use std::io::Write;

/// One NIfTI file to be; every field is what goes into the file, right or wrong.
#[derive(Clone)]
pub struct NiftiFile {
    pub version: u8,
    pub big_endian: bool,
    /// `dim[0..8]`.
    pub dim: [i64; 8],
    pub datatype: i16,
    pub bitpix: i16,
    pub pixdim: [f64; 8],
    pub vox_offset: f64,
    pub slope: f64,
    pub inter: f64,
    pub units: u8,
    pub qform_code: i16,
    pub sform_code: i16,
    pub quaternion: [f64; 3],
    pub offset: [f64; 3],
    pub rows: [[f64; 4]; 3],
    pub magic: Vec<u8>,
    /// What stands between the header and the voxels: the extension flag first.
    pub between: Vec<u8>,
    /// Voxels in the file's byte order.
    pub data: Vec<u8>,
}

/// Datatype code, bits, and the bytes of 0, 1, 2, ... n-1 each less `bias`, little endian.
pub fn ramp(code: i16, n: usize, bias: i32) -> (i16, Vec<u8>) {
    let values = (0..n as i32).map(|v| v - bias);
    let bytes = |f: &dyn Fn(i32) -> Vec<u8>| values.clone().flat_map(f).collect::<Vec<u8>>();
    match code {
        2 => (8, bytes(&|v| (v as u8).to_le_bytes().to_vec())),
        256 => (8, bytes(&|v| (v as i8).to_le_bytes().to_vec())),
        512 => (16, bytes(&|v| (v as u16).to_le_bytes().to_vec())),
        4 => (16, bytes(&|v| (v as i16).to_le_bytes().to_vec())),
        768 => (32, bytes(&|v| (v as u32).to_le_bytes().to_vec())),
        8 => (32, bytes(&|v| v.to_le_bytes().to_vec())),
        1280 => (64, bytes(&|v| (v as u64).to_le_bytes().to_vec())),
        1024 => (64, bytes(&|v| i64::from(v).to_le_bytes().to_vec())),
        16 => (32, bytes(&|v| (v as f32).to_le_bytes().to_vec())),
        64 => (64, bytes(&|v| f64::from(v).to_le_bytes().to_vec())),
        _ => panic!("no ramp of datatype {code}"),
    }
}

impl NiftiFile {
    /// A 3-D file with values 0, 1, 2, ... less `bias`, spacing 1.5 x 2 x 3, an sform and a qform that agree.
    pub fn new(version: u8, dims: [i64; 3], datatype: i16, bias: i32) -> Self {
        let [x, y, z] = dims;
        let (bitpix, data) = ramp(datatype, (x * y * z) as usize, bias);
        NiftiFile {
            version,
            big_endian: false,
            dim: [3, x, y, z, 1, 1, 1, 1],
            datatype,
            bitpix,
            pixdim: [1.0, 1.5, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0],
            vox_offset: if version == 1 { 352.0 } else { 544.0 },
            slope: 1.0,
            inter: 0.0,
            units: 2,
            qform_code: 1,
            sform_code: 1,
            quaternion: [0.0; 3],
            offset: [-10.0, 20.0, 30.5],
            rows: [[1.5, 0.0, 0.0, -10.0], [0.0, 2.0, 0.0, 20.0], [0.0, 0.0, 3.0, 30.5]],
            magic: if version == 1 { b"n+1\0".to_vec() } else { b"n+2\0\r\n\x1a\n".to_vec() },
            between: vec![0; 4],
            data,
        }
    }

    /// The same file in the other byte order.
    pub fn swapped(mut self) -> Self {
        self.big_endian = !self.big_endian;
        let size = if matches!(self.datatype, 128 | 2304) { 1 } else { self.bitpix as usize / 8 };
        self.data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        self
    }

    /// The header alone.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = vec![0; if self.version == 1 { 348 } else { 540 }];
        let mut put = |at: usize, value: &[u8]| {
            let mut value = value.to_vec();
            if self.big_endian {
                value.reverse();
            }
            bytes[at..at + value.len()].copy_from_slice(&value);
        };
        if self.version == 1 {
            put(0, &348_i32.to_le_bytes());
            (0..8).for_each(|i| put(40 + 2 * i, &(self.dim[i] as i16).to_le_bytes()));
            put(70, &self.datatype.to_le_bytes());
            put(72, &self.bitpix.to_le_bytes());
            (0..8).for_each(|i| put(76 + 4 * i, &(self.pixdim[i] as f32).to_le_bytes()));
            put(108, &(self.vox_offset as f32).to_le_bytes());
            put(112, &(self.slope as f32).to_le_bytes());
            put(116, &(self.inter as f32).to_le_bytes());
            put(123, &[self.units]);
            put(124, &99_f32.to_le_bytes()); // cal_max, which a mask must not keep
            put(252, &self.qform_code.to_le_bytes());
            put(254, &self.sform_code.to_le_bytes());
            (0..3).for_each(|i| put(256 + 4 * i, &(self.quaternion[i] as f32).to_le_bytes()));
            (0..3).for_each(|i| put(268 + 4 * i, &(self.offset[i] as f32).to_le_bytes()));
            (0..12).for_each(|i| put(280 + 4 * i, &(self.rows[i / 4][i % 4] as f32).to_le_bytes()));
            bytes[148..153].copy_from_slice(b"descr");
            bytes[344..344 + self.magic.len()].copy_from_slice(&self.magic);
        } else {
            put(0, &540_i32.to_le_bytes());
            put(12, &self.datatype.to_le_bytes());
            put(14, &self.bitpix.to_le_bytes());
            (0..8).for_each(|i| put(16 + 8 * i, &self.dim[i].to_le_bytes()));
            (0..8).for_each(|i| put(104 + 8 * i, &self.pixdim[i].to_le_bytes()));
            put(168, &(self.vox_offset as i64).to_le_bytes());
            put(176, &self.slope.to_le_bytes());
            put(184, &self.inter.to_le_bytes());
            put(192, &99_f64.to_le_bytes());
            put(344, &i32::from(self.qform_code).to_le_bytes());
            put(348, &i32::from(self.sform_code).to_le_bytes());
            (0..3).for_each(|i| put(352 + 8 * i, &self.quaternion[i].to_le_bytes()));
            (0..3).for_each(|i| put(376 + 8 * i, &self.offset[i].to_le_bytes()));
            (0..12).for_each(|i| put(400 + 8 * i, &self.rows[i / 4][i % 4].to_le_bytes()));
            put(500, &i32::from(self.units).to_le_bytes());
            bytes[240..245].copy_from_slice(b"descr");
            bytes[4..4 + self.magic.len()].copy_from_slice(&self.magic);
        }
        bytes
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        [self.header(), self.between.clone(), self.data.clone()].concat()
    }

    /// The whole file, gzip.
    pub fn gzip(&self) -> Vec<u8> {
        gzip(&self.bytes())
    }
}

/// One gzip member around `bytes`.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
