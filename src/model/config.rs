//! Every size of the network. Read off the tensor shapes of a weights file, never typed by a user.

/// What a checkpoint is used as: the same shapes differ in pre-processing and in the choice of the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 256 px, context of MedSegDB, mean/std, no trained IoU head.
    MedSegX,
    /// 1024 px, longest side resized, mean/std, zero padding right and below; the IoU head chooses.
    Sam,
    /// 1024 px, both sides stretched, the slice's own minimum..maximum to 0..1, no mean/std; mask 0.
    MedSam,
}

/// Sizes of the contextual mixture of adapter experts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapters {
    /// E.
    pub experts: usize,
    /// R.
    pub bottleneck: usize,
    /// e.
    pub embedding: usize,
    /// Which blocks have adapters; one entry a block.
    pub blocks: Vec<bool>,
    /// Rows of `modal_embed`.
    pub modalities: usize,
    /// Rows of `organ_embed.0` to `organ_embed.4`; the last one is the task table.
    pub organ_rows: [usize; 5],
}

/// Every size of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the checkpoint is used as.
    pub kind: Kind,
    /// S, pixels: 256 or 1024.
    pub image_size: usize,
    /// Pixels of a patch side.
    pub patch: usize,
    /// D.
    pub width: usize,
    /// h of the encoder.
    pub heads: usize,
    /// d of the encoder.
    pub head_dim: usize,
    /// Hidden width of the encoder's MLP.
    pub mlp: usize,
    /// Side of an attention window in tokens.
    pub window: usize,
    /// One entry a block: true for global attention, false for windows.
    pub global: Vec<bool>,
    /// The mixture of adapter experts, if the model has one.
    pub adapters: Option<Adapters>,
    /// P.
    pub prompt_width: usize,
    /// Hidden width of the decoder's MLP.
    pub decoder_mlp: usize,
    /// Hidden width of the IoU head.
    pub iou_hidden: usize,
    /// Output channels of each transposed convolution of the decoder: four at full resolution, two for plain SAM.
    pub upscaling: Vec<usize>,
}

impl Config {
    /// Side of the token grid.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch
    }

    /// N.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Number of encoder blocks.
    pub fn depth(&self) -> usize {
        self.global.len()
    }

    /// Side of the logit maps: 256 for every published kind.
    pub fn logits_size(&self) -> usize {
        self.grid() << self.upscaling.len()
    }
}
