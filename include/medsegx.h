/*
 * medsegx: segmentation of medical images with MedSegX, for software that is not written in Rust.
 * Research software, not a medical device: whoever builds a device with it is its manufacturer.
 *
 * A complete program:
 *
 *     #include <medsegx.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     int main(void) {
 *         enum { H = 512, W = 512 };
 *         medsegx_model *model = NULL;
 *         medsegx_session *session = NULL;
 *         medsegx_error *error = NULL;
 *         short *pixels = calloc((size_t)H * W, sizeof *pixels); // the slice, in Hounsfield units
 *         unsigned char *mask = malloc((size_t)H * W);
 *         int failed = 1;
 *
 *         if (medsegx_model_open("medsegx_vit_b.safetensors", NULL, &model, &error)) goto done;
 *         if (medsegx_session_new(model, NULL, &session, &error)) goto done;
 *
 *         medsegx_context_names names;
 *         medsegx_context_names_init(&names, sizeof names);
 *         names.task = "CT_Liver";
 *         medsegx_context context;
 *         medsegx_context_init(&context, sizeof context);
 *         if (medsegx_context_from_names(&names, &context, &error)) goto done;
 *
 *         medsegx_slice slice;
 *         medsegx_slice_init(&slice, sizeof slice);
 *         slice.pixel_type = MEDSEGX_PIXEL_I16;
 *         slice.pixels = pixels;
 *         slice.height = H;
 *         slice.width = W;
 *         slice.intensity = MEDSEGX_INTENSITY_WINDOW;
 *         slice.low = -1024;
 *         slice.high = 1500;
 *
 *         medsegx_prompt prompt;
 *         medsegx_prompt_init(&prompt, sizeof prompt);
 *         prompt.has_box = 1;
 *         prompt.box[0] = 120; prompt.box[1] = 80; prompt.box[2] = 310; prompt.box[3] = 260;
 *
 *         medsegx_result result;
 *         medsegx_result_init(&result, sizeof result);
 *         result.mask = mask;
 *         result.mask_size = (size_t)H * W;
 *         if (medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, &error)) goto done;
 *         printf("%llu pixels, agreement %.2f\n", (unsigned long long)result.pixels, result.agreement);
 *         failed = 0;
 *
 *     done:
 *         if (error) fprintf(stderr, "%s\n", medsegx_error_message(error));
 *         medsegx_error_free(error);
 *         medsegx_session_free(session);
 *         medsegx_model_free(model);
 *         free(mask);
 *         free(pixels);
 *         return failed;
 *     }
 *
 * Threads. A const pointer may be used by many threads at once; a pointer without const by one at a time. So one
 * medsegx_model serves all threads, and each thread has a medsegx_session of its own. The model computes on threads of
 * its own, as many as its options say. Calls wait for them; those of several sessions take turns, in the order in which
 * they come to the model.
 *
 * Ownership. What a function hands out through `out` is freed with the function of the same stem: medsegx_model_free,
 * medsegx_session_free, medsegx_cancel_free, medsegx_error_free. Each accepts NULL. A session keeps its model alive.
 * Static text is valid for ever.
 *
 * Errors. A call returns MEDSEGX_STATUS_OK or another status. Where `error` is not NULL it is set: to NULL, or on failure
 * to an object that says what was expected and what was found, and that the caller frees. Out-pointers are set to NULL
 * before anything else can fail, and buffers and structs are written only on success. A required pointer that is NULL is
 * MEDSEGX_STATUS_INVALID_ARGUMENT, as is one that is not aligned for its type. Pointers that dangle, and sizes that are
 * larger than what they measure, cannot be noticed.
 *
 * A defect of the library is MEDSEGX_STATUS_INTERNAL; the session is poisoned then. What no library can turn into a status
 * ends the process: a stack that overflows, and a small allocation that the system refuses, for text, tables or the memory
 * of a thread that starts. All memory that grows with images and weights is asked for in a way that may be refused.
 *
 * Structs. The first field of a struct with an _init function is the size that the caller knows; that function sets it,
 * and the defaults. Fields are only ever added at the end.
 *
 * The library does not print, installs no signal handlers, changes no locale, environment or floating-point mode, uses
 * no network, and no thread pool but its models' own, whose threads have ended when the last handle of the model is freed.
 * It may not be unloaded. After fork the child may not use what the parent made, but for freeing it: on the CPU a run ends
 * with MEDSEGX_STATUS_DEVICE at once. Messages may name files; they hold nothing of an image.
 */

#ifndef MEDSEGX_H
#define MEDSEGX_H


#define MEDSEGX_MAJOR 0
#define MEDSEGX_MINOR 1
#define MEDSEGX_PATCH 0


#include <stddef.h>
#include <stdint.h>

#define MEDSEGX_ABI_VERSION 1

// What a call returns. Numbers are never reused.
enum medsegx_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Success.
    MEDSEGX_STATUS_OK = 0,
    // A pointer that is NULL, a value out of range, or arguments that contradict each other.
    MEDSEGX_STATUS_INVALID_ARGUMENT = 1,
    // The operating system, or the host's read callback, refused a file.
    MEDSEGX_STATUS_IO = 2,
    // A malformed or unsupported file.
    MEDSEGX_STATUS_BAD_FILE = 3,
    // Weights that are not a complete model.
    MEDSEGX_STATUS_BAD_WEIGHTS = 4,
    // A prompt that makes no sense for this image.
    MEDSEGX_STATUS_BAD_PROMPT = 5,
    // A name that the task tree does not have.
    MEDSEGX_STATUS_UNKNOWN_NAME = 6,
    // Memory that could not be had.
    MEDSEGX_STATUS_OUT_OF_MEMORY = 7,
    // A device that is missing, unsupported or failed.
    MEDSEGX_STATUS_DEVICE = 8,
    // The host asked to stop.
    MEDSEGX_STATUS_CANCELLED = 9,
    // The session failed internally before and can only be freed.
    MEDSEGX_STATUS_POISONED = 10,
    // A defect of this library, not of its input.
    MEDSEGX_STATUS_INTERNAL = 11,
    // The device is lost to this process: every later call on it fails alike until the process is started anew.
    MEDSEGX_STATUS_DEVICE_LOST = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_status medsegx_status;
#else
typedef int32_t medsegx_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where a model runs.
enum medsegx_device
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The first usable GPU, else the CPU; the log says why it is the CPU.
    MEDSEGX_DEVICE_AUTO = 0,
    // The CPU.
    MEDSEGX_DEVICE_CPU = 1,
    // The CUDA device of `device_index`, or an error.
    MEDSEGX_DEVICE_CUDA = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_device medsegx_device;
#else
typedef int32_t medsegx_device;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Numbers of the large products on the CPU.
enum medsegx_precision
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // 32 bits everywhere.
    MEDSEGX_PRECISION_F32 = 0,
    // bf16 products with f32 sums, on a processor that has them.
    MEDSEGX_PRECISION_BF16 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_precision medsegx_precision;
#else
typedef int32_t medsegx_precision;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Instructions of the CPU. Results are the same bits for any number of threads, but only for one of these.
enum medsegx_instructions
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The widest that the processor has.
    MEDSEGX_INSTRUCTIONS_WIDEST = 0,
    // What every processor of the target has.
    MEDSEGX_INSTRUCTIONS_PORTABLE = 1,
    // AVX2 and FMA.
    MEDSEGX_INSTRUCTIONS_AVX2 = 2,
    // AVX-512 F, BW, DQ and VL.
    MEDSEGX_INSTRUCTIONS_AVX512 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_instructions medsegx_instructions;
#else
typedef int32_t medsegx_instructions;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a model is.
enum medsegx_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // MedSegX, with or without adapters.
    MEDSEGX_KIND_MEDSEGX = 0,
    // Plain SAM.
    MEDSEGX_KIND_SAM = 1,
    // MedSAM.
    MEDSEGX_KIND_MEDSAM = 2,
    // LiteMedSAM.
    MEDSEGX_KIND_LITEMEDSAM = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_kind medsegx_kind;
#else
typedef int32_t medsegx_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The mask that a session takes, where it is none of 0 to 3.
enum medsegx_mask
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The one that scores best by the rule of the model's kind.
    MEDSEGX_MASK_AUTO = -1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_mask medsegx_mask;
#else
typedef int32_t medsegx_mask;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Type of a pixel or voxel, in the machine's byte order.
enum medsegx_pixel
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // uint8_t
    MEDSEGX_PIXEL_U8 = 0,
    // int16_t
    MEDSEGX_PIXEL_I16 = 1,
    // uint16_t
    MEDSEGX_PIXEL_U16 = 2,
    // float
    MEDSEGX_PIXEL_F32 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_pixel medsegx_pixel;
#else
typedef int32_t medsegx_pixel;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How values, slope * pixel + intercept, become the grey levels 0..255.
enum medsegx_intensity
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The least value becomes 0, the greatest 255: of the slice, or of the volume.
    MEDSEGX_INTENSITY_MINMAX = 0,
    // The 0.5th percentile of the values above 0 becomes 0, the 99.5th 255: of the slice, or of the volume.
    MEDSEGX_INTENSITY_PERCENTILE = 1,
    // `low` becomes 0, `high` 255.
    MEDSEGX_INTENSITY_WINDOW = 2,
    // Values that are 0..255 already. Fractions of at most 1 are refused: they would become black.
    MEDSEGX_INTENSITY_RAW = 3,
    // CT soft tissue: level 40, width 400.
    MEDSEGX_INTENSITY_SOFT = 4,
    // CT lung: level -600, width 1500.
    MEDSEGX_INTENSITY_LUNG = 5,
    // CT brain: level 40, width 80.
    MEDSEGX_INTENSITY_BRAIN = 6,
    // CT bone: level 400, width 1800.
    MEDSEGX_INTENSITY_BONE = 7,
    // CT mediastinum: level 50, width 350.
    MEDSEGX_INTENSITY_MEDIASTINUM = 8,
    // Values from 0 to 1.
    MEDSEGX_INTENSITY_UNIT = 9,
    // As MINMAX, but padding values and isolated extremes are set aside.
    MEDSEGX_INTENSITY_ROBUST = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_intensity medsegx_intensity;
#else
typedef int32_t medsegx_intensity;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much a message of the log matters. What fails is returned and not logged.
enum medsegx_log
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Something is not as it could be.
    MEDSEGX_LOG_WARNING = 2,
    // Good to know.
    MEDSEGX_LOG_INFORMATION = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_log medsegx_log;
#else
typedef int32_t medsegx_log;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a tuning trains.
enum medsegx_train
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The mask decoder: each slice is encoded once.
    MEDSEGX_TRAIN_DECODER = 0,
    // The encoder's adapter experts, their gates and the embeddings of the task tree.
    MEDSEGX_TRAIN_ADAPTERS = 1,
    // Both, as the published fine-tuning.
    MEDSEGX_TRAIN_ALL = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_train medsegx_train;
#else
typedef int32_t medsegx_train;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a tuning finds out whether it helps.
enum medsegx_validate
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Slices are held out: a share of them, whole volumes where there are several; below five slices each once.
    MEDSEGX_VALIDATE_AUTO = 0,
    // Not at all: the last step is kept.
    MEDSEGX_VALIDATE_NONE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_validate medsegx_validate;
#else
typedef int32_t medsegx_validate;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a tuning held out.
enum medsegx_held_out
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing.
    MEDSEGX_HELD_OUT_NOTHING = 0,
    // Slices of the same volumes.
    MEDSEGX_HELD_OUT_SLICES = 1,
    // Whole volumes.
    MEDSEGX_HELD_OUT_VOLUMES = 2,
    // Each slice once; then all were trained on.
    MEDSEGX_HELD_OUT_LEAVE_ONE_OUT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum medsegx_held_out medsegx_held_out;
#else
typedef int32_t medsegx_held_out;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A flag that stops runs. Any number of threads may use one.
typedef struct medsegx_cancel medsegx_cancel;

// Why a call failed. Immutable: any number of threads may read it.
typedef struct medsegx_error medsegx_error;

// Loaded weights on a device. Immutable: any number of threads may use one.
typedef struct medsegx_model medsegx_model;

// All the memory that runs of a model need. One call at a time; another one meanwhile is refused.
typedef struct medsegx_session medsegx_session;

// Labelled slices, and what tuning on them made of a model. One call at a time; another one meanwhile is
// refused.
typedef struct medsegx_tuning medsegx_tuning;

// Receives a message: `level` is a medsegx_log, `message` is valid during the call. Called on the thread of the call that
// has something to say, with no lock held; it must not call medsegx with the model that is being made.
typedef void (*medsegx_log_callback)(void *user, int32_t level, const char *message);

// How a model is loaded.
typedef struct medsegx_model_options {
    // sizeof this struct, set by medsegx_model_options_init.
    uint32_t struct_size;
    // A medsegx_device; default MEDSEGX_DEVICE_AUTO.
    int32_t device;
    // Ordinal of the CUDA device; default 0.
    uint32_t device_index;
    // A medsegx_precision; default MEDSEGX_PRECISION_F32.
    int32_t precision;
    // CPU threads of the model's own pool; default 0, as many as the processor runs at once.
    uint32_t threads;
    // A medsegx_instructions; default MEDSEGX_INSTRUCTIONS_WIDEST.
    int32_t instructions;
    // Where messages go; default NULL, nowhere.
    medsegx_log_callback log;
    // Handed to `log`.
    void *log_user;
    // File of `medsegx tune`, UTF-8, whose tensors go on top of the weights that they were tuned from; default NULL, none.
    // Read while the model is opened.
    const char *tuned;
} medsegx_model_options;

// What a model is.
typedef struct medsegx_model_info {
    // sizeof this struct, set by medsegx_model_info_init.
    uint32_t struct_size;
    // A medsegx_kind.
    int32_t kind;
    // Side of the model's picture, pixels.
    uint32_t image_size;
    // Side of a logit map, pixels.
    uint32_t logits_size;
    // 1 where slices need a medsegx_context.
    int32_t needs_context;
    // Blocks of the encoder.
    uint32_t depth;
    // Channels of the encoder.
    uint32_t width;
} medsegx_model_info;

// How much a session can hold. All its memory is taken when it is made.
typedef struct medsegx_session_options {
    // sizeof this struct, set by medsegx_session_options_init.
    uint32_t struct_size;
    // Rows of the largest slice; default 512. Slices of exactly max_height x max_width allocate nothing from the first
    // call on; another size makes its tables when it is first seen.
    uint32_t max_height;
    // Columns of the largest slice; default 512.
    uint32_t max_width;
    // Prompt points of one prompt; a box takes two; default 2.
    uint32_t max_points;
    // Which mask is taken: MEDSEGX_MASK_AUTO, the default, or 0 to 3.
    int32_t mask;
    // 1 where mask prompts will be given; default 0.
    int32_t mask_prompts;
    // Slices in one batch of a volume, and prompts in one of medsegx_session_prompt; default 1.
    uint32_t batch;
    // Slices whose embeddings are kept when others come: a slice that comes again with the same context is not encoded
    // again. The one that was not used for longest goes. Each takes 4 N P bytes (256 KB at 256 px); default 0.
    uint32_t kept_slices;
} medsegx_session_options;

// Where a target stands in MedSegDB's tree: rows of the model's context embeddings. medsegx_context_init sets none of
// them, and a model that needs the context refuses the ones that are not set.
typedef struct medsegx_context {
    // sizeof this struct, set by medsegx_context_init.
    uint32_t struct_size;
    // Row of the modality.
    uint32_t modality;
    // Row of the body part.
    uint32_t body_part;
    // Row of the body subregion.
    uint32_t subregion;
    // Row of the organ or tissue.
    uint32_t organ;
    // Row of the task.
    uint32_t task;
} medsegx_context;

// Names of MedSegDB's tree in UTF-8; NULL where nothing is said.
typedef struct medsegx_context_names {
    // sizeof this struct, set by medsegx_context_names_init.
    uint32_t struct_size;
    // 0
    uint32_t reserved;
    // Modality and target, as "CT_Liver". It implies the rest; the other names override it.
    const char *task;
    // Modality.
    const char *modality;
    // Body part.
    const char *body_part;
    // Body subregion.
    const char *subregion;
    // Organ or tissue.
    const char *organ;
    // Target, or "unseen" for the spare task row.
    const char *target;
} medsegx_context_names;

// One slice: pixels, and how they become grey levels. Pixels are only read.
typedef struct medsegx_slice {
    // sizeof this struct, set by medsegx_slice_init.
    uint32_t struct_size;
    // A medsegx_pixel; default MEDSEGX_PIXEL_U8.
    int32_t pixel_type;
    // First pixel of the first row.
    const void *pixels;
    // Bytes from one row to the next; default 0, rows are packed.
    size_t row_stride;
    // Rows.
    uint32_t height;
    // Columns.
    uint32_t width;
    // 1 grey, the default, or 3 interleaved colour.
    uint32_t channels;
    // A medsegx_intensity; default MEDSEGX_INTENSITY_MINMAX.
    int32_t intensity;
    // Multiplies a pixel before the rule; default 1.
    double slope;
    // Is added after that; default 0.
    double intercept;
    // Black of MEDSEGX_INTENSITY_WINDOW; default 0.
    double low;
    // White of MEDSEGX_INTENSITY_WINDOW; default 255.
    double high;
    // Value, slope and intercept applied, of pixels that are NaN or infinite; default NaN: a slice with such is refused.
    double nan_value;
} medsegx_slice;

// A point of a slice.
typedef struct medsegx_point {
    // Column; the middle of pixel 3 is 3.0.
    double x;
    // Row.
    double y;
    // 1 object, 0 background.
    int32_t label;
    // 0
    int32_t reserved;
} medsegx_point;

// What to segment on a slice: a box, points, a mask, or any of them together.
typedef struct medsegx_prompt {
    // sizeof this struct, set by medsegx_prompt_init.
    uint32_t struct_size;
    // 1 where there is a box; default 0.
    int32_t has_box;
    // x0, y0, x1, y1: inclusive pixel indices, corners in any order. A fraction names the pixel whose centre is nearest;
    // exactly between two, the one inside the box. Both are warnings.
    double box[4];
    // Points, or NULL.
    const struct medsegx_point *points;
    // How many points.
    size_t point_count;
    // Logits of an earlier mask, a square of side image_size / 4, or NULL.
    const float *mask;
} medsegx_prompt;

// Where the answer for a slice goes, and the answer. Fields marked "in" are the caller's.
typedef struct medsegx_result {
    // sizeof this struct, set by medsegx_result_init.
    uint32_t struct_size;
    // Out: the mask that was taken, 0 to 3.
    int32_t chosen;
    // In: height * width bytes, which become 0 or 1; or NULL.
    uint8_t *mask;
    // In: bytes of `mask`.
    size_t mask_size;
    // In: room for the raw logits of all decoded masks, mask_count * logits_size * logits_size floats; or NULL.
    float *logits;
    // In: floats of `logits`.
    size_t logits_count;
    // Out: foreground pixels.
    uint64_t pixels;
    // Out: masks that were decoded: 3, or 1 for mask 0.
    uint32_t mask_count;
    // Out: number of the first of them: 1, or 0.
    uint32_t first_token;
    // Out: score of each decoded mask by the rule that chose.
    double scores[4];
    // Out: mean Dice among the masks; low where the result is doubtful; -1 where the mask is empty.
    double agreement;
    // Out, of the chosen mask: IoU of its tight box with the prompt's, times the part inside.
    double box_agreement;
    // Out, of the chosen mask: area above logit +1 over area above -1.
    double stability;
    // Out: what is doubtful; bit n is the warning of number n, see medsegx_warning_name.
    uint64_t warnings;
} medsegx_result;

// A volume of voxels, x fastest, then y, then z, and how they become grey levels. Voxels are only read.
typedef struct medsegx_volume {
    // sizeof this struct, set by medsegx_volume_init.
    uint32_t struct_size;
    // A medsegx_pixel; default MEDSEGX_PIXEL_U8.
    int32_t pixel_type;
    // The voxels.
    const void *voxels;
    // Bytes of `voxels`.
    size_t size;
    // Voxels along x, y, z.
    uint32_t dims[3];
    // 1 grey, the default, or 3 interleaved colour.
    uint32_t channels;
    // The axis that slices lie across: 0, 1 or 2; default 2.
    uint32_t axis;
    // A medsegx_intensity, over the whole volume; default MEDSEGX_INTENSITY_MINMAX.
    int32_t intensity;
    // As in medsegx_slice.
    double slope;
    // As in medsegx_slice.
    double intercept;
    // As in medsegx_slice.
    double low;
    // As in medsegx_slice.
    double high;
    // As in medsegx_slice.
    double nan_value;
} medsegx_volume;

// What is known of one slice of one target. Later versions may add fields at the end: calls take the size of an element.
typedef struct medsegx_outcome {
    // Index of the target in the call's array.
    uint32_t target;
    // Index of the slice along the volume's axis.
    uint32_t slice;
    // The mask that was taken, 0 to 3.
    int32_t chosen;
    // Masks that were decoded: 3, or 1 for mask 0.
    uint32_t mask_count;
    // Number of the first of them: 1, or 0.
    uint32_t first_token;
    // 0
    uint32_t reserved;
    // Foreground pixels of the mask, before later targets are painted over it.
    uint64_t pixels;
    // Score of each decoded mask by the rule that chose. Neighbouring slices take part in the choice too.
    double scores[4];
    // As in medsegx_result.
    double agreement;
    // As in medsegx_result.
    double box_agreement;
    // As in medsegx_result.
    double stability;
    // Mean Dice of the mask with those of the target's neighbouring slices; -1 where there are none.
    double continuity;
    // As in medsegx_result. Not written where outcome_size is that of version 1, without this field.
    uint64_t warnings;
} medsegx_outcome;

// Where the answer for a volume goes, and the answer. Fields marked "in" are the caller's.
typedef struct medsegx_volume_result {
    // sizeof this struct, set by medsegx_volume_result_init.
    uint32_t struct_size;
    // In: sizeof(medsegx_outcome), where there are outcomes; default 0.
    uint32_t outcome_size;
    // In: dims[0] * dims[1] * dims[2] values, which become 0 where nothing is. Where targets overlap the later one wins.
    uint16_t *labels;
    // In: values of `labels`.
    size_t labels_count;
    // In: room for an outcome of every slice of every target, outcome_size bytes apart; or NULL.
    struct medsegx_outcome *outcomes;
    // In: elements of `outcomes`.
    size_t outcomes_room;
    // Out: how many outcomes there are, by ascending slice, then in the order of targets.
    size_t outcomes_count;
    // Out: what is doubtful about the voxels, a box or any slice of any target, as in medsegx_result; bit 26 where targets
    // overlap.
    uint64_t warnings;
    // In: room for the voxels of each target in `labels`, after later targets were painted over it; or NULL.
    uint64_t *voxels;
    // In: elements of `voxels`; at least the number of targets where there are any.
    size_t voxels_room;
} medsegx_volume_result;

// Writes `size` bytes of a weights file, from byte `offset` on, to `buffer`; anything but 0 as an answer is a failure.
// Called on the calling thread, with ascending offsets, no byte twice.
typedef int32_t (*medsegx_read_callback)(void *user, uint64_t offset, void *buffer, size_t size);

// A rectangle on one slice of a volume, voxel indices, inclusive.
typedef struct medsegx_slice_box {
    // Index of the slice along the volume's axis.
    int64_t slice;
    // x0, y0: a corner, along the volume's axes that are left, in their order.
    int64_t low[2];
    // x1, y1: the other corner. Where one is below that of `low`, they are swapped, with a warning.
    int64_t high[2];
} medsegx_slice_box;

// One thing to segment in a volume: the same rectangle on a run of slices, or a rectangle for each of its slices. Later
// versions may add fields at the end: calls take the size of an element.
typedef struct medsegx_target {
    // Value in the label array, 1 to 65535.
    uint32_t label;
    // Rows of the tree, as in medsegx_context.
    uint32_t modality;
    // Row of the body part.
    uint32_t body_part;
    // Row of the body subregion.
    uint32_t subregion;
    // Row of the organ or tissue.
    uint32_t organ;
    // Row of the task.
    uint32_t task;
    // x0, y0, z0: voxel indices of a corner of the box, inclusive.
    int64_t low[3];
    // x1, y1, z1: voxel indices of the other corner, inclusive. Where one is below that of `low`, they are swapped, with a
    // warning.
    int64_t high[3];
    // `box_count` rectangles, at most one a slice, in any order; NULL where `low` and `high` say it all.
    const struct medsegx_slice_box *boxes;
    // Number of `boxes`. Above 0 `low` and `high` are not looked at.
    size_t box_count;
} medsegx_target;

// Hears how many slices of a volume's targets are done, of how many; anything but 0 as an answer cancels. Called on the
// calling thread after each batch, with no lock held. A call with the session that is running is refused; others are allowed.
typedef int32_t (*medsegx_progress_callback)(void *user, uint64_t done, uint64_t total);

// How a model is tuned.
typedef struct medsegx_tune_options {
    // sizeof this struct, set by medsegx_tune_options_init.
    uint32_t struct_size;
    // Steps; default 50. Where slices are held out the best of ten moments among them is kept.
    uint32_t steps;
    // Slices of a step; default 4.
    uint32_t batch;
    // Most pixels of the model's picture that each side of a box goes outward, at random; default 0.
    uint32_t jitter;
    // Of the order of slices and of the jitter. The same seed gives the same bytes for any number of threads.
    uint64_t seed;
    // Learning rate; default 0: the engine's own.
    float rate;
    // Threads; default 0: as many as the processor runs at once.
    uint32_t threads;
    // A medsegx_validate; default MEDSEGX_VALIDATE_AUTO.
    int32_t validate;
    // A medsegx_instructions; default MEDSEGX_INSTRUCTIONS_WIDEST.
    int32_t instructions;
    // Share of the slices, or volumes, that is held out, above 0 and below 1; default 0.2.
    double share;
    // A medsegx_train; default MEDSEGX_TRAIN_DECODER. The others take MedSegX alone and sessions on the CPU in f32, whose
    // model's threads and instructions they have.
    int32_t train;
    // 0
    uint32_t reserved;
    // Most bytes of a step above the loaded model, with MEDSEGX_TRAIN_ADAPTERS and _ALL: blocks of the encoder that are not
    // kept in it are computed anew, to the same bits. Default 0: half of what the machine has free.
    uint64_t memory;
} medsegx_tune_options;

// What a tuning did. Dice are means over what was held out, or over all slices where nothing was.
typedef struct medsegx_tune_result {
    // sizeof this struct, set by medsegx_tune_result_init.
    uint32_t struct_size;
    // A medsegx_held_out.
    int32_t held_out;
    // Slices or volumes that were held out at once.
    uint32_t held_count;
    // Steps behind what was kept; 0 where tuning did not help and the model is as it was.
    uint32_t steps;
    // 1 where `progress` ended it.
    int32_t stopped;
    // 0
    uint32_t reserved;
    // Dice of the mask that the engine chooses before tuning.
    double dice_before;
    // The same after tuning, whether it was kept or not.
    double dice_after;
    // Dice of the ellipse that the box encloses.
    double dice_ellipse;
    // Loss of the first step.
    double first_loss;
    // Loss of the last step.
    double last_loss;
} medsegx_tune_result;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Words for a status; "unknown status" for a number that is none. Static text. Any thread.
const char *medsegx_status_string(int32_t status);

// The stable code of the warning of number `number`, which is its bit in `warnings`, as "mask-empty"; NULL for a number
// that has none. Static text. Any thread.
const char *medsegx_warning_name(uint32_t number);

// What that warning means, in a sentence; NULL for a number that has none. Static text. Any thread.
const char *medsegx_warning_meaning(uint32_t number);

// The status behind an error; MEDSEGX_STATUS_OK for NULL. Any number of threads at once.
medsegx_status medsegx_error_status(const struct medsegx_error *error);

// What failed, what was expected and what was found, in UTF-8; "" for NULL. Valid until the error is freed. Any number
// of threads at once.
const char *medsegx_error_message(const struct medsegx_error *error);

// What lies below the error, as the operating system's own words; NULL where there is nothing, and for NULL. Valid until
// the error is freed. Any number of threads at once.
const char *medsegx_error_source(const struct medsegx_error *error);

// Frees an error that no thread uses any more. NULL is allowed.
void medsegx_error_free(struct medsegx_error *error);

// Sets `out` to its defaults; struct_size is sizeof *out. NULL is ignored. Any thread.
void medsegx_model_options_init(struct medsegx_model_options *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_model_info_init(struct medsegx_model_info *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_session_options_init(struct medsegx_session_options *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_context_init(struct medsegx_context *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_context_names_init(struct medsegx_context_names *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_slice_init(struct medsegx_slice *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_prompt_init(struct medsegx_prompt *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_result_init(struct medsegx_result *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_volume_init(struct medsegx_volume *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_volume_result_init(struct medsegx_volume_result *out, uint32_t struct_size);

// Version of the library that runs, as "0.1.0". Static text. Any thread.
const char *medsegx_version(void);

// ABI of the library that runs: compare with MEDSEGX_ABI_VERSION, which a program was built with. Any thread.
uint32_t medsegx_abi_version(void);

// One line for a host's log: version, ABI, source revision as the builder named it in MEDSEGX_REVISION, CUDA support,
// instructions of this processor, notice. Static text. Any thread.
const char *medsegx_build_info(void);

// Loads a weights file, which is read and not mapped: it may be replaced meanwhile, and is not needed afterwards.
//
// `path` is UTF-8 and required (on Windows too, where it becomes UTF-16). `options` may be NULL: defaults. `out` is
// required; it is set to NULL at once, and on success to a model that medsegx_model_free frees. Any thread. Fails with
// MEDSEGX_STATUS_IO, _BAD_FILE, _BAD_WEIGHTS, _OUT_OF_MEMORY, _DEVICE and _INVALID_ARGUMENT.
medsegx_status medsegx_model_open(const char *path,
                                  const struct medsegx_model_options *options,
                                  struct medsegx_model **out,
                                  struct medsegx_error **error);

// As medsegx_model_open, from `size` bytes at `data`, which are copied and may go after the call.
medsegx_status medsegx_model_open_memory(const void *data,
                                         size_t size,
                                         const struct medsegx_model_options *options,
                                         struct medsegx_model **out,
                                         struct medsegx_error **error);

// As medsegx_model_open, from a file of `size` bytes that `read` hands over piece by piece. `read` is required and gets
// `user`, which may be NULL. An answer of `read` other than 0 is MEDSEGX_STATUS_IO.
medsegx_status medsegx_model_open_callbacks(medsegx_read_callback read,
                                            void *user,
                                            uint64_t size,
                                            const struct medsegx_model_options *options,
                                            struct medsegx_model **out,
                                            struct medsegx_error **error);

// Frees a model; sessions made from it stay valid and keep what they need. NULL is allowed. Any thread, once.
void medsegx_model_free(struct medsegx_model *model);

// Sizes and kind. `model` and `info` are required. Any number of threads at once. Fails with
// MEDSEGX_STATUS_INVALID_ARGUMENT only.
medsegx_status medsegx_model_describe(const struct medsegx_model *model,
                                      struct medsegx_model_info *info,
                                      struct medsegx_error **error);

// What the model runs on, as "cpu" or "cuda:0"; NULL for NULL. Valid while the model is. Any number of threads at once.
const char *medsegx_model_device(const struct medsegx_model *model);

// SHA-256 of the weights file that the model was opened from, in lower-case hexadecimal, as `medsegx info` and reports have
// it; of the bytes where it came from memory or a callback. It is of the bytes that were loaded, whatever becomes of the
// file; tuned tensors on top do not change it. NULL for NULL. Valid while the model is. Any number of threads at once.
const char *medsegx_model_sha256(const struct medsegx_model *model);

// Makes a session with all the memory that its calls need. It keeps its model alive.
//
// `model` is required; any number of threads may make sessions of one model at once. `options` may be NULL: defaults.
// `out` is required; it is set to NULL at once, and on success to a session that medsegx_session_free frees. Fails with
// MEDSEGX_STATUS_INVALID_ARGUMENT, _OUT_OF_MEMORY and _DEVICE.
medsegx_status medsegx_session_new(const struct medsegx_model *model,
                                   const struct medsegx_session_options *options,
                                   struct medsegx_session **out,
                                   struct medsegx_error **error);

// Frees a session that no call uses. NULL is allowed. Any thread, once.
void medsegx_session_free(struct medsegx_session *session);

// Makes a flag that is not set. `out` is required; it is set to NULL at once, and on success to a flag that
// medsegx_cancel_free frees. Any thread.
medsegx_status medsegx_cancel_new(struct medsegx_cancel **out, struct medsegx_error **error);

// Asks runs that were given this flag to stop (1), or lets runs go on (0). On the CPU a run stops within some
// milliseconds, also while a volume's voxels are copied and looked through; on a GPU with its stage or batch. NULL is
// ignored. Any thread, at any time; async-signal-safe.
void medsegx_cancel_set(const struct medsegx_cancel *cancel, int32_t set);

// Frees a flag that no call uses any more. NULL is allowed. Any thread, once.
void medsegx_cancel_free(struct medsegx_cancel *cancel);

// Looks names up in MedSegDB's tree; case, underscores, hyphens and spaces do not count.
//
// `names` and `out` are required. Any thread. Fails with MEDSEGX_STATUS_UNKNOWN_NAME, which suggests the nearest name,
// and MEDSEGX_STATUS_INVALID_ARGUMENT for text that is not UTF-8 and for a level that nothing names; `out` then keeps
// what it had.
medsegx_status medsegx_context_from_names(const struct medsegx_context_names *names,
                                          struct medsegx_context *out,
                                          struct medsegx_error **error);

// The names behind rows of the tree: static text, "?" for a row that the tree does not have, NULL for `task`.
//
// `context` and `out` are required. Any thread. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT only.
medsegx_status medsegx_context_describe(const struct medsegx_context *context,
                                        struct medsegx_context_names *out,
                                        struct medsegx_error **error);

// How many targets the tree has. Any thread.
size_t medsegx_task_count(void);

// The name of target `index`, as "Liver"; NULL beyond the last. Static text. Any thread.
const char *medsegx_task_name(size_t index);

// Where target `index` stands in the tree: `out` gets the rows of body part, subregion, organ and task, which
// medsegx_context_describe names. Its modality is left unset; the host sets the one that it has.
//
// `out` is required. Any thread. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT beyond the last target.
medsegx_status medsegx_task_describe(size_t index, struct medsegx_context *out, struct medsegx_error **error);

// How many modalities the tree has. Any thread.
size_t medsegx_modality_count(void);

// The name of the modality of row `index`, as "CT"; NULL beyond the last. Static text. Any thread.
const char *medsegx_modality_name(size_t index);

// Segments one slice. Where the session was made for slices of this size, or has seen one, the call takes no memory but
// an error object when it fails.
//
// `session`, `slice`, `prompt` and `result` are required. `context` may be NULL where the model needs none, `cancel`
// always. One thread at a time with one session; any number of threads with sessions of their own. All that the structs
// point at has to stay as it is during the call, and is not kept. `result` and its buffers are written only on success.
// Fails with MEDSEGX_STATUS_INVALID_ARGUMENT, _BAD_PROMPT, _CANCELLED, _OUT_OF_MEMORY, _DEVICE, _DEVICE_LOST,
// _POISONED and _INTERNAL.
medsegx_status medsegx_segment_slice(struct medsegx_session *session,
                                     const struct medsegx_slice *slice,
                                     const struct medsegx_context *context,
                                     const struct medsegx_prompt *prompt,
                                     struct medsegx_result *result,
                                     const struct medsegx_cancel *cancel,
                                     struct medsegx_error **error);

// Takes a slice for the prompts that follow, and encodes it unless its embedding is kept (kept_slices).
//
// `session` and `slice` are required. `context` may be NULL where the model needs none, `cancel` always. One thread at a
// time with one session. The slice is there until another one comes, by this call or by medsegx_segment_slice or
// medsegx_segment_volume, or this call fails; its pixels are not kept. Fails as medsegx_segment_slice does.
medsegx_status medsegx_session_set_slice(struct medsegx_session *session,
                                         const struct medsegx_slice *slice,
                                         const struct medsegx_context *context,
                                         const struct medsegx_cancel *cancel,
                                         struct medsegx_error **error);

// Answers prompts on the slice of medsegx_session_set_slice, as many at once as the session's batch.
//
// `session`, `prompts` and `results` are required: `count` structs each, `prompt_size` and `result_size` bytes apart,
// which are sizeof(medsegx_prompt) and sizeof(medsegx_result); `cancel` may be NULL. Prompts that follow each other share
// a batch where they have the same number of points and all or none of them bring a mask. One thread at a time with one
// session. All prompts are checked before the first is answered; where a later one then fails, results and buffers of
// earlier ones may be written. Fails as medsegx_segment_slice does, and with MEDSEGX_STATUS_INVALID_ARGUMENT where no
// slice is set.
medsegx_status medsegx_session_prompt(struct medsegx_session *session,
                                      const struct medsegx_prompt *prompts,
                                      size_t prompt_size,
                                      struct medsegx_result *results,
                                      size_t result_size,
                                      size_t count,
                                      const struct medsegx_cancel *cancel,
                                      struct medsegx_error **error);

// Segments boxes of a volume, which is copied.
//
// `session`, `volume`, `targets`, `result` and its labels are required; `progress`, `user` and `cancel` may be NULL.
// `target_size` is sizeof(medsegx_target). One thread at a time with one session. All that the structs point at has to
// stay as it is during the call, and is not kept. `result` and its buffers are written only on success. Fails as
// medsegx_segment_slice does; an answer of `progress` other than 0 is MEDSEGX_STATUS_CANCELLED.
medsegx_status medsegx_segment_volume(struct medsegx_session *session,
                                      const struct medsegx_volume *volume,
                                      const struct medsegx_target *targets,
                                      size_t target_size,
                                      size_t target_count,
                                      struct medsegx_volume_result *result,
                                      medsegx_progress_callback progress,
                                      void *user,
                                      const struct medsegx_cancel *cancel,
                                      struct medsegx_error **error);

// As medsegx_model_options_init.
void medsegx_tune_options_init(struct medsegx_tune_options *out, uint32_t struct_size);

// As medsegx_model_options_init.
void medsegx_tune_result_init(struct medsegx_tune_result *out, uint32_t struct_size);

// Makes an empty tuning of the model whose weights file is at `path`: MedSegX or LiteMedSAM.
//
// The file is read while slices are added and again when a tuned model or file is made, so it has to stay as it is. `path`
// is UTF-8 and required. `out` is required; it is set to NULL at once, and on success to a tuning that
// medsegx_tune_free frees. Any thread. Fails with MEDSEGX_STATUS_IO, _BAD_FILE, _BAD_WEIGHTS, _OUT_OF_MEMORY and
// _INVALID_ARGUMENT.
medsegx_status medsegx_tune_new(const char *path,
                                struct medsegx_tuning **out,
                                struct medsegx_error **error);

// Frees a tuning that no call uses; models made from it stay valid. NULL is allowed. Any thread, once.
void medsegx_tune_free(struct medsegx_tuning *tuning);

// Adds a labelled slice: `session`, of a model of the same weights, encodes it, and its embedding is kept; of a session on
// the CPU also the picture that the encoder sees. The tuning keeps the session's model alive.
//
// `tuning`, `session`, `slice` and `label` are required; `context` may be NULL where the model needs none, `cancel`
// always. `label` has a byte a pixel, rows without gaps, 0 outside of the structure; `label_size` is their number.
// `volume` is a number of your own for the volume that the slice is of, by which volumes are held out as a whole; `index`
// is the slice's place in it. Nothing else is kept of the slice. A session has no slice afterwards. Fails as
// medsegx_segment_slice does, and with MEDSEGX_STATUS_BAD_PROMPT for a label that is empty, covers the slice or is lost at
// the model's size.
medsegx_status medsegx_tune_add_slice(struct medsegx_tuning *tuning,
                                      struct medsegx_session *session,
                                      const struct medsegx_slice *slice,
                                      const struct medsegx_context *context,
                                      const uint8_t *label,
                                      size_t label_size,
                                      uint32_t volume,
                                      uint32_t index,
                                      const struct medsegx_cancel *cancel,
                                      struct medsegx_error **error);

// Tunes on the slices that were added, from the weights file anew.
//
// `tuning` and `result` are required; `options` may be NULL: defaults; so may `progress`, `user` and `cancel`. `progress`
// hears how many steps are done, of how many; an answer other than 0 ends the tuning with the best that is known by then.
// `cancel` gives the call up within a step: MEDSEGX_STATUS_CANCELLED, and the tuning is as it was before. `result` is
// written on success only. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT without slices, for options out of range or a loss
// that is not finite, with _IO and _BAD_FILE where the weights file has changed, and with _OUT_OF_MEMORY.
medsegx_status medsegx_tune_run(struct medsegx_tuning *tuning,
                                const struct medsegx_tune_options *options,
                                struct medsegx_tune_result *result,
                                medsegx_progress_callback progress,
                                void *user,
                                const struct medsegx_cancel *cancel,
                                struct medsegx_error **error);

// Makes a model of what the last run kept. It shares with `base`, a model of the same weights, the device and every
// parameter that was not tuned.
//
// All pointers but `error` are required; `out` is set to NULL at once, and on success to a model that medsegx_model_free
// frees. Any number of threads may use `base` meanwhile. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT where no run kept
// anything, and as medsegx_model_open.
medsegx_status medsegx_tune_model(struct medsegx_tuning *tuning,
                                  const struct medsegx_model *base,
                                  struct medsegx_model **out,
                                  struct medsegx_error **error);

// Writes what the last run kept as a file for the `tuned` of medsegx_model_options and for `medsegx segment --tuned`.
//
// `tuning`, `path` and `name`, what was tuned for, are required; both are UTF-8. An existing file is replaced where `force`
// is 1, else refused. The file is whole or not there. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT where no run kept
// anything, with _BAD_FILE for an existing file, and with _IO.
medsegx_status medsegx_tune_write(struct medsegx_tuning *tuning,
                                  const char *path,
                                  const char *name,
                                  int32_t force,
                                  struct medsegx_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MEDSEGX_H */
