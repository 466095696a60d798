/* Files that tests/capi_fixture.rs and run.sh leave in the folder that the first argument names. */
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

#endif
