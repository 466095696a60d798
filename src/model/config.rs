//! Every size of the network. Read off the tensor shapes of a weights file, never typed by a user.

/// Which masks a run returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Masks {
    /// Mask 0 alone.
    Single,
    /// Masks 1 to 3.
    Three,
}

impl Masks {
    /// Index of the first returned mask among the four.
    pub fn first(self) -> usize {
        match self {
            Masks::Single => 0,
            Masks::Three => 1,
        }
    }

    /// M.
    pub fn count(self) -> usize {
        match self {
            Masks::Single => 1,
            Masks::Three => 3,
        }
    }
}

/// What a checkpoint is used as: the same shapes differ in pre-processing and in the choice of the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 256 px, context of MedSegDB, mean/std, no trained IoU head.
    MedSegX,
    /// 1024 px, longest side resized, mean/std, zero padding right and below; the IoU head chooses.
    Sam,
    /// 1024 px, both sides stretched, the slice's own minimum..maximum to 0..1, no mean/std; mask 0.
    MedSam,
    /// 256 px, longest side resized by area, the picture's own minimum..maximum to 0..1, zero padding right and below;
    /// mask 0.
    LiteMedSam,
}

impl Kind {
    /// Whether it was trained with points as prompts.
    pub fn takes_points(self) -> bool {
        match self {
            Kind::Sam | Kind::MedSam => true,
            Kind::MedSegX | Kind::LiteMedSam => false,
        }
    }

    /// The masks of a box prompt that were trained to be taken.
    pub fn masks(self) -> Masks {
        match self {
            Kind::MedSegX | Kind::Sam => Masks::Three,
            Kind::MedSam | Kind::LiteMedSam => Masks::Single,
        }
    }
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

/// Sizes of a TinyViT in place of SAM's encoder: a stem, a stage of inverted bottlenecks, stages of attention in
/// windows, and an inverted bottleneck between stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinyVit {
    /// Side of the stem's kernels: 1 at 256 px (LiteMedSAM), 3 with stride 2 at 1024 px (MobileSAM).
    pub stem_kernel: usize,
    /// Channels between the stem's two convolutions.
    pub stem_width: usize,
    /// Hidden channels of the first stage's bottlenecks.
    pub expanded: usize,
    /// One entry a stage.
    pub stages: Vec<Stage>,
    /// Classes of the head that an encoder trained as a classifier still has. It is not used.
    pub classes: Option<usize>,
}

/// One stage of a [`TinyVit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Channels.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of its attention; 0 in the first stage.
    pub heads: usize,
    /// Side of its windows in tokens; 0 in the first stage.
    pub window: usize,
    /// Hidden channels of its MLPs; 0 in the first stage.
    pub mlp: usize,
}

impl TinyVit {
    /// Widths of stages that are not made by a stride.
    const UNSTRIDED: [usize; 3] = [320, 448, 576];

    /// Stride of the step from stage `stage` to the next.
    pub fn stride(&self, stage: usize) -> usize {
        self.stages.get(stage + 1).map_or(1, |next| if Self::UNSTRIDED.contains(&next.width) { 1 } else { 2 })
    }

    /// Side of the token grid of stage `stage`, for pictures of `image_size`.
    pub fn grid(&self, image_size: usize, stage: usize) -> usize {
        (0..stage).fold(image_size / self.stem_stride().pow(2), |side, before| side.div_ceil(self.stride(before)))
    }

    /// Stride of each of the stem's convolutions.
    pub fn stem_stride(&self) -> usize {
        if self.stem_kernel == 1 { 1 } else { 2 }
    }

    /// Side of the pictures that it was made for.
    pub fn image_size(&self) -> usize {
        if self.stem_kernel == 1 { 256 } else { 1024 }
    }
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
    /// The encoder where it is no ViT; what is said of the ViT's blocks is then said of the last stage.
    pub tiny_vit: Option<TinyVit>,
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

    /// Numbers of one slice's embedding, `[N, P]`.
    pub(crate) fn embedding_len(&self) -> usize {
        self.tokens() * self.prompt_width
    }

    /// LiteMedSAM as it was published: TinyViT of 5.7 M parameters at 256 px.
    pub fn litemedsam() -> Config {
        let stage = |width, depth, window| Stage { width, depth, heads: width / 32, window, mlp: 4 * width };
        let tiny_vit = TinyVit {
            stem_kernel: 1,
            stem_width: 32,
            expanded: 256,
            stages: vec![
                Stage { width: 64, depth: 2, heads: 0, window: 0, mlp: 0 },
                stage(128, 2, 7),
                stage(160, 6, 14),
                stage(320, 2, 7),
            ],
            classes: None,
        };
        Config {
            kind: Kind::LiteMedSam,
            image_size: 256,
            patch: 4,
            width: 320,
            heads: 10,
            head_dim: 32,
            mlp: 1280,
            window: 7,
            global: vec![false; 12],
            tiny_vit: Some(tiny_vit),
            ..Preset::VitB.sam()
        }
    }

    /// MobileSAM as it was published: the same encoder at 1024 px, used as plain SAM is.
    pub fn mobile_sam() -> Config {
        let mut config = Config { kind: Kind::Sam, image_size: 1024, patch: 16, ..Config::litemedsam() };
        if let Some(tiny_vit) = &mut config.tiny_vit {
            (tiny_vit.stem_kernel, tiny_vit.classes) = (3, Some(1000));
        }
        config
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

/// The model sizes that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Small, for tests: width 128, 4 blocks.
    Tiny,
    /// Width 768, 12 blocks.
    VitB,
    /// Width 1024, 24 blocks.
    VitL,
    /// Width 1280, 32 blocks.
    VitH,
}

impl Preset {
    /// Every preset, small to large.
    pub const ALL: [Preset; 4] = [Preset::Tiny, Preset::VitB, Preset::VitL, Preset::VitH];

    /// The name as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Tiny => "tiny",
            Preset::VitB => "vit_b",
            Preset::VitL => "vit_l",
            Preset::VitH => "vit_h",
        }
    }

    /// MedSegX at 256 px with the published mixture of experts in every block.
    pub fn medsegx(self) -> Config {
        let mut config = self.sam();
        let (depth, p) = (config.depth(), config.prompt_width);
        config.kind = Kind::MedSegX;
        config.image_size = 256;
        config.upscaling = vec![p / 4, p / 8, p / 16, p / 32];
        config.adapters = Some(Adapters {
            experts: 4,
            bottleneck: 16,
            embedding: 16,
            blocks: vec![true; depth],
            modalities: 10,
            organ_rows: [1, 5, 12, 39, 112],
        });
        config
    }

    /// Plain SAM at 1024 px.
    pub fn sam(self) -> Config {
        let (width, depth, heads, global): (usize, usize, usize, [usize; 4]) = match self {
            Preset::Tiny => (128, 4, 2, [1, 3, 1, 3]),
            Preset::VitB => (768, 12, 12, [2, 5, 8, 11]),
            Preset::VitL => (1024, 24, 16, [5, 11, 17, 23]),
            Preset::VitH => (1280, 32, 16, [7, 15, 23, 31]),
        };
        Config {
            kind: Kind::Sam,
            image_size: 1024,
            patch: 16,
            width,
            heads,
            head_dim: width / heads,
            mlp: 4 * width,
            window: 14,
            global: (0..depth).map(|block| global.contains(&block)).collect(),
            adapters: None,
            tiny_vit: None,
            prompt_width: 256,
            decoder_mlp: 2048,
            iou_hidden: 256,
            upscaling: vec![64, 32],
        }
    }
}
