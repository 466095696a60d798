/* NULL and nonsense for every argument of every function: each ends in a status and words, none in a crash. */
#include "fixture.h"

#include <math.h>

int nonsense(const char *folder, const medsegx_model *model);

static medsegx_error *error = NULL;

/* The call must have failed with `wanted`, and say something about `words`. */
static void expect(int line, medsegx_status status, medsegx_status wanted, const char *words) {
    const char *message = medsegx_error_message(error);
    if (status != wanted || error == NULL || medsegx_error_status(error) != wanted || !strstr(message, words)) {
        fprintf(stderr, "nonsense.c:%d: status %d, '%s'; expected status %d and '%s'\n", line, status, message, wanted, words);
        failures++;
    }
    medsegx_error_free(error);
    error = NULL;
}
#define EXPECT(call, wanted, words) expect(__LINE__, call, MEDSEGX_STATUS_##wanted, words)
#define MISALIGNED(type, value) ((type *)(void *)((char *)(void *)(value) + 1))

static int32_t refuse(void *user, uint64_t offset, void *buffer, size_t size) {
    (void)user, (void)offset, (void)buffer, (void)size;
    return 17;
}

static int32_t from_file(void *user, uint64_t offset, void *buffer, size_t size) {
    FILE *file = user;
    return fseek(file, (long)offset, SEEK_SET) == 0 && fread(buffer, 1, size, file) == size ? 0 : 8;
}

/* More bytes than the header bears out are refused by the header, before memory for them is asked for. */
static void larger_than_its_header(const char *path) {
    medsegx_model *model = NULL;
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    EXPECT(medsegx_model_open_callbacks(from_file, file, UINT64_C(1) << 46, NULL, &model, &error), BAD_FILE, "as the header says");
    CHECK(model == NULL);
    fclose(file);
}

static void opening(const char *folder) {
    char tiny[4096];
    snprintf(tiny, sizeof tiny, "%s", fixture_path(folder, "tiny.safetensors"));
    medsegx_model *model = (medsegx_model *)&error;
    EXPECT(medsegx_model_open(NULL, NULL, &model, &error), INVALID_ARGUMENT, "path");
    CHECK(model == NULL);
    EXPECT(medsegx_model_open("x", NULL, NULL, &error), INVALID_ARGUMENT, "out");
    EXPECT(medsegx_model_open("x", NULL, MISALIGNED(medsegx_model *, &model), &error), INVALID_ARGUMENT, "aligned");
    EXPECT(medsegx_model_open("\xff\xfe", NULL, &model, &error), INVALID_ARGUMENT, "UTF-8");
    EXPECT(medsegx_model_open("/no/such/file", NULL, &model, &error), IO, "/no/such/file");
    CHECK(medsegx_model_open("/no/such/file", NULL, &model, &error) == MEDSEGX_STATUS_IO);
    CHECK(medsegx_error_source(error) != NULL && strlen(medsegx_error_source(error)) > 0);
    medsegx_error_free(error);
    CHECK(medsegx_model_open("/no/such/file", NULL, &model, NULL) == MEDSEGX_STATUS_IO);
    EXPECT(medsegx_model_open("/", NULL, &model, &error), BAD_FILE, "ordinary file");
    EXPECT(medsegx_model_open(fixture_path(folder, "picture.u8"), NULL, &model, &error), BAD_FILE, "; needs ");
    EXPECT(medsegx_model_open_memory(NULL, 8, NULL, &model, &error), INVALID_ARGUMENT, "data");
    EXPECT(medsegx_model_open_memory(NULL, 0, NULL, &model, &error), BAD_FILE, "; needs ");
    EXPECT(medsegx_model_open_memory("12345678", 8, NULL, NULL, &error), INVALID_ARGUMENT, "out");
    EXPECT(medsegx_model_open_memory("12345678", 8, NULL, &model, &error), BAD_FILE, "; needs ");
    EXPECT(medsegx_model_open_memory("12345678", (size_t)-1, NULL, &model, &error), INVALID_ARGUMENT, "data");
    EXPECT(medsegx_model_open_callbacks(NULL, NULL, 8, NULL, &model, &error), INVALID_ARGUMENT, "read");
    EXPECT(medsegx_model_open_callbacks(refuse, NULL, 8, NULL, NULL, &error), INVALID_ARGUMENT, "out");
    EXPECT(medsegx_model_open_callbacks(refuse, NULL, 0, NULL, &model, &error), BAD_FILE, "; needs ");
    EXPECT(medsegx_model_open_callbacks(refuse, NULL, 8, NULL, &model, &error), IO, "17");
    EXPECT(medsegx_model_open_callbacks(refuse, NULL, UINT64_MAX, NULL, &model, &error), OUT_OF_MEMORY, "weights");
    larger_than_its_header(tiny);
    medsegx_model_options options = fixture_options();
#define WITH(field, value, status, words)                                                                              \
    options = fixture_options();                                                                                       \
    options.field = value;                                                                                             \
    EXPECT(medsegx_model_open(tiny, &options, &model, &error), status, words);                                         \
    CHECK(model == NULL)
    WITH(device, 77, INVALID_ARGUMENT, "device");
    WITH(device, -1, INVALID_ARGUMENT, "device");
    WITH(precision, 2, INVALID_ARGUMENT, "precision");
    WITH(instructions, 4, INVALID_ARGUMENT, "instructions");
    WITH(struct_size, 39, INVALID_ARGUMENT, "struct_size");
    WITH(struct_size, 0, INVALID_ARGUMENT, "struct_size");
    EXPECT(medsegx_model_open(tiny, MISALIGNED(medsegx_model_options, &options), &model, &error), INVALID_ARGUMENT, "aligned");
    /* A device that is not there: no driver, or no such number. */
    options = fixture_options();
    options.device = MEDSEGX_DEVICE_CUDA;
    options.device_index = 4000000000u;
    EXPECT(medsegx_model_open(tiny, &options, &model, &error), DEVICE, "cuda:4000000000");
    CHECK(model == NULL);
}

static void sessions(const medsegx_model *model) {
    medsegx_session *session = (medsegx_session *)&error;
    EXPECT(medsegx_session_new(NULL, NULL, &session, &error), INVALID_ARGUMENT, "model");
    CHECK(session == NULL);
    EXPECT(medsegx_session_new(model, NULL, NULL, &error), INVALID_ARGUMENT, "out");
    medsegx_session_options options;
#define SESSION(field, value, words)                                                                                   \
    medsegx_session_options_init(&options, (uint32_t)sizeof options);                                                  \
    options.field = value;                                                                                             \
    EXPECT(medsegx_session_new(model, &options, &session, &error), INVALID_ARGUMENT, words)
    SESSION(struct_size, 27, "struct_size");
    SESSION(max_height, 0, "max_height");
    SESSION(max_height, UINT32_MAX, "max_height");
    SESSION(max_width, 0, "max_width");
    SESSION(max_width, 32769, "max_width");
    SESSION(max_points, 0, "max_points");
    SESSION(max_points, UINT32_MAX, "max_points");
    SESSION(batch, 0, "batch");
    SESSION(batch, 100000, "batch");
    SESSION(mask, 9, "mask");
    SESSION(mask, -2, "mask");
    medsegx_cancel *cancel = NULL;
    EXPECT(medsegx_cancel_new(NULL, &error), INVALID_ARGUMENT, "out");
    CHECK(medsegx_cancel_new(&cancel, &error) == MEDSEGX_STATUS_OK && error == NULL);
    medsegx_cancel_set(cancel, INT32_MIN);
    medsegx_cancel_free(cancel);
    medsegx_model_info info;
    medsegx_model_info_init(&info, (uint32_t)sizeof info);
    EXPECT(medsegx_model_describe(NULL, &info, &error), INVALID_ARGUMENT, "model");
    EXPECT(medsegx_model_describe(model, NULL, &error), INVALID_ARGUMENT, "medsegx_model_info");
    info.struct_size = 4;
    EXPECT(medsegx_model_describe(model, &info, &error), INVALID_ARGUMENT, "struct_size");
}

static void contexts(medsegx_context *context) {
    medsegx_context_names names;
    medsegx_context_names_init(&names, (uint32_t)sizeof names);
    medsegx_context_init(context, (uint32_t)sizeof *context);
    EXPECT(medsegx_context_from_names(NULL, context, &error), INVALID_ARGUMENT, "names");
    EXPECT(medsegx_context_from_names(&names, context, &error), INVALID_ARGUMENT, "modality");
    names.task = "CT_Livr";
    names.organ = "livr";
    EXPECT(medsegx_context_from_names(&names, context, &error), UNKNOWN_NAME, "iver'");
    names.organ = NULL;
    const char **all[] = {&names.task, &names.modality, &names.body_part, &names.subregion, &names.organ, &names.target};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *all[i] = "\xff\xfe";
        EXPECT(medsegx_context_from_names(&names, context, &error), INVALID_ARGUMENT, "UTF-8");
        *all[i] = i == 0 ? "CT_Liver" : "nosuchname";
        if (i > 0) {
            EXPECT(medsegx_context_from_names(&names, context, &error), UNKNOWN_NAME, "nosuchname");
            *all[i] = NULL;
        }
    }
    EXPECT(medsegx_context_from_names(&names, NULL, &error), INVALID_ARGUMENT, "medsegx_context");
    names.struct_size = 8;
    EXPECT(medsegx_context_from_names(&names, context, &error), INVALID_ARGUMENT, "struct_size");
    medsegx_context_names_init(&names, (uint32_t)sizeof names);
    EXPECT(medsegx_context_describe(NULL, &names, &error), INVALID_ARGUMENT, "context");
    EXPECT(medsegx_context_describe(context, NULL, &error), INVALID_ARGUMENT, "medsegx_context_names");
    EXPECT(medsegx_task_describe((size_t)-1, context, &error), INVALID_ARGUMENT, "index");
    EXPECT(medsegx_task_describe(0, NULL, &error), INVALID_ARGUMENT, "medsegx_context");
    names.task = "ct_liver";
    CHECK(medsegx_context_from_names(&names, context, &error) == MEDSEGX_STATUS_OK && error == NULL);
}

static void slices(medsegx_session *session, medsegx_context *context) {
    float pixels[16 * 16];
    for (size_t i = 0; i < 256; i++) {
        pixels[i] = (float)((i * 37) % 91);
    }
    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    slice.pixel_type = MEDSEGX_PIXEL_F32;
    slice.pixels = pixels;
    slice.height = 16;
    slice.width = 16;
    const medsegx_slice good_slice = slice;
    medsegx_prompt prompt;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[2] = 9;
    prompt.box[3] = 9;
    const medsegx_prompt good_prompt = prompt;
    unsigned char mask[256];
    memset(mask, 0xa5, sizeof mask);
    medsegx_result result = fixture_result(mask, sizeof mask);
    const medsegx_result good_result = result;
    const medsegx_context good_context = *context;
#define SEGMENT() medsegx_segment_slice(session, &slice, context, &prompt, &result, NULL, &error)
    EXPECT(medsegx_segment_slice(NULL, &slice, context, &prompt, &result, NULL, &error), INVALID_ARGUMENT, "session");
    EXPECT(medsegx_segment_slice(session, NULL, context, &prompt, &result, NULL, &error), INVALID_ARGUMENT, "slice");
    EXPECT(medsegx_segment_slice(session, &slice, NULL, &prompt, &result, NULL, &error), INVALID_ARGUMENT, "task");
    EXPECT(medsegx_segment_slice(session, &slice, context, NULL, &result, NULL, &error), INVALID_ARGUMENT, "prompt");
    EXPECT(medsegx_segment_slice(session, &slice, context, &prompt, NULL, NULL, &error), INVALID_ARGUMENT, "result");
#define SLICE(field, value, words)                                                                                     \
    slice.field = value;                                                                                               \
    EXPECT(SEGMENT(), INVALID_ARGUMENT, words);                                                                        \
    slice = good_slice
    SLICE(struct_size, 71, "struct_size");
    SLICE(pixels, NULL, "pixels");
    SLICE(pixels, MISALIGNED(float, pixels), "aligned");
    SLICE(width, 17, "16 x 16");
    SLICE(width, 0, "16 x 16");
    SLICE(height, UINT32_MAX, "16 x 16");
    SLICE(height, 0, "16 x 16");
    SLICE(row_stride, 3, "row_stride");
    SLICE(row_stride, 66, "row_stride");
    SLICE(row_stride, (size_t)-4, "pixels");
    SLICE(pixel_type, -1, "pixel_type");
    SLICE(pixel_type, 4, "pixel_type");
    SLICE(channels, 2, "channels");
    SLICE(channels, 0, "channels");
    SLICE(intensity, 99, "intensity");
    SLICE(slope, HUGE_VAL, "slope");
    SLICE(intercept, -HUGE_VAL, "intercept");
    SLICE(intensity, MEDSEGX_INTENSITY_WINDOW; slice.high = 0, "low");
    SLICE(intensity, MEDSEGX_INTENSITY_RAW; slice.slope = 9, "raw");
    SLICE(intensity, MEDSEGX_INTENSITY_PERCENTILE; slice.slope = -1, "above 0");
    pixels[5] = (float)HUGE_VAL;
    EXPECT(SEGMENT(), INVALID_ARGUMENT, "infinite");
    SLICE(intensity, MEDSEGX_INTENSITY_PERCENTILE, "infinite");
    pixels[5] = 1;
    medsegx_point points[3] = {{1, 1, 1, 0}, {2, 2, 0, 0}, {3, 3, 1, 0}};
#define PROMPT(field, value, status, words)                                                                            \
    prompt.field = value;                                                                                              \
    EXPECT(SEGMENT(), status, words);                                                                                  \
    prompt = good_prompt
    PROMPT(struct_size, 63, INVALID_ARGUMENT, "struct_size");
    PROMPT(has_box, 0, INVALID_ARGUMENT, "prompts");
    PROMPT(box[2], 16, BAD_PROMPT, "box");
    PROMPT(box[0], -1, BAD_PROMPT, "box");
    PROMPT(box[1], 16, BAD_PROMPT, "box");
    PROMPT(box[3], HUGE_VAL, BAD_PROMPT, "box");
    PROMPT(box[0], HUGE_VAL - HUGE_VAL, BAD_PROMPT, "box");
    PROMPT(point_count, 5, INVALID_ARGUMENT, "points");
    PROMPT(point_count, (size_t)-1; prompt.points = points, INVALID_ARGUMENT, "points");
    PROMPT(points, points; prompt.point_count = 1, INVALID_ARGUMENT, "max_points");
    prompt.has_box = 0;
    points[0].x = 16;
    PROMPT(points, points; prompt.point_count = 1, BAD_PROMPT, "point");
    prompt.has_box = 0;
    points[0].x = 1;
    points[0].label = 2;
    PROMPT(points, points; prompt.point_count = 1, BAD_PROMPT, "points");
    PROMPT(mask, pixels, INVALID_ARGUMENT, "mask prompt");
    context->task = 100000;
    EXPECT(SEGMENT(), INVALID_ARGUMENT, "task");
    *context = good_context;
    context->modality = 10;
    EXPECT(SEGMENT(), INVALID_ARGUMENT, "modality: got 10; needs a row below 10");
    medsegx_context_init(context, (uint32_t)sizeof *context);
    EXPECT(SEGMENT(), INVALID_ARGUMENT, "modality: got none set; needs a row below 10");
    *context = good_context;
    context->struct_size = 23;
    EXPECT(SEGMENT(), INVALID_ARGUMENT, "struct_size");
    *context = good_context;
#define RESULT(field, value, words)                                                                                    \
    result.field = value;                                                                                              \
    EXPECT(SEGMENT(), INVALID_ARGUMENT, words);                                                                        \
    result = good_result
    RESULT(struct_size, 111, "struct_size");
    RESULT(mask_size, 255, "mask_size");
    RESULT(logits, pixels; result.logits_count = 256, "logits_count");
    RESULT(logits, MISALIGNED(float, pixels); result.logits_count = LOGITS, "aligned");
    for (size_t i = 0; i < sizeof mask; i++) {
        CHECK(mask[i] == 0xa5);
    }
    CHECK(SEGMENT() == MEDSEGX_STATUS_OK && error == NULL && mask[0] <= 1);
}

static void volumes(medsegx_session *session) {
    static unsigned char voxels[2 * 16 * 16 * 2]; /* enough for two channels */
    static uint16_t labels[16 * 16 * 2];
    medsegx_outcome outcomes[2];
    memset(labels, 0xa5, sizeof labels);
    for (size_t i = 0; i < sizeof voxels; i++) {
        voxels[i] = (unsigned char)(i * 11);
    }
    medsegx_volume view;
    medsegx_volume_init(&view, (uint32_t)sizeof view);
    view.voxels = voxels;
    view.size = 16 * 16 * 2;
    view.dims[0] = view.dims[1] = 16;
    view.dims[2] = 2;
    const medsegx_volume good_view = view;
    medsegx_target target = {1, 0, 0, 0, 0, 0, {0, 0, 0}, {9, 9, 1}, NULL, 0};
    const medsegx_target good_target = target;
    medsegx_volume_result result;
    medsegx_volume_result_init(&result, (uint32_t)sizeof result);
    result.labels = labels;
    result.labels_count = sizeof labels / sizeof *labels;
    result.outcomes = outcomes;
    result.outcome_size = (uint32_t)sizeof *outcomes;
    result.outcomes_room = 2;
    const medsegx_volume_result good_result = result;
#define VOLUME(session, view, target, size, count, result)                                                             \
    medsegx_segment_volume(session, view, target, size, count, result, NULL, NULL, NULL, &error)
#define RUN() VOLUME(session, &view, &target, sizeof target, 1, &result)
    EXPECT(VOLUME(NULL, &view, &target, sizeof target, 1, &result), INVALID_ARGUMENT, "session");
    EXPECT(VOLUME(session, NULL, &target, sizeof target, 1, &result), INVALID_ARGUMENT, "volume");
    EXPECT(VOLUME(session, &view, NULL, sizeof target, 1, &result), INVALID_ARGUMENT, "targets");
    EXPECT(VOLUME(session, &view, MISALIGNED(medsegx_target, &target), sizeof target, 1, &result), INVALID_ARGUMENT, "aligned");
    EXPECT(VOLUME(session, &view, &target, 0, 1, &result), INVALID_ARGUMENT, "targets");
    EXPECT(VOLUME(session, &view, &target, sizeof target + 1, 1, &result), INVALID_ARGUMENT, "targets");
    EXPECT(VOLUME(session, &view, &target, sizeof target, 0, &result), INVALID_ARGUMENT, "target_count");
    EXPECT(VOLUME(session, &view, &target, sizeof target, (size_t)-1, &result), INVALID_ARGUMENT, "targets");
    EXPECT(VOLUME(session, &view, &target, sizeof target, 1, NULL), INVALID_ARGUMENT, "result");
#define VIEW(field, value, status, words)                                                                              \
    view.field = value;                                                                                                \
    EXPECT(RUN(), status, words);                                                                                      \
    view = good_view
    VIEW(struct_size, 79, INVALID_ARGUMENT, "struct_size");
    VIEW(pixel_type, 4, INVALID_ARGUMENT, "pixel_type");
    VIEW(voxels, NULL, INVALID_ARGUMENT, "voxels");
    VIEW(size, 511, INVALID_ARGUMENT, "size");
    VIEW(dims[0], 0, INVALID_ARGUMENT, "size");
    VIEW(dims[1], UINT32_MAX; view.dims[0] = view.dims[2] = UINT32_MAX, INVALID_ARGUMENT, "dims");
    VIEW(channels, 2; view.size = 1024, INVALID_ARGUMENT, "channels");
    VIEW(axis, 3, INVALID_ARGUMENT, "axis");
    VIEW(intensity, -1, INVALID_ARGUMENT, "intensity");
    VIEW(intensity, MEDSEGX_INTENSITY_RAW; view.slope = 100, BAD_FILE, "raw");
    VIEW(slope, HUGE_VAL, INVALID_ARGUMENT, "slope");
#define TARGET(field, value, status, words)                                                                            \
    target.field = value;                                                                                              \
    EXPECT(RUN(), status, words);                                                                                      \
    target = good_target
    TARGET(label, 0, INVALID_ARGUMENT, "label");
    TARGET(label, 65536, INVALID_ARGUMENT, "label");
    TARGET(task, 100000, INVALID_ARGUMENT, "task");
    TARGET(modality, 100000, INVALID_ARGUMENT, "modality: got 100000");
    TARGET(body_part, 100000, INVALID_ARGUMENT, "body part: got 100000");
    TARGET(subregion, 100000, INVALID_ARGUMENT, "subregion: got 100000");
    TARGET(organ, 100000, INVALID_ARGUMENT, "organ: got 100000");
    TARGET(low[0], -1, BAD_PROMPT, "target");
    TARGET(low[2], 2, BAD_PROMPT, "target");
    TARGET(high[1], INT64_MAX, BAD_PROMPT, "target");
    TARGET(high[2], INT64_MIN, BAD_PROMPT, "target");
    medsegx_slice_box boxes[] = {{1, {0, 0}, {9, 9}}, {0, {9, 9}, {0, 0}}};
#define BOXES(field, value, status, words)                                                                             \
    boxes[1].field = value;                                                                                            \
    TARGET(boxes, boxes; target.box_count = 2, status, words);                                                         \
    boxes[1] = (medsegx_slice_box){0, {9, 9}, {0, 0}}
    TARGET(box_count, 2, INVALID_ARGUMENT, "targets[0].boxes");
    TARGET(boxes, boxes; target.box_count = (size_t)-1, INVALID_ARGUMENT, "targets[0].boxes");
    TARGET(boxes, MISALIGNED(medsegx_slice_box, boxes); target.box_count = 2, INVALID_ARGUMENT, "aligned");
    BOXES(slice, 2, INVALID_ARGUMENT, "targets[0].boxes[1].slice");
    BOXES(slice, -1, INVALID_ARGUMENT, "targets[0].boxes[1].slice");
    BOXES(slice, 1, INVALID_ARGUMENT, "targets[0].boxes[1].slice");
    BOXES(low[0], 16, BAD_PROMPT, "targets[0].boxes[1]");
    BOXES(high[1], INT64_MIN, BAD_PROMPT, "targets[0].boxes[1]");
#define ANSWER(field, value, words)                                                                                    \
    result.field = value;                                                                                              \
    EXPECT(RUN(), INVALID_ARGUMENT, words);                                                                            \
    result = good_result
    ANSWER(struct_size, 47, "struct_size");
    ANSWER(labels, NULL, "labels");
    ANSWER(labels, MISALIGNED(uint16_t, labels), "aligned");
    ANSWER(labels_count, 511, "labels_count");
    ANSWER(outcomes, MISALIGNED(medsegx_outcome, outcomes), "aligned");
    ANSWER(outcome_size, 0, "outcomes");
    ANSWER(outcome_size, 95, "outcomes");
    ANSWER(outcomes_room, 1, "outcomes_room");
    ANSWER(outcomes_room, (size_t)-1, "outcomes");
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        CHECK(labels[i] == 0xa5a5);
    }
    CHECK(RUN() == MEDSEGX_STATUS_OK && error == NULL && labels[0] <= 1 && result.outcomes_count == 2);
}

static void tunings(const char *folder, const medsegx_model *model, medsegx_session *session, const medsegx_context *context) {
    char tiny[4096];
    snprintf(tiny, sizeof tiny, "%s", fixture_path(folder, "tiny.safetensors"));
    medsegx_tuning *tuning = (medsegx_tuning *)&error;
    EXPECT(medsegx_tune_new(NULL, &tuning, &error), INVALID_ARGUMENT, "path");
    CHECK(tuning == NULL);
    EXPECT(medsegx_tune_new(tiny, NULL, &error), INVALID_ARGUMENT, "out");
    EXPECT(medsegx_tune_new("\xff\xfe", &tuning, &error), INVALID_ARGUMENT, "UTF-8");
    EXPECT(medsegx_tune_new(fixture_path(folder, "picture.u8"), &tuning, &error), BAD_FILE, "; needs ");
    CHECK(medsegx_tune_new(tiny, &tuning, NULL) == MEDSEGX_STATUS_OK);

    static unsigned char pixels[16 * 16], label[16 * 16];
    for (size_t i = 0; i < sizeof label; i++) {
        pixels[i] = (unsigned char)(i * 37);
        label[i] = i % 16 > 3 && i / 16 > 3;
    }
    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    slice.pixels = pixels;
    slice.height = slice.width = 16;
#define ADD(tuning, session, slice, context, label, size)                                                              \
    medsegx_tune_add_slice(tuning, session, slice, context, label, size, 0, 0, NULL, &error)
    EXPECT(ADD(NULL, session, &slice, context, label, 256), INVALID_ARGUMENT, "tuning");
    EXPECT(ADD(tuning, NULL, &slice, context, label, 256), INVALID_ARGUMENT, "session");
    EXPECT(ADD(tuning, session, NULL, context, label, 256), INVALID_ARGUMENT, "slice");
    EXPECT(ADD(tuning, session, &slice, NULL, label, 256), INVALID_ARGUMENT, "task");
    EXPECT(ADD(tuning, session, &slice, context, NULL, 256), INVALID_ARGUMENT, "label");
    EXPECT(ADD(tuning, session, &slice, context, label, (size_t)-1), INVALID_ARGUMENT, "label_size");
    slice.width = 17;
    EXPECT(ADD(tuning, session, &slice, context, label, 256), INVALID_ARGUMENT, "slice");
    slice.width = 16;
    CHECK(ADD(tuning, session, &slice, context, label, 256) == MEDSEGX_STATUS_OK);

    medsegx_tune_options options;
    medsegx_tune_result result;
    medsegx_tune_result_init(&result, (uint32_t)sizeof result);
#define TUNE(tuning, result) medsegx_tune_run(tuning, &options, result, NULL, NULL, NULL, &error)
#define WITH_TUNE(field, value, words)                                                                                 \
    medsegx_tune_options_init(&options, (uint32_t)sizeof options);                                                     \
    options.field = value;                                                                                             \
    EXPECT(TUNE(tuning, &result), INVALID_ARGUMENT, words)
    WITH_TUNE(struct_size, 47, "struct_size");
    WITH_TUNE(steps, 0, "steps");
    WITH_TUNE(batch, 0, "batch");
    WITH_TUNE(rate, -1, "rate");
    WITH_TUNE(rate, HUGE_VALF, "rate");
    WITH_TUNE(train, 3, "train");
    WITH_TUNE(train, -1, "train");
    WITH_TUNE(validate, 2, "validate");
    WITH_TUNE(share, 1, "validate");
    WITH_TUNE(share, NAN, "validate");
    WITH_TUNE(instructions, 4, "instructions");
    medsegx_tune_options_init(&options, (uint32_t)sizeof options);
    EXPECT(TUNE(NULL, &result), INVALID_ARGUMENT, "tuning");
    EXPECT(TUNE(tuning, NULL), INVALID_ARGUMENT, "result");
    EXPECT(TUNE(tuning, MISALIGNED(medsegx_tune_result, &result)), INVALID_ARGUMENT, "aligned");

    medsegx_model *tuned = (medsegx_model *)&error;
    EXPECT(medsegx_tune_model(NULL, model, &tuned, &error), INVALID_ARGUMENT, "tuning");
    CHECK(tuned == NULL);
    EXPECT(medsegx_tune_model(tuning, NULL, &tuned, &error), INVALID_ARGUMENT, "base");
    EXPECT(medsegx_tune_model(tuning, model, NULL, &error), INVALID_ARGUMENT, "out");
    EXPECT(medsegx_tune_write(NULL, "x", "y", 0, &error), INVALID_ARGUMENT, "tuning");
    EXPECT(medsegx_tune_write(tuning, NULL, "y", 0, &error), INVALID_ARGUMENT, "path");
    EXPECT(medsegx_tune_write(tuning, "x", NULL, 0, &error), INVALID_ARGUMENT, "name");
    EXPECT(medsegx_tune_write(tuning, "x", "y", 0, &error), INVALID_ARGUMENT, "medsegx_tune_run");
    medsegx_tune_free(tuning);
}

/* Functions that take NULL in their stride. */
static void nothing(void) {
    medsegx_session_free(NULL);
    medsegx_model_free(NULL);
    medsegx_cancel_free(NULL);
    medsegx_cancel_set(NULL, 1);
    medsegx_error_free(NULL);
    medsegx_model_options_init(NULL, UINT32_MAX);
    medsegx_model_info_init(NULL, UINT32_MAX);
    medsegx_session_options_init(NULL, UINT32_MAX);
    medsegx_context_init(NULL, UINT32_MAX);
    medsegx_context_names_init(NULL, UINT32_MAX);
    medsegx_slice_init(NULL, UINT32_MAX);
    medsegx_prompt_init(NULL, UINT32_MAX);
    medsegx_result_init(NULL, UINT32_MAX);
    medsegx_volume_init(NULL, UINT32_MAX);
    medsegx_volume_result_init(NULL, UINT32_MAX);
    medsegx_tune_free(NULL);
    medsegx_tune_options_init(NULL, UINT32_MAX);
    medsegx_tune_result_init(NULL, UINT32_MAX);
    CHECK(medsegx_error_status(NULL) == MEDSEGX_STATUS_OK && medsegx_error_source(NULL) == NULL);
    CHECK(strcmp(medsegx_error_message(NULL), "") == 0);
    CHECK(medsegx_model_device(NULL) == NULL && medsegx_model_sha256(NULL) == NULL);
    CHECK(medsegx_task_name((size_t)-1) == NULL && medsegx_modality_name((size_t)-1) == NULL);
}

int nonsense(const char *folder, const medsegx_model *model) {
    opening(folder);
    sessions(model);
    medsegx_context context;
    contexts(&context);
    medsegx_session *session = fixture_session(model, 16, 16);
    slices(session, &context);
    volumes(session);
    tunings(folder, model, session, &context);
    medsegx_session_free(session);
    nothing();
    return failures;
}
