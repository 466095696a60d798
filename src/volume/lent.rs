//! Volumes whose voxels somebody else keeps, an array of the host's for instance: looked at plane by plane, never
//! copied whole but for the rules of intensity that sort all values.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::info::Container;
use super::levels::LevelCounts;
use super::{
    Affine, DataType, Geometry, Intensity, IntensityMap, SetAside, SliceFrame, SliceSource, Statistics, Volume,
    VolumeInfo, Voxels, nifti,
};
use crate::image::voxels::with_voxels;
use crate::{Error, Result};

/// Who keeps the voxels.
pub trait Lender: Send {
    /// The stored values of plane `index` across `axis` (0, 1, 2 for x, y, z), in the order of [`Voxels`] without that
    /// axis and of the type that the volume's [`VolumeInfo`] names.
    ///
    /// # Errors
    /// Memory, or whatever keeps the voxels from being read.
    fn plane(&self, axis: usize, index: usize) -> Result<Voxels>;

    /// The axis across which a plane lies most together in memory.
    fn outermost(&self) -> usize;

    /// Ends what is computed of all voxels at once soon after it is set.
    fn cancel(&self) -> Option<&AtomicBool> {
        None
    }
}

/// A volume of lent voxels.
pub struct Lent<L> {
    info: VolumeInfo,
    lender: L,
    /// The plane that was asked for last: axis, index, and itself.
    held: Option<(usize, usize, Volume)>,
}

impl VolumeInfo {
    /// Of an array without a place in the patient, for which the rules of a .npy file hold: `picture` tells that it has
    /// no axis of slices. `name` stands for a path in messages.
    ///
    /// # Errors
    /// [`Error::Argument`] for an axis without voxels, or channels that are neither 1 nor 3.
    pub fn of_array(
        name: &str,
        dims: [usize; 3],
        channels: usize,
        data_type: DataType,
        picture: bool,
    ) -> Result<VolumeInfo> {
        let count = dims.iter().try_fold(channels, |all, &n| all.checked_mul(n));
        if !matches!(channels, 1 | 3) || dims.contains(&0) || count.is_none() {
            let found = format!("dims {dims:?} and {channels} channels");
            return Err(Error::Argument { name: "image", expected: "voxels of 1 or 3 channels".into(), found });
        }
        Ok(VolumeInfo::new(Path::new(name), Container::Npy { picture }, dims, channels, data_type))
    }

    /// The same with voxels that lie in the patient by `affine`, indices to millimetres in RAS+: then the rules of a
    /// NIfTI file hold. What looks wrong with the affine is added to the warnings.
    ///
    /// # Errors
    /// [`Error::File`] for numbers that are not finite.
    pub fn placed(mut self, affine: Affine) -> Result<VolumeInfo> {
        let header = nifti::Header::with_affine(self.dims, &affine, 1);
        let geometry = Geometry::read(&self.path, &header, None, &mut self.warnings)?;
        self.geometry = Some(Geometry { affine, ..geometry });
        self.container = Container::Memory;
        Ok(self)
    }

    /// The same with values `slope x stored + intercept`.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that are not finite or a slope of 0.
    pub fn scaled(mut self, slope: f64, intercept: f64) -> Result<VolumeInfo> {
        if !slope.is_finite() || !intercept.is_finite() || slope == 0.0 {
            let expected = "finite numbers and a slope that is not 0".into();
            return Err(Error::Argument { name: "slope, intercept", expected, found: format!("{slope}, {intercept}") });
        }
        (self.slope, self.intercept) = (slope, intercept);
        Ok(self)
    }

    /// The shape in which NumPy has such a file where its axes are y, x or z, y, x: an array of .npy or .npz, or a
    /// picture.
    pub fn array_shape(&self) -> Option<Vec<usize>> {
        let [width, height, slices] = self.dims;
        match self.container {
            Container::Npy { picture: true } | Container::Png => Some(vec![height, width]),
            Container::Npy { picture: false } | Container::Raster { format: "npz", .. } => {
                Some(vec![slices, height, width])
            }
            _ => None,
        }
    }
}

impl<L: Lender> Lent<L> {
    /// A volume that `info` tells of and `lender` keeps.
    pub fn new(info: VolumeInfo, lender: L) -> Lent<L> {
        Lent { info, lender, held: None }
    }

    /// Who keeps the voxels.
    pub fn lender_mut(&mut self) -> &mut L {
        &mut self.lender
    }

    /// What `rule`, or without one the rule for such a volume, makes of its values, and what it left out of its limits;
    /// adds to the warnings what the grey levels in use say.
    ///
    /// # Errors
    /// As [`Intensity::examine`].
    pub fn examine(&mut self, rule: Option<Intensity>) -> Result<(IntensityMap, Option<SetAside>)> {
        let unseen = rule.unwrap_or_else(|| Intensity::default_for(&self.info)).resolve_unseen(&self.info);
        let (map, set_aside) = match (unseen, rule) {
            (Some(map), _) => (map, None),
            (None, Some(rule)) if rule.wants_all_values() => {
                rule.examine_unless(&self.whole()?, self.lender.cancel())?
            }
            (None, _) => {
                let statistics = self.statistics()?;
                let rule = rule.unwrap_or_else(|| Intensity::default_for_range(&self.info, &statistics));
                (rule.of_range(&self.info, &statistics)?, None)
            }
        };
        let mut counts = LevelCounts::new(self.info.dims.iter().product::<usize>() * self.info.channels);
        self.each_plane(|_, plane| counts.add(plane, &map))?;
        self.info.warnings.extend(counts.warnings(&map));
        Ok((map, set_aside))
    }

    fn statistics(&self) -> Result<Statistics> {
        let mut all = Statistics::of::<u8>(&[], 1.0, 0.0);
        let (axis, (slope, intercept)) = (self.lender.outermost(), self.info.scaling());
        let [width, height, _] = self.info.dims;
        let strides = [1, width, width * height];
        let within: Vec<usize> = (0..3).filter(|&other| other != axis).collect();
        self.each_plane(|index, plane| {
            let one = with_voxels!(plane.voxels(), values => Statistics::of(values, slope, intercept));
            all.widen(&one);
            let channels = self.info.channels;
            let place = |value: usize| {
                let (pixel, columns) = (value / channels, self.info.dims[within[0]]);
                let voxel =
                    index * strides[axis] + pixel % columns * strides[within[0]] + pixel / columns * strides[within[1]];
                voxel * channels + value % channels
            };
            let found = one.first_not_finite.map(place);
            all.first_not_finite = [all.first_not_finite, found].into_iter().flatten().min();
        })?;
        Ok(all)
    }

    fn each_plane(&self, mut look: impl FnMut(usize, &Volume)) -> Result<()> {
        let axis = self.lender.outermost();
        (0..self.info.dims[axis]).try_for_each(|index| {
            look(index, &self.plane(axis, index)?);
            Ok(())
        })
    }

    /// A plane as a volume of one slice.
    fn plane(&self, axis: usize, index: usize) -> Result<Volume> {
        let mut dims = self.info.dims;
        dims[axis] = 1;
        let name = self.info.path.to_string_lossy();
        let plane = Volume::from_voxels(&name, dims, self.info.channels, self.lender.plane(axis, index)?)?;
        plane.scaled(self.info.slope, self.info.intercept)
    }

    /// All of it, in memory of its own.
    ///
    /// # Errors
    /// As [`Lender::plane`].
    pub fn whole(&self) -> Result<Volume> {
        let mut planes = Vec::with_capacity(self.info.dims[2]);
        for index in 0..self.info.dims[2] {
            planes.push(self.lender.plane(2, index)?);
        }
        Ok(Volume { info: self.info.clone(), voxels: Voxels::joined(planes)? })
    }
}

impl<L: Lender> SliceSource for Lent<L> {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn holding(&mut self, frame: &SliceFrame, index: usize) -> Result<(&Volume, SliceFrame, usize)> {
        if !frame.is_of(self.info.dims) {
            let expected = format!("slices of dims {:?}", self.info.dims);
            return Err(Error::Argument { name: "frame", expected, found: "those of another volume".into() });
        }
        frame.check_index(index)?;
        let axis = frame.axis();
        let held = match self.held.take() {
            Some(held) if (held.0, held.1) == (axis, index) => held,
            _ => (axis, index, self.plane(axis, index)?),
        };
        Ok((&self.held.insert(held).2, frame.of_planes(1), 0))
    }
}
