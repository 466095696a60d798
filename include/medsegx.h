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
 *         short *pixels = calloc((size_t)H * W, sizeof *pixels);      // the slice, in Hounsfield units
 *         unsigned char *mask = malloc((size_t)H * W);
 *
 *         if (medsegx_model_open("medsegx_vit_b.safetensors", NULL, &model, &error)) goto failed;
 *         if (medsegx_session_new(model, NULL, &session, &error)) goto failed;
 *
 *         medsegx_context_names names;
 *         medsegx_context_names_init(&names, sizeof names);
 *         names.task = "CT_Liver";
 *         medsegx_context context;
 *         medsegx_context_init(&context, sizeof context);
 *         if (medsegx_context_from_names(&names, &context, &error)) goto failed;
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
 *         if (medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, &error)) goto failed;
 *         printf("%llu pixels, agreement %.2f\n", (unsigned long long)result.pixels, result.agreement);
 *
 *     failed:
 *         if (error) fprintf(stderr, "%s\n", medsegx_error_message(error));
 *         medsegx_error_free(error);
 *         medsegx_session_free(session);
 *         medsegx_model_free(model);
 *         free(mask);
 *         free(pixels);
 *         return 0;
 *     }
 *
 * Threads. A const pointer may be used by many threads at once; a pointer without const by one at a time. So one
 * medsegx_model serves all threads, and each thread has a medsegx_session of its own.
 *
 * Ownership. What a function hands out through `out` is freed with the function of the same stem: medsegx_model_free,
 * medsegx_session_free, medsegx_cancel_free, medsegx_error_free. Each accepts NULL. A session keeps its model alive.
 *
 * Errors. A call returns MEDSEGX_OK or another status. Where `error` is not NULL it is set: to NULL, or on failure to an
 * object that says what was expected and what was found. Out-pointers are set to NULL before anything can fail, and
 * buffers are written only on success. A required pointer that is NULL is MEDSEGX_INVALID_ARGUMENT.
 *
 * Structs. The first field is the size that the caller knows, set by the struct's _init function, which also fills in
 * defaults. Fields are only ever added at the end.
 *
 * The library does not print, installs no signal handlers, changes no locale, environment or floating-point mode, uses
 * no network and no thread pool but its own. Messages may name files; they hold nothing of an image.
 */
#ifndef MEDSEGX_H
#define MEDSEGX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEDSEGX_ABI_VERSION 1

/* What a call returns. Numbers are never reused. */
typedef int32_t medsegx_status;
#define MEDSEGX_OK 0
#define MEDSEGX_INVALID_ARGUMENT 1
#define MEDSEGX_IO 2
#define MEDSEGX_BAD_FILE 3
#define MEDSEGX_BAD_WEIGHTS 4
#define MEDSEGX_BAD_PROMPT 5
#define MEDSEGX_UNKNOWN_NAME 6
#define MEDSEGX_OUT_OF_MEMORY 7
#define MEDSEGX_DEVICE 8
#define MEDSEGX_CANCELLED 9
#define MEDSEGX_POISONED 10
#define MEDSEGX_INTERNAL 11

#define MEDSEGX_DEVICE_AUTO 0
#define MEDSEGX_DEVICE_CPU 1
#define MEDSEGX_DEVICE_CUDA 2

#define MEDSEGX_KIND_MEDSEGX 0
#define MEDSEGX_KIND_SAM 1
#define MEDSEGX_KIND_MEDSAM 2

#define MEDSEGX_MASK_AUTO (-1)

#define MEDSEGX_PIXEL_U8 0
#define MEDSEGX_PIXEL_I16 1
#define MEDSEGX_PIXEL_U16 2
#define MEDSEGX_PIXEL_F32 3

/* How values become grey levels 0..255: the least and greatest value of the slice or volume; percentiles (volumes only);
 * low..high of the struct; values that are 0..255 already; named CT windows. */
#define MEDSEGX_INTENSITY_MINMAX 0
#define MEDSEGX_INTENSITY_PERCENTILE 1
#define MEDSEGX_INTENSITY_WINDOW 2
#define MEDSEGX_INTENSITY_RAW 3
#define MEDSEGX_INTENSITY_SOFT 4
#define MEDSEGX_INTENSITY_LUNG 5
#define MEDSEGX_INTENSITY_BRAIN 6
#define MEDSEGX_INTENSITY_BONE 7
#define MEDSEGX_INTENSITY_MEDIASTINUM 8

#define MEDSEGX_LOG_ERROR 1
#define MEDSEGX_LOG_WARNING 2
#define MEDSEGX_LOG_INFORMATION 3

typedef struct medsegx_error medsegx_error;
typedef struct medsegx_model medsegx_model;
typedef struct medsegx_session medsegx_session;
typedef struct medsegx_cancel medsegx_cancel;

/* Called on the thread of the call that has something to say; the message is valid during the callback. */
typedef void (*medsegx_log_callback)(void *user, int32_t level, const char *message);

/* Called on the calling thread between batches, with no lock held; anything but 0 cancels. It must not use the session. */
typedef int32_t (*medsegx_progress_callback)(void *user, uint64_t done, uint64_t total);

typedef struct medsegx_model_options {
    uint32_t struct_size;
    int32_t device;        /* MEDSEGX_DEVICE_AUTO takes a GPU where there is one */
    uint32_t device_index; /* ordinal of the CUDA device */
    int32_t precision;     /* 0: f32; 1: bf16 products, on a CPU that has them */
    uint32_t threads;      /* CPU threads of the model's own pool; 0: as many as the processor runs at once */
    uint32_t reserved;
    medsegx_log_callback log; /* NULL: no messages */
    void *log_user;
} medsegx_model_options;

typedef struct medsegx_model_info {
    uint32_t struct_size;
    int32_t kind;          /* MEDSEGX_KIND_... */
    uint32_t image_size;   /* pixels of the model's picture: 256 or 1024 */
    uint32_t logits_size;  /* side of a logit map */
    int32_t needs_context; /* 1: slices need a medsegx_context */
    uint32_t depth;        /* blocks of the encoder */
    uint32_t width;        /* channels of the encoder */
} medsegx_model_info;

typedef struct medsegx_session_options {
    uint32_t struct_size;
    uint32_t max_height;  /* rows of the largest slice; default 512 */
    uint32_t max_width;   /* columns of the largest slice; default 512 */
    uint32_t max_points;  /* prompt points; a box counts two; default 2 */
    int32_t mask;         /* MEDSEGX_MASK_AUTO, or the mask to take: 0 to 3 */
    int32_t mask_prompts; /* 1: mask prompts will be given */
    uint32_t batch;       /* slices in one batch of a volume; default 1 */
} medsegx_session_options;

/* Where a target stands in MedSegDB's tree: rows of the model's context embeddings. */
typedef struct medsegx_context {
    uint32_t struct_size;
    uint32_t modality;
    uint32_t body_part;
    uint32_t subregion;
    uint32_t organ;
    uint32_t task;
} medsegx_context;

/* UTF-8, or NULL where nothing is said. `task` ("CT_Liver") implies the rest; the others override it. */
typedef struct medsegx_context_names {
    uint32_t struct_size;
    uint32_t reserved;
    const char *task;
    const char *modality;
    const char *body_part;
    const char *subregion;
    const char *organ;
    const char *target; /* or "unseen" for the spare task row */
} medsegx_context_names;

typedef struct medsegx_slice {
    uint32_t struct_size;
    int32_t pixel_type;  /* MEDSEGX_PIXEL_... */
    const void *pixels;  /* first pixel of the first row */
    size_t row_stride;   /* bytes from one row to the next; 0: packed */
    uint32_t height;
    uint32_t width;
    uint32_t channels;   /* 1 grey, 3 interleaved colour */
    int32_t intensity;   /* MEDSEGX_INTENSITY_... */
    double slope;        /* value = slope * pixel + intercept */
    double intercept;
    double low;          /* black and white of MEDSEGX_INTENSITY_WINDOW, in values */
    double high;
} medsegx_slice;

typedef struct medsegx_point {
    double x; /* column; the middle of pixel 3 is 3.0 */
    double y; /* row */
    int32_t label; /* 1 object, 0 background */
    int32_t reserved;
} medsegx_point;

typedef struct medsegx_prompt {
    uint32_t struct_size;
    int32_t has_box;
    double box[4];               /* x0, y0, x1, y1: inclusive pixel indices */
    const medsegx_point *points; /* or NULL */
    size_t point_count;
    const float *mask;           /* logits of an earlier mask, image_size/4 squared, or NULL */
} medsegx_prompt;

typedef struct medsegx_result {
    uint32_t struct_size;
    int32_t chosen;       /* out: which mask was taken, 0 to 3 */
    uint8_t *mask;        /* in: height * width bytes, set to 0 or 1; or NULL */
    size_t mask_size;     /* in: bytes of mask */
    float *logits;        /* in: mask_count * logits_size * logits_size floats; or NULL */
    size_t logits_count;  /* in: floats of logits */
    uint64_t pixels;      /* out: foreground pixels */
    uint32_t mask_count;  /* out: masks that were decoded: 3, or 1 for mask 0 */
    uint32_t first_token; /* out: number of the first of them: 1, or 0 */
    double scores[4];     /* out: score of each decoded mask by the rule that chose */
    double agreement;     /* out: mean Dice among the masks; low where the result is doubtful */
    double box_agreement; /* out: of the chosen mask: IoU of its tight box with the prompt's, times the part inside */
    double stability;     /* out: of the chosen mask: area above logit +1 over area above -1 */
} medsegx_result;

typedef struct medsegx_volume {
    uint32_t struct_size;
    int32_t pixel_type;
    const void *voxels; /* x fastest, then y, then z */
    size_t size;        /* bytes of voxels */
    uint32_t dims[3];   /* voxels along x, y, z */
    uint32_t channels;
    uint32_t axis;      /* axis that slices lie across: 0, 1 or 2; default 2 */
    int32_t intensity;  /* over the whole volume */
    double slope;
    double intercept;
    double low;
    double high;
} medsegx_volume;

/* The same rectangle on a run of slices. Arrays of it may grow at the end of an element: calls take its size. */
typedef struct medsegx_target {
    uint32_t label; /* value in the label array, 1 to 65535 */
    uint32_t modality;
    uint32_t body_part;
    uint32_t subregion;
    uint32_t organ;
    uint32_t task;
    int64_t low[3];  /* x0, y0, z0 */
    int64_t high[3]; /* x1, y1, z1, inclusive */
} medsegx_target;

/* Version of the library that runs, its ABI, and both with the notice in one line. Static text. */
const char *medsegx_version(void);
uint32_t medsegx_abi_version(void);
const char *medsegx_build_info(void);

/* Static words for a status. */
const char *medsegx_status_string(medsegx_status status);
/* The error's status, message and, where there is one, the operating system's or driver's own words (else NULL). The
 * texts are valid until the error is freed. NULL gives MEDSEGX_OK, "" and NULL. */
medsegx_status medsegx_error_status(const medsegx_error *error);
const char *medsegx_error_message(const medsegx_error *error);
const char *medsegx_error_source(const medsegx_error *error);
void medsegx_error_free(medsegx_error *error);

/* Defaults; struct_size is sizeof the caller's struct. NULL is ignored. */
void medsegx_model_options_init(medsegx_model_options *out, uint32_t struct_size);
void medsegx_model_info_init(medsegx_model_info *out, uint32_t struct_size);
void medsegx_session_options_init(medsegx_session_options *out, uint32_t struct_size);
void medsegx_context_init(medsegx_context *out, uint32_t struct_size);
void medsegx_context_names_init(medsegx_context_names *out, uint32_t struct_size);
void medsegx_slice_init(medsegx_slice *out, uint32_t struct_size);
void medsegx_prompt_init(medsegx_prompt *out, uint32_t struct_size);
void medsegx_result_init(medsegx_result *out, uint32_t struct_size);
void medsegx_volume_init(medsegx_volume *out, uint32_t struct_size);

/* Loads a weights file (path in UTF-8), or weights from memory, which is copied. `options` may be NULL. */
medsegx_status medsegx_model_open(const char *path, const medsegx_model_options *options, medsegx_model **out,
                                  medsegx_error **error);
medsegx_status medsegx_model_open_memory(const void *data, size_t size, const medsegx_model_options *options,
                                         medsegx_model **out, medsegx_error **error);
void medsegx_model_free(medsegx_model *model);
medsegx_status medsegx_model_describe(const medsegx_model *model, medsegx_model_info *info, medsegx_error **error);
/* "cpu" or "cuda:0"; valid while the model is. NULL gives NULL. */
const char *medsegx_model_device(const medsegx_model *model);

/* A session with all the memory that its calls need. `options` may be NULL. */
medsegx_status medsegx_session_new(const medsegx_model *model, const medsegx_session_options *options,
                                   medsegx_session **out, medsegx_error **error);
void medsegx_session_free(medsegx_session *session);

/* A flag that stops a run from another thread; it may be set (1) and cleared (0) at any time by any thread, and must
 * outlive the calls that were given it. */
medsegx_status medsegx_cancel_new(medsegx_cancel **out, medsegx_error **error);
void medsegx_cancel_set(const medsegx_cancel *cancel, int32_t set);
void medsegx_cancel_free(medsegx_cancel *cancel);

/* Names to rows of the tree; forgiving in case and underscores, MEDSEGX_UNKNOWN_NAME suggests the nearest. */
medsegx_status medsegx_context_from_names(const medsegx_context_names *names, medsegx_context *out,
                                          medsegx_error **error);
/* The targets that the tree has: how many, and the name of each (NULL beyond the last). Static text. */
size_t medsegx_task_count(void);
const char *medsegx_task_name(size_t index);

/* One slice within its own call. `context` may be NULL where the model needs none, `cancel` always. */
medsegx_status medsegx_segment_slice(medsegx_session *session, const medsegx_slice *slice,
                                     const medsegx_context *context, const medsegx_prompt *prompt,
                                     medsegx_result *result, const medsegx_cancel *cancel, medsegx_error **error);

/* A volume, which is copied: `labels` gets dims[0] * dims[1] * dims[2] values, 0 where nothing is. Where targets overlap
 * the later one wins. `target_size` is sizeof(medsegx_target); `progress`, `user` and `cancel` may be NULL. */
medsegx_status medsegx_segment_volume(medsegx_session *session, const medsegx_volume *volume,
                                      const medsegx_target *targets, size_t target_size, size_t target_count,
                                      uint16_t *labels, size_t labels_count, medsegx_progress_callback progress,
                                      void *user, const medsegx_cancel *cancel, medsegx_error **error);

#ifdef __cplusplus
}
#endif

#endif /* MEDSEGX_H */
