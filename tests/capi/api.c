/* The C ABI against golden logits, and every function with NULL and nonsense. Argument: the fixture's folder. */
#include "fixture.h"

#include <stddef.h>

/* The ABI baseline of version 1 on 64-bit machines: a change here breaks programs that are already built. */
#define LAYOUT(type, field, offset) _Static_assert_compat(offsetof(type, field) == (offset), type##_##field)
#define _Static_assert_compat(condition, name) typedef char layout_##name[(condition) ? 1 : -1]
LAYOUT(medsegx_model_options, log_user, 32);
LAYOUT(medsegx_model_info, width, 24);
LAYOUT(medsegx_session_options, batch, 24);
LAYOUT(medsegx_context, task, 20);
LAYOUT(medsegx_context_names, target, 48);
LAYOUT(medsegx_slice, pixels, 8);
LAYOUT(medsegx_slice, high, 64);
LAYOUT(medsegx_prompt, mask, 56);
LAYOUT(medsegx_result, scores, 56);
LAYOUT(medsegx_result, stability, 104);
LAYOUT(medsegx_volume, dims, 24);
LAYOUT(medsegx_volume, high, 72);
LAYOUT(medsegx_target, low, 24);
LAYOUT(medsegx_target, high, 48);

static medsegx_model *open_model(const char *folder) {
    medsegx_model_options options;
    medsegx_model_options_init(&options, (uint32_t)sizeof options);
    options.device = MEDSEGX_DEVICE_CPU;
    medsegx_model *model = NULL;
    medsegx_error *error = NULL;
    medsegx_status status = medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &options, &model, &error);
    if (status != MEDSEGX_OK) {
        fprintf(stderr, "%s\n", medsegx_error_message(error));
        exit(1);
    }
    CHECK(error == NULL && model != NULL);
    return model;
}

static void golden(const char *folder, const medsegx_model *model) {
    unsigned char *picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    float *expected = fixture_read(folder, "logits.f32", LOGITS * sizeof(float));
    float *logits = malloc(LOGITS * sizeof(float));
    unsigned char *mask = malloc(SIDE * SIDE);
    medsegx_session *session = NULL;
    medsegx_error *error = NULL;
    CHECK(medsegx_session_new(model, NULL, &session, &error) == MEDSEGX_OK);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result;
    medsegx_result_init(&result, (uint32_t)sizeof result);
    result.mask = mask;
    result.mask_size = SIDE * SIDE;
    result.logits = logits;
    result.logits_count = LOGITS;
    if (medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, &error) != MEDSEGX_OK) {
        fprintf(stderr, "%s\n", medsegx_error_message(error));
        exit(1);
    }
    double distance = fixture_distance(logits, expected, LOGITS);
    CHECK(distance < 1e-5 * 1e-5);
    CHECK(result.mask_count == MASKS && result.first_token == 1);
    CHECK(result.chosen >= 1 && result.chosen <= 3);
    size_t pixels = 0, differing = 0;
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        differing += mask[i] != (logits[(size_t)(result.chosen - 1) * SIDE * SIDE + i] > 0);
        pixels += mask[i];
    }
    CHECK(differing == 0);
    CHECK(pixels == result.pixels && pixels > 0);
    CHECK(result.agreement >= 0 && result.agreement <= 1);
    printf("golden: relative L2 distance squared %.3g, %zu pixels\n", distance, pixels);
    medsegx_session_free(session);
    free(mask);
    free(logits);
    free(expected);
    free(picture);
}

/* The same picture as the middle slice of a volume gives the same mask. */
static void volume(const medsegx_model *model) {
    enum { W = 40, H = 30, D = 3 };
    int16_t *voxels = malloc(sizeof(int16_t) * W * H * D);
    uint16_t *labels = calloc(W * H * D, sizeof(uint16_t));
    for (size_t i = 0; i < W * H * D; i++) {
        voxels[i] = (int16_t)((i * 7919) % 400) - 100;
    }
    medsegx_session *session = NULL;
    CHECK(medsegx_session_new(model, NULL, &session, NULL) == MEDSEGX_OK);
    medsegx_volume view;
    medsegx_volume_init(&view, (uint32_t)sizeof view);
    view.pixel_type = MEDSEGX_PIXEL_I16;
    view.voxels = voxels;
    view.size = sizeof(int16_t) * W * H * D;
    view.dims[0] = W;
    view.dims[1] = H;
    view.dims[2] = D;
    view.intensity = MEDSEGX_INTENSITY_WINDOW;
    view.low = -100;
    view.high = 300;
    medsegx_target target = {7, 2, 1, 4, 17, 59, {4, 3, 1}, {30, 25, 1}};
    medsegx_error *error = NULL;
    medsegx_status status = medsegx_segment_volume(session, &view, &target, sizeof target, 1, labels, W * H * D, NULL, NULL, NULL, &error);
    CHECK(status == MEDSEGX_OK);

    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    slice.pixel_type = MEDSEGX_PIXEL_I16;
    slice.pixels = voxels + W * H;
    slice.height = H;
    slice.width = W;
    slice.intensity = MEDSEGX_INTENSITY_WINDOW;
    slice.low = -100;
    slice.high = 300;
    medsegx_context context;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    context.modality = 2;
    context.body_part = 1;
    context.subregion = 4;
    context.organ = 17;
    context.task = 59;
    medsegx_prompt prompt;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[0] = 4;
    prompt.box[1] = 3;
    prompt.box[2] = 30;
    prompt.box[3] = 25;
    unsigned char mask[W * H];
    medsegx_result result;
    medsegx_result_init(&result, (uint32_t)sizeof result);
    result.mask = mask;
    result.mask_size = sizeof mask;
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, NULL) == MEDSEGX_OK);
    size_t outside = 0, differing = 0;
    for (size_t i = 0; i < W * H; i++) {
        outside += labels[i] != 0 || labels[2 * W * H + i] != 0;
        differing += labels[W * H + i] != (mask[i] ? 7 : 0);
    }
    CHECK(outside == 0 && differing == 0);

    medsegx_cancel *cancel = NULL;
    CHECK(medsegx_cancel_new(&cancel, NULL) == MEDSEGX_OK);
    medsegx_cancel_set(cancel, 1);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, cancel, NULL) == MEDSEGX_CANCELLED);
    status = medsegx_segment_volume(session, &view, &target, sizeof target, 1, labels, W * H * D, NULL, NULL, cancel, NULL);
    CHECK(status == MEDSEGX_CANCELLED);
    medsegx_cancel_set(cancel, 0);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, cancel, NULL) == MEDSEGX_OK);
    medsegx_cancel_free(cancel);
    medsegx_session_free(session);
    free(labels);
    free(voxels);
}

static void expect(medsegx_status status, medsegx_status wanted, medsegx_error **error, const char *words) {
    CHECK(status == wanted);
    CHECK(*error != NULL && medsegx_error_status(*error) == wanted);
    CHECK(strstr(medsegx_error_message(*error), words) != NULL);
    if (*error && !strstr(medsegx_error_message(*error), words)) {
        fprintf(stderr, "  '%s' should mention '%s'\n", medsegx_error_message(*error), words);
    }
    medsegx_error_free(*error);
    *error = NULL;
}

static void nonsense(const char *folder, const medsegx_model *model) {
    medsegx_error *error = NULL;
    medsegx_model *other = (medsegx_model *)&error;
    expect(medsegx_model_open(NULL, NULL, &other, &error), MEDSEGX_INVALID_ARGUMENT, &error, "path");
    CHECK(other == NULL);
    expect(medsegx_model_open("x", NULL, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "out");
    expect(medsegx_model_open("/no/such/file", NULL, &other, &error), MEDSEGX_IO, &error, "/no/such/file");
    expect(medsegx_model_open(fixture_path(folder, "picture.u8"), NULL, &other, &error), MEDSEGX_BAD_FILE, &error, "expected");
    expect(medsegx_model_open_memory(NULL, 8, NULL, &other, &error), MEDSEGX_INVALID_ARGUMENT, &error, "data");
    expect(medsegx_model_open_memory("12345678", 8, NULL, &other, &error), MEDSEGX_BAD_FILE, &error, "expected");
    medsegx_model_options options;
    medsegx_model_options_init(&options, (uint32_t)sizeof options);
    options.device = 77;
    expect(medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &options, &other, &error), MEDSEGX_INVALID_ARGUMENT, &error, "device");
    options.struct_size = 3;
    expect(medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &options, &other, &error), MEDSEGX_INVALID_ARGUMENT, &error, "struct_size");

    medsegx_session *session = NULL;
    expect(medsegx_session_new(NULL, NULL, &session, &error), MEDSEGX_INVALID_ARGUMENT, &error, "model");
    expect(medsegx_session_new(model, NULL, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "out");
    medsegx_session_options wishes;
    medsegx_session_options_init(&wishes, (uint32_t)sizeof wishes);
    wishes.max_height = 0;
    expect(medsegx_session_new(model, &wishes, &session, &error), MEDSEGX_INVALID_ARGUMENT, &error, "max_height");
    wishes.max_height = 16;
    wishes.mask = 9;
    expect(medsegx_session_new(model, &wishes, &session, &error), MEDSEGX_INVALID_ARGUMENT, &error, "mask");
    wishes.mask = MEDSEGX_MASK_AUTO;
    wishes.max_width = 16;
    CHECK(medsegx_session_new(model, &wishes, &session, &error) == MEDSEGX_OK);

    medsegx_context_names names;
    medsegx_context_names_init(&names, (uint32_t)sizeof names);
    medsegx_context context;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    expect(medsegx_context_from_names(NULL, &context, &error), MEDSEGX_INVALID_ARGUMENT, &error, "names");
    names.task = "CT_Livr";
    names.organ = "livr";
    expect(medsegx_context_from_names(&names, &context, &error), MEDSEGX_UNKNOWN_NAME, &error, "Liver");
    names.organ = NULL;
    names.task = "\xff\xfe";
    expect(medsegx_context_from_names(&names, &context, &error), MEDSEGX_INVALID_ARGUMENT, &error, "UTF-8");
    names.task = "ct_liver";
    expect(medsegx_context_from_names(&names, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "medsegx_context");
    CHECK(medsegx_context_from_names(&names, &context, &error) == MEDSEGX_OK);

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
    medsegx_prompt prompt;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[2] = 9;
    prompt.box[3] = 9;
    medsegx_result result;
    medsegx_result_init(&result, (uint32_t)sizeof result);
#define SEGMENT() medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, &error)
    expect(medsegx_segment_slice(NULL, &slice, &context, &prompt, &result, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "session");
    expect(medsegx_segment_slice(session, NULL, &context, &prompt, &result, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "slice");
    expect(medsegx_segment_slice(session, &slice, NULL, &prompt, &result, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "task");
    expect(medsegx_segment_slice(session, &slice, &context, NULL, &result, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "prompt");
    expect(medsegx_segment_slice(session, &slice, &context, &prompt, NULL, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "result");
    slice.pixels = NULL;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "pixels");
    slice.pixels = pixels;
    slice.width = 17;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "16 x 16");
    slice.width = 16;
    slice.row_stride = 3;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "row_stride");
    slice.row_stride = 0;
    slice.pixel_type = -1;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "pixel_type");
    slice.pixel_type = MEDSEGX_PIXEL_F32;
    slice.channels = 2;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "channels");
    slice.channels = 1;
    slice.intensity = 99;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "intensity");
    slice.intensity = MEDSEGX_INTENSITY_MINMAX;
    pixels[5] = (float)(0.0 / (double)(pixels[0] - pixels[0]));
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "NaN");
    pixels[5] = 1;
    prompt.box[2] = 16;
    expect(SEGMENT(), MEDSEGX_BAD_PROMPT, &error, "box");
    prompt.box[2] = 9;
    prompt.point_count = 5;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "points");
    prompt.point_count = 0;
    prompt.mask = pixels;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "mask prompt");
    prompt.mask = NULL;
    context.task = 100000;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "task");
    context.task = 0;
    unsigned char mask[4];
    result.mask = mask;
    result.mask_size = sizeof mask;
    expect(SEGMENT(), MEDSEGX_INVALID_ARGUMENT, &error, "mask_size");
    result.mask = NULL;
    CHECK(SEGMENT() == MEDSEGX_OK);

    medsegx_volume view;
    medsegx_volume_init(&view, (uint32_t)sizeof view);
    expect(medsegx_segment_volume(session, &view, NULL, 0, 0, NULL, 0, NULL, NULL, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "target_size");
    medsegx_target target = {1, 0, 0, 0, 0, 0, {0, 0, 0}, {1, 1, 0}};
    expect(medsegx_segment_volume(session, &view, &target, sizeof target, 1, NULL, 0, NULL, NULL, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "expected");
    expect(medsegx_segment_volume(session, NULL, &target, sizeof target, 1, NULL, 0, NULL, NULL, NULL, &error), MEDSEGX_INVALID_ARGUMENT, &error, "volume");

    medsegx_session_free(session);
    medsegx_session_free(NULL);
    medsegx_model_free(NULL);
    medsegx_cancel_free(NULL);
    medsegx_cancel_set(NULL, 1);
    medsegx_error_free(NULL);
    medsegx_slice_init(NULL, 8);
    CHECK(medsegx_error_status(NULL) == MEDSEGX_OK && medsegx_error_source(NULL) == NULL);
    CHECK(medsegx_model_device(NULL) == NULL);
    CHECK(medsegx_model_describe(model, NULL, NULL) == MEDSEGX_INVALID_ARGUMENT);
}

static void information(const medsegx_model *model) {
    CHECK(medsegx_abi_version() == MEDSEGX_ABI_VERSION);
    CHECK(strstr(medsegx_build_info(), medsegx_version()) != NULL);
    CHECK(strstr(medsegx_build_info(), "not a medical device") != NULL);
    for (medsegx_status status = MEDSEGX_OK; status <= MEDSEGX_INTERNAL; status++) {
        CHECK(strcmp(medsegx_status_string(status), "unknown status") != 0);
    }
    CHECK(strcmp(medsegx_status_string(-5), "unknown status") == 0);
    medsegx_model_info info;
    medsegx_model_info_init(&info, (uint32_t)sizeof info);
    CHECK(medsegx_model_describe(model, &info, NULL) == MEDSEGX_OK);
    CHECK(info.kind == MEDSEGX_KIND_MEDSEGX && info.image_size == SIDE && info.needs_context == 1 && info.width == 128);
    CHECK(strcmp(medsegx_model_device(model), "cpu") == 0);
    size_t count = medsegx_task_count();
    CHECK(count > 100 && medsegx_task_name(count - 1) != NULL && medsegx_task_name(count) == NULL);
    /* An older caller's struct: nothing is written past its end. */
    struct {
        medsegx_model_info info;
        unsigned char guard[8];
    } old;
    memset(&old, 0xa5, sizeof old);
    medsegx_model_info_init(&old.info, (uint32_t)sizeof old.info);
    CHECK(medsegx_model_describe(model, &old.info, NULL) == MEDSEGX_OK && old.guard[0] == 0xa5);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    medsegx_model *model = open_model(argv[1]);
    information(model);
    golden(argv[1], model);
    volume(model);
    nonsense(argv[1], model);
    medsegx_model_free(model);
    printf("%s: %d failures\n", argv[0], failures);
    return failures ? 1 : 0;
}
