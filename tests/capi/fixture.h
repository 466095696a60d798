/* Files that tests/capi_fixture.rs and run.sh leave in the folder that the first argument names, and what tests share. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <medsegx.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 256, MASKS = 3, LOGITS = MASKS * SIDE * SIDE };

static int failures = 0;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                                    \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

/* A path below the fixture's folder; valid until the next call. */
static inline const char *fixture_path(const char *folder, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static inline void *fixture_read(const char *folder, const char *name, size_t size) {
    FILE *file = fopen(fixture_path(folder, name), "rb");
    void *bytes = malloc(size);
    if (!file || !bytes || fread(bytes, 1, size, file) != size) {
        fprintf(stderr, "cannot read %zu bytes of %s/%s\n", size, folder, name);
        exit(2);
    }
    fclose(file);
    return bytes;
}

static inline size_t fixture_size(const char *folder, const char *name) {
    FILE *file = fopen(fixture_path(folder, name), "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "cannot read %s/%s\n", folder, name);
        exit(2);
    }
    long size = ftell(file);
    fclose(file);
    return (size_t)size;
}

/* On the CPU, with threads and instructions as the environment says in CAPI_THREADS and CAPI_INSTRUCTIONS. */
static inline medsegx_model_options fixture_options(void) {
    const char *threads = getenv("CAPI_THREADS"), *instructions = getenv("CAPI_INSTRUCTIONS");
    medsegx_model_options options;
    medsegx_model_options_init(&options, (uint32_t)sizeof options);
    options.device = MEDSEGX_DEVICE_CPU;
    options.threads = threads ? (uint32_t)atoi(threads) : 0;
    options.instructions = instructions ? atoi(instructions) : MEDSEGX_INSTRUCTIONS_WIDEST;
    return options;
}

/* Whether the model says of itself what sha256sum said of its file. */
static inline int fixture_has_hash(const char *folder, const medsegx_model *model) {
    const char *found = medsegx_model_sha256(model);
    char *expected = fixture_read(folder, "tiny.sha256", 64);
    int same = found && strlen(found) == 64 && memcmp(found, expected, 64) == 0;
    free(expected);
    return same;
}

static inline medsegx_model *fixture_model(const char *folder) {
    medsegx_model_options options = fixture_options();
    medsegx_model *model = NULL;
    medsegx_error *error = NULL;
    if (medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &options, &model, &error) != MEDSEGX_STATUS_OK) {
        fprintf(stderr, "%s\n", medsegx_error_message(error));
        exit(1);
    }
    CHECK(error == NULL && model != NULL && fixture_has_hash(folder, model));
    return model;
}

/* A session for slices of one size. */
static inline medsegx_session *fixture_session(const medsegx_model *model, uint32_t height, uint32_t width) {
    medsegx_session_options options;
    medsegx_session_options_init(&options, (uint32_t)sizeof options);
    options.max_height = height;
    options.max_width = width;
    medsegx_session *session = NULL;
    CHECK(medsegx_session_new(model, &options, &session, NULL) == MEDSEGX_STATUS_OK);
    return session;
}

/* The golden case: context and box. */
static inline void fixture_case(const char *folder, medsegx_context *context, medsegx_prompt *prompt) {
    FILE *file = fopen(fixture_path(folder, "case.txt"), "r");
    medsegx_context_init(context, (uint32_t)sizeof *context);
    medsegx_prompt_init(prompt, (uint32_t)sizeof *prompt);
    prompt->has_box = 1;
    if (!file || fscanf(file, "%u %u %u %u %u %lf %lf %lf %lf", &context->modality, &context->body_part, &context->subregion,
                        &context->organ, &context->task, &prompt->box[0], &prompt->box[1], &prompt->box[2],
                        &prompt->box[3]) != 9) {
        fprintf(stderr, "cannot read %s/case.txt\n", folder);
        exit(2);
    }
    fclose(file);
}

/* The golden picture as it is. */
static inline medsegx_slice fixture_slice(const unsigned char *picture) {
    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    slice.pixel_type = MEDSEGX_PIXEL_U8;
    slice.pixels = picture;
    slice.height = SIDE;
    slice.width = SIDE;
    slice.channels = 3;
    slice.intensity = MEDSEGX_INTENSITY_RAW;
    return slice;
}

/* A result with room for a mask. */
static inline medsegx_result fixture_result(unsigned char *mask, size_t size) {
    medsegx_result result;
    medsegx_result_init(&result, (uint32_t)sizeof result);
    result.mask = mask;
    result.mask_size = size;
    return result;
}

/* Squared relative L2 distance. */
static inline double fixture_distance(const float *found, const float *expected, size_t count) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - (double)expected[i];
        difference += d * d;
        norm += (double)expected[i] * (double)expected[i];
    }
    return difference / norm;
}

/* One box on the picture, in a session that lives as long as the call. `mask` holds SIDE * SIDE pixels. */
static inline medsegx_status fixture_segment(const medsegx_model *model, const unsigned char *picture,
                                             unsigned char *mask, const medsegx_cancel *cancel) {
    medsegx_session *session = NULL;
    medsegx_status status = medsegx_session_new(model, NULL, &session, NULL);
    if (status != MEDSEGX_STATUS_OK) {
        return status;
    }
    medsegx_context context;
    medsegx_prompt prompt;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    context.modality = context.body_part = context.subregion = context.organ = context.task = 0;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[0] = prompt.box[1] = 30;
    prompt.box[2] = prompt.box[3] = 200;
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result;
    medsegx_result_init(&result, (uint32_t)sizeof result);
    result.mask = mask;
    result.mask_size = SIDE * SIDE;
    status = medsegx_segment_slice(session, &slice, &context, &prompt, &result, cancel, NULL);
    medsegx_session_free(session);
    return status;
}

#endif
