/* The ABI of version 1 on 64-bit machines: every number, every offset, every function as programs that are already built
 * know them. Nothing runs; a change of the header that would break such programs does not compile here. Lines may be
 * added, for what is new at the end of a struct; no line may change. */
#include <medsegx.h>

#define SAME(name, condition) typedef char same_##name[(condition) ? 1 : -1]
#define NUMBER(name, value) SAME(name, (name) == (value))
#define SIZE(type, size) SAME(size_of_##type, sizeof(type) >= (size))
#define FIELD(type, field, offset, size) \
    SAME(type##_##field, offsetof(type, field) == (offset) && sizeof(((type *)0)->field) == (size))

NUMBER(MEDSEGX_ABI_VERSION, 1);
NUMBER(MEDSEGX_STATUS_OK, 0);
NUMBER(MEDSEGX_STATUS_INVALID_ARGUMENT, 1);
NUMBER(MEDSEGX_STATUS_IO, 2);
NUMBER(MEDSEGX_STATUS_BAD_FILE, 3);
NUMBER(MEDSEGX_STATUS_BAD_WEIGHTS, 4);
NUMBER(MEDSEGX_STATUS_BAD_PROMPT, 5);
NUMBER(MEDSEGX_STATUS_UNKNOWN_NAME, 6);
NUMBER(MEDSEGX_STATUS_OUT_OF_MEMORY, 7);
NUMBER(MEDSEGX_STATUS_DEVICE, 8);
NUMBER(MEDSEGX_STATUS_CANCELLED, 9);
NUMBER(MEDSEGX_STATUS_POISONED, 10);
NUMBER(MEDSEGX_STATUS_INTERNAL, 11);
NUMBER(MEDSEGX_STATUS_DEVICE_LOST, 12);
NUMBER(MEDSEGX_DEVICE_AUTO, 0);
NUMBER(MEDSEGX_DEVICE_CPU, 1);
NUMBER(MEDSEGX_DEVICE_CUDA, 2);
NUMBER(MEDSEGX_PRECISION_F32, 0);
NUMBER(MEDSEGX_PRECISION_BF16, 1);
NUMBER(MEDSEGX_INSTRUCTIONS_WIDEST, 0);
NUMBER(MEDSEGX_INSTRUCTIONS_PORTABLE, 1);
NUMBER(MEDSEGX_INSTRUCTIONS_AVX2, 2);
NUMBER(MEDSEGX_INSTRUCTIONS_AVX512, 3);
NUMBER(MEDSEGX_KIND_MEDSEGX, 0);
NUMBER(MEDSEGX_KIND_SAM, 1);
NUMBER(MEDSEGX_KIND_MEDSAM, 2);
NUMBER(MEDSEGX_KIND_LITEMEDSAM, 3);
NUMBER(MEDSEGX_MASK_AUTO, -1);
NUMBER(MEDSEGX_PIXEL_U8, 0);
NUMBER(MEDSEGX_PIXEL_I16, 1);
NUMBER(MEDSEGX_PIXEL_U16, 2);
NUMBER(MEDSEGX_PIXEL_F32, 3);
NUMBER(MEDSEGX_INTENSITY_MINMAX, 0);
NUMBER(MEDSEGX_INTENSITY_PERCENTILE, 1);
NUMBER(MEDSEGX_INTENSITY_WINDOW, 2);
NUMBER(MEDSEGX_INTENSITY_RAW, 3);
NUMBER(MEDSEGX_INTENSITY_SOFT, 4);
NUMBER(MEDSEGX_INTENSITY_LUNG, 5);
NUMBER(MEDSEGX_INTENSITY_BRAIN, 6);
NUMBER(MEDSEGX_INTENSITY_BONE, 7);
NUMBER(MEDSEGX_INTENSITY_MEDIASTINUM, 8);
NUMBER(MEDSEGX_INTENSITY_UNIT, 9);
NUMBER(MEDSEGX_INTENSITY_ROBUST, 10);
NUMBER(MEDSEGX_LOG_WARNING, 2);
NUMBER(MEDSEGX_LOG_INFORMATION, 3);
NUMBER(MEDSEGX_TRAIN_DECODER, 0);
NUMBER(MEDSEGX_TRAIN_ADAPTERS, 1);
NUMBER(MEDSEGX_TRAIN_ALL, 2);
NUMBER(MEDSEGX_VALIDATE_AUTO, 0);
NUMBER(MEDSEGX_VALIDATE_NONE, 1);
NUMBER(MEDSEGX_HELD_OUT_NOTHING, 0);
NUMBER(MEDSEGX_HELD_OUT_SLICES, 1);
NUMBER(MEDSEGX_HELD_OUT_VOLUMES, 2);
NUMBER(MEDSEGX_HELD_OUT_LEAVE_ONE_OUT, 3);

/* Numbers go over the border as int32_t, whatever a C compiler thinks of its enums. */
SAME(medsegx_status, sizeof(medsegx_status) == 4);
SAME(medsegx_device, sizeof(medsegx_device) == 4);
SAME(medsegx_precision, sizeof(medsegx_precision) == 4);
SAME(medsegx_instructions, sizeof(medsegx_instructions) == 4);
SAME(medsegx_kind, sizeof(medsegx_kind) == 4);
SAME(medsegx_mask, sizeof(medsegx_mask) == 4);
SAME(medsegx_pixel, sizeof(medsegx_pixel) == 4);
SAME(medsegx_intensity, sizeof(medsegx_intensity) == 4);
SAME(medsegx_log, sizeof(medsegx_log) == 4);

SIZE(medsegx_model_options, 40);
FIELD(medsegx_model_options, struct_size, 0, 4);
FIELD(medsegx_model_options, device, 4, 4);
FIELD(medsegx_model_options, device_index, 8, 4);
FIELD(medsegx_model_options, precision, 12, 4);
FIELD(medsegx_model_options, threads, 16, 4);
FIELD(medsegx_model_options, instructions, 20, 4);
FIELD(medsegx_model_options, log, 24, 8);
FIELD(medsegx_model_options, log_user, 32, 8);
FIELD(medsegx_model_options, tuned, 40, 8);

SIZE(medsegx_model_info, 28);
FIELD(medsegx_model_info, struct_size, 0, 4);
FIELD(medsegx_model_info, kind, 4, 4);
FIELD(medsegx_model_info, image_size, 8, 4);
FIELD(medsegx_model_info, logits_size, 12, 4);
FIELD(medsegx_model_info, needs_context, 16, 4);
FIELD(medsegx_model_info, depth, 20, 4);
FIELD(medsegx_model_info, width, 24, 4);

SIZE(medsegx_session_options, 28);
FIELD(medsegx_session_options, struct_size, 0, 4);
FIELD(medsegx_session_options, max_height, 4, 4);
FIELD(medsegx_session_options, max_width, 8, 4);
FIELD(medsegx_session_options, max_points, 12, 4);
FIELD(medsegx_session_options, mask, 16, 4);
FIELD(medsegx_session_options, mask_prompts, 20, 4);
FIELD(medsegx_session_options, batch, 24, 4);
FIELD(medsegx_session_options, kept_slices, 28, 4);

SIZE(medsegx_context, 24);
FIELD(medsegx_context, struct_size, 0, 4);
FIELD(medsegx_context, modality, 4, 4);
FIELD(medsegx_context, body_part, 8, 4);
FIELD(medsegx_context, subregion, 12, 4);
FIELD(medsegx_context, organ, 16, 4);
FIELD(medsegx_context, task, 20, 4);

SIZE(medsegx_context_names, 56);
FIELD(medsegx_context_names, struct_size, 0, 4);
FIELD(medsegx_context_names, reserved, 4, 4);
FIELD(medsegx_context_names, task, 8, 8);
FIELD(medsegx_context_names, modality, 16, 8);
FIELD(medsegx_context_names, body_part, 24, 8);
FIELD(medsegx_context_names, subregion, 32, 8);
FIELD(medsegx_context_names, organ, 40, 8);
FIELD(medsegx_context_names, target, 48, 8);

SIZE(medsegx_slice, 72);
FIELD(medsegx_slice, struct_size, 0, 4);
FIELD(medsegx_slice, pixel_type, 4, 4);
FIELD(medsegx_slice, pixels, 8, 8);
FIELD(medsegx_slice, row_stride, 16, 8);
FIELD(medsegx_slice, height, 24, 4);
FIELD(medsegx_slice, width, 28, 4);
FIELD(medsegx_slice, channels, 32, 4);
FIELD(medsegx_slice, intensity, 36, 4);
FIELD(medsegx_slice, slope, 40, 8);
FIELD(medsegx_slice, intercept, 48, 8);
FIELD(medsegx_slice, low, 56, 8);
FIELD(medsegx_slice, high, 64, 8);
FIELD(medsegx_slice, nan_value, 72, 8);

SIZE(medsegx_point, 24);
FIELD(medsegx_point, x, 0, 8);
FIELD(medsegx_point, y, 8, 8);
FIELD(medsegx_point, label, 16, 4);
FIELD(medsegx_point, reserved, 20, 4);

SIZE(medsegx_prompt, 64);
FIELD(medsegx_prompt, struct_size, 0, 4);
FIELD(medsegx_prompt, has_box, 4, 4);
FIELD(medsegx_prompt, box, 8, 32);
FIELD(medsegx_prompt, points, 40, 8);
FIELD(medsegx_prompt, point_count, 48, 8);
FIELD(medsegx_prompt, mask, 56, 8);

SIZE(medsegx_result, 120);
FIELD(medsegx_result, struct_size, 0, 4);
FIELD(medsegx_result, chosen, 4, 4);
FIELD(medsegx_result, mask, 8, 8);
FIELD(medsegx_result, mask_size, 16, 8);
FIELD(medsegx_result, logits, 24, 8);
FIELD(medsegx_result, logits_count, 32, 8);
FIELD(medsegx_result, pixels, 40, 8);
FIELD(medsegx_result, mask_count, 48, 4);
FIELD(medsegx_result, first_token, 52, 4);
FIELD(medsegx_result, scores, 56, 32);
FIELD(medsegx_result, agreement, 88, 8);
FIELD(medsegx_result, box_agreement, 96, 8);
FIELD(medsegx_result, stability, 104, 8);
FIELD(medsegx_result, warnings, 112, 8);

SIZE(medsegx_volume, 80);
FIELD(medsegx_volume, struct_size, 0, 4);
FIELD(medsegx_volume, pixel_type, 4, 4);
FIELD(medsegx_volume, voxels, 8, 8);
FIELD(medsegx_volume, size, 16, 8);
FIELD(medsegx_volume, dims, 24, 12);
FIELD(medsegx_volume, channels, 36, 4);
FIELD(medsegx_volume, axis, 40, 4);
FIELD(medsegx_volume, intensity, 44, 4);
FIELD(medsegx_volume, slope, 48, 8);
FIELD(medsegx_volume, intercept, 56, 8);
FIELD(medsegx_volume, low, 64, 8);
FIELD(medsegx_volume, high, 72, 8);
FIELD(medsegx_volume, nan_value, 80, 8);

SIZE(medsegx_outcome, 104);
FIELD(medsegx_outcome, target, 0, 4);
FIELD(medsegx_outcome, slice, 4, 4);
FIELD(medsegx_outcome, chosen, 8, 4);
FIELD(medsegx_outcome, mask_count, 12, 4);
FIELD(medsegx_outcome, first_token, 16, 4);
FIELD(medsegx_outcome, reserved, 20, 4);
FIELD(medsegx_outcome, pixels, 24, 8);
FIELD(medsegx_outcome, scores, 32, 32);
FIELD(medsegx_outcome, agreement, 64, 8);
FIELD(medsegx_outcome, box_agreement, 72, 8);
FIELD(medsegx_outcome, stability, 80, 8);
FIELD(medsegx_outcome, continuity, 88, 8);
FIELD(medsegx_outcome, warnings, 96, 8);

SIZE(medsegx_volume_result, 72);
FIELD(medsegx_volume_result, struct_size, 0, 4);
FIELD(medsegx_volume_result, outcome_size, 4, 4);
FIELD(medsegx_volume_result, labels, 8, 8);
FIELD(medsegx_volume_result, labels_count, 16, 8);
FIELD(medsegx_volume_result, outcomes, 24, 8);
FIELD(medsegx_volume_result, outcomes_room, 32, 8);
FIELD(medsegx_volume_result, outcomes_count, 40, 8);
FIELD(medsegx_volume_result, warnings, 48, 8);
FIELD(medsegx_volume_result, voxels, 56, 8);
FIELD(medsegx_volume_result, voxels_room, 64, 8);

SIZE(medsegx_target, 72);
FIELD(medsegx_target, label, 0, 4);
FIELD(medsegx_target, modality, 4, 4);
FIELD(medsegx_target, body_part, 8, 4);
FIELD(medsegx_target, subregion, 12, 4);
FIELD(medsegx_target, organ, 16, 4);
FIELD(medsegx_target, task, 20, 4);
FIELD(medsegx_target, low, 24, 24);
FIELD(medsegx_target, high, 48, 24);
FIELD(medsegx_target, boxes, 72, 8);
FIELD(medsegx_target, box_count, 80, 8);

SIZE(medsegx_slice_box, 40);
FIELD(medsegx_slice_box, slice, 0, 8);
FIELD(medsegx_slice_box, low, 8, 16);
FIELD(medsegx_slice_box, high, 24, 16);

SIZE(medsegx_tune_options, 48);
FIELD(medsegx_tune_options, struct_size, 0, 4);
FIELD(medsegx_tune_options, steps, 4, 4);
FIELD(medsegx_tune_options, batch, 8, 4);
FIELD(medsegx_tune_options, jitter, 12, 4);
FIELD(medsegx_tune_options, seed, 16, 8);
FIELD(medsegx_tune_options, rate, 24, 4);
FIELD(medsegx_tune_options, threads, 28, 4);
FIELD(medsegx_tune_options, validate, 32, 4);
FIELD(medsegx_tune_options, instructions, 36, 4);
FIELD(medsegx_tune_options, share, 40, 8);
FIELD(medsegx_tune_options, train, 48, 4);
FIELD(medsegx_tune_options, reserved, 52, 4);
FIELD(medsegx_tune_options, memory, 56, 8);

SIZE(medsegx_tune_result, 64);
FIELD(medsegx_tune_result, struct_size, 0, 4);
FIELD(medsegx_tune_result, held_out, 4, 4);
FIELD(medsegx_tune_result, held_count, 8, 4);
FIELD(medsegx_tune_result, steps, 12, 4);
FIELD(medsegx_tune_result, stopped, 16, 4);
FIELD(medsegx_tune_result, reserved, 20, 4);
FIELD(medsegx_tune_result, dice_before, 24, 8);
FIELD(medsegx_tune_result, dice_after, 32, 8);
FIELD(medsegx_tune_result, dice_ellipse, 40, 8);
FIELD(medsegx_tune_result, first_loss, 48, 8);
FIELD(medsegx_tune_result, last_loss, 56, 8);

/* A declaration that differs from the header's is an error. */
typedef void (*log_of_version_1)(void *user, int32_t level, const char *message);
extern log_of_version_1 a_log;
extern medsegx_log_callback a_log;
typedef int32_t (*read_of_version_1)(void *user, uint64_t offset, void *buffer, size_t size);
extern read_of_version_1 a_read;
extern medsegx_read_callback a_read;
typedef int32_t (*progress_of_version_1)(void *user, uint64_t done, uint64_t total);
extern progress_of_version_1 a_progress;
extern medsegx_progress_callback a_progress;
const char *medsegx_status_string(int32_t status);
medsegx_status medsegx_error_status(const medsegx_error *error);
const char *medsegx_error_message(const medsegx_error *error);
const char *medsegx_error_source(const medsegx_error *error);
void medsegx_error_free(medsegx_error *error);
void medsegx_model_options_init(medsegx_model_options *out, uint32_t struct_size);
void medsegx_model_info_init(medsegx_model_info *out, uint32_t struct_size);
void medsegx_session_options_init(medsegx_session_options *out, uint32_t struct_size);
void medsegx_tune_options_init(medsegx_tune_options *out, uint32_t struct_size);
void medsegx_tune_result_init(medsegx_tune_result *out, uint32_t struct_size);
void medsegx_context_init(medsegx_context *out, uint32_t struct_size);
void medsegx_context_names_init(medsegx_context_names *out, uint32_t struct_size);
void medsegx_slice_init(medsegx_slice *out, uint32_t struct_size);
void medsegx_prompt_init(medsegx_prompt *out, uint32_t struct_size);
void medsegx_result_init(medsegx_result *out, uint32_t struct_size);
void medsegx_volume_init(medsegx_volume *out, uint32_t struct_size);
void medsegx_volume_result_init(medsegx_volume_result *out, uint32_t struct_size);
const char *medsegx_warning_name(uint32_t number);
const char *medsegx_warning_meaning(uint32_t number);
const char *medsegx_version(void);
uint32_t medsegx_abi_version(void);
const char *medsegx_build_info(void);
medsegx_status medsegx_model_open(const char *path, const medsegx_model_options *options, medsegx_model **out,
    medsegx_error **error);
medsegx_status medsegx_model_open_memory(const void *data, size_t size, const medsegx_model_options *options,
    medsegx_model **out, medsegx_error **error);
medsegx_status medsegx_model_open_callbacks(medsegx_read_callback read, void *user, uint64_t size,
    const medsegx_model_options *options, medsegx_model **out, medsegx_error **error);
void medsegx_model_free(medsegx_model *model);
medsegx_status medsegx_model_describe(const medsegx_model *model, medsegx_model_info *info, medsegx_error **error);
const char *medsegx_model_device(const medsegx_model *model);
const char *medsegx_model_sha256(const medsegx_model *model);
medsegx_status medsegx_session_new(const medsegx_model *model, const medsegx_session_options *options,
    medsegx_session **out, medsegx_error **error);
void medsegx_session_free(medsegx_session *session);
medsegx_status medsegx_cancel_new(medsegx_cancel **out, medsegx_error **error);
void medsegx_cancel_set(const medsegx_cancel *cancel, int32_t set);
void medsegx_cancel_free(medsegx_cancel *cancel);
medsegx_status medsegx_context_from_names(const medsegx_context_names *names, medsegx_context *out,
    medsegx_error **error);
medsegx_status medsegx_context_describe(const medsegx_context *context, medsegx_context_names *out,
    medsegx_error **error);
size_t medsegx_task_count(void);
const char *medsegx_task_name(size_t index);
medsegx_status medsegx_task_describe(size_t index, medsegx_context *out, medsegx_error **error);
size_t medsegx_modality_count(void);
const char *medsegx_modality_name(size_t index);
medsegx_status medsegx_segment_slice(medsegx_session *session, const medsegx_slice *slice,
    const medsegx_context *context, const medsegx_prompt *prompt, medsegx_result *result, const medsegx_cancel *cancel,
    medsegx_error **error);
medsegx_status medsegx_session_set_slice(medsegx_session *session, const medsegx_slice *slice,
    const medsegx_context *context, const medsegx_cancel *cancel, medsegx_error **error);
medsegx_status medsegx_session_prompt(medsegx_session *session, const medsegx_prompt *prompts, size_t prompt_size,
    medsegx_result *results, size_t result_size, size_t count, const medsegx_cancel *cancel, medsegx_error **error);
medsegx_status medsegx_segment_volume(medsegx_session *session, const medsegx_volume *volume,
    const medsegx_target *targets, size_t target_size, size_t target_count, medsegx_volume_result *result,
    medsegx_progress_callback progress, void *user, const medsegx_cancel *cancel, medsegx_error **error);
medsegx_status medsegx_tune_new(const char *path, medsegx_tuning **out, medsegx_error **error);
void medsegx_tune_free(medsegx_tuning *tuning);
medsegx_status medsegx_tune_add_slice(medsegx_tuning *tuning, medsegx_session *session, const medsegx_slice *slice,
    const medsegx_context *context, const uint8_t *label, size_t label_size, uint32_t volume, uint32_t index,
    const medsegx_cancel *cancel, medsegx_error **error);
medsegx_status medsegx_tune_run(medsegx_tuning *tuning, const medsegx_tune_options *options, medsegx_tune_result *result,
    medsegx_progress_callback progress, void *user, const medsegx_cancel *cancel, medsegx_error **error);
medsegx_status medsegx_tune_model(medsegx_tuning *tuning, const medsegx_model *base, medsegx_model **out,
    medsegx_error **error);
medsegx_status medsegx_tune_write(medsegx_tuning *tuning, const char *path, const char *name, int32_t force,
    medsegx_error **error);
