/* Drives the C API by a byte string: which call, on which object, with which sizes, callbacks and cancel flag. Every buffer
 * is exactly as large as its call is told, on the heap, so that AddressSanitizer sees a byte too far. After each call a
 * status other than OK has words, and OK has none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "medsegx.h"

void drive_capi(const unsigned char *bytes, size_t size, const char *weights);

enum { OBJECTS = 3, LONGEST = 24, TARGETS = 3 };

typedef struct {
    const unsigned char *bytes;
    size_t left;
    const char *weights;
    char tuned[4096];
    medsegx_model *models[OBJECTS];
    medsegx_session *sessions[OBJECTS];
    medsegx_cancel *cancel;
    medsegx_tuning *tuning;
    unsigned heard, stop_after;
} driver;

static unsigned next(driver *d) {
    if (d->left == 0) {
        return 0;
    }
    d->left--;
    return *d->bytes++;
}

/* Mostly `usual`, below 32 of 256 something else. */
static int64_t mostly(driver *d, int64_t usual) {
    unsigned how = next(d);
    if (how >= 32) {
        return usual;
    }
    static const int64_t odd[] = {0, -1, 1, 2, 3, 77, 256, 65536, INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN};
    return how < sizeof odd / sizeof *odd ? odd[how] : (int64_t)next(d);
}

static double number(driver *d) {
    static const double odd[] = {0.0, -1.0, 1e300, -1e300, 0.5, 1e-320};
    unsigned how = next(d);
    if (how < sizeof odd / sizeof *odd) {
        return odd[how];
    }
    return how < 10 ? (double)(how - 8) / 0.0 : (double)next(d) / 4.0 - 8.0;
}

static void *filled(driver *d, size_t size) {
    unsigned char *room = malloc(size ? size : 1);
    unsigned seed = next(d);
    for (size_t i = 0; room && i < size; i++) {
        room[i] = (unsigned char)((i * i * (seed + 3) + i * 7 + seed) >> 3);
    }
    if (!room) {
        abort();
    }
    return room;
}

static void told(medsegx_status status, medsegx_error *error) {
    if ((status == MEDSEGX_STATUS_OK) != (error == NULL) || status == MEDSEGX_STATUS_INTERNAL) {
        fprintf(stderr, "status %d with '%s'\n", (int)status, medsegx_error_message(error));
        abort();
    }
    if (error && (medsegx_error_status(error) != status || strlen(medsegx_error_message(error)) == 0)) {
        abort();
    }
    medsegx_error_free(error);
}

/* The error is read after the call. */
#define TOLD(call)                                                                                                         \
    do {                                                                                                                   \
        medsegx_error *error = NULL;                                                                                       \
        medsegx_status status = call;                                                                                      \
        told(status, error);                                                                                               \
    } while (0)

static int32_t progress(void *user, uint64_t done, uint64_t total) {
    driver *d = user;
    if (done > total) {
        abort();
    }
    if (++d->heard == d->stop_after) {
        if (d->stop_after % 2) {
            medsegx_cancel_set(d->cancel, 1);
        } else {
            return 5;
        }
    }
    return 0;
}

typedef struct {
    FILE *file;
    unsigned reads, fail_at;
} source;

static int32_t read_at(void *user, uint64_t offset, void *buffer, size_t size) {
    source *from = user;
    if (++from->reads == from->fail_at || fseek(from->file, (long)offset, SEEK_SET) != 0) {
        return 9;
    }
    return fread(buffer, 1, size, from->file) == size ? 0 : 8;
}

static void open_model(driver *d) {
    medsegx_model **out = &d->models[next(d) % OBJECTS];
    medsegx_model_free(*out);
    *out = NULL;
    medsegx_model_options options;
    medsegx_model_options_init(&options, (uint32_t)sizeof options);
    options.device = (int32_t)mostly(d, MEDSEGX_DEVICE_CPU);
    options.precision = (int32_t)mostly(d, MEDSEGX_PRECISION_F32);
    options.instructions = (int32_t)mostly(d, MEDSEGX_INSTRUCTIONS_WIDEST);
    options.threads = 1 + next(d) % 2;
    options.tuned = next(d) % 4 == 0 ? d->tuned : NULL;
    options.struct_size = (uint32_t)(mostly(d, 0) ? next(d) % (sizeof options + 1) : sizeof options);
    unsigned how = next(d) % 4;
    if (how < 2) {
        TOLD(medsegx_model_open(how ? d->weights : (const char *)d->tuned, &options, out, &error));
        return;
    }
    FILE *file = fopen(d->weights, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        abort();
    }
    size_t size = (size_t)ftell(file), given = (size_t)mostly(d, (int64_t)size);
    if (how == 2) {
        source from = {file, 0, next(d)};
        TOLD(medsegx_model_open_callbacks(read_at, &from, given, &options, out, &error));
    } else {
        given = given < size ? given : size;
        unsigned char *bytes = malloc(given ? given : 1);
        rewind(file);
        if (!bytes || fread(bytes, 1, given, file) != given) {
            abort();
        }
        for (unsigned i = next(d) % 4; i > 0 && given > 0; i--) {
            size_t at = (next(d) * 256u + next(d)) % given;
            bytes[at] ^= (unsigned char)next(d);
        }
        TOLD(medsegx_model_open_memory(bytes, given, &options, out, &error));
        free(bytes);
    }
    fclose(file);
}

static void open_session(driver *d) {
    medsegx_session **out = &d->sessions[next(d) % OBJECTS];
    medsegx_session_free(*out);
    *out = NULL;
    medsegx_session_options options;
    medsegx_session_options_init(&options, (uint32_t)sizeof options);
    options.max_height = (uint32_t)mostly(d, LONGEST);
    options.max_width = (uint32_t)mostly(d, LONGEST);
    options.max_points = (uint32_t)mostly(d, 4);
    options.batch = (uint32_t)mostly(d, 2);
    options.mask = (int32_t)mostly(d, MEDSEGX_MASK_AUTO);
    options.mask_prompts = (int32_t)(next(d) % 2);
    options.kept_slices = next(d) % 3;
    /* Sizes that fit no machine are refused, and those that merely fit would not fit the fuzzer's limit. */
    if (options.max_height > 2048 || options.max_width > 2048 || options.batch > 80) {
        options.max_height = UINT32_MAX;
    }
    TOLD(medsegx_session_new(d->models[next(d) % OBJECTS], next(d) % 4 ? &options : NULL, out, &error));
}

/* Bytes of a pixel of each type, in the order of medsegx_pixel. */
static size_t pixel_size(int32_t type) {
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 8};
    return type >= 0 && type < 8 ? sizes[type] : 8;
}

static void *slice_of(driver *d, medsegx_slice *slice) {
    medsegx_slice_init(slice, (uint32_t)sizeof *slice);
    slice->pixel_type = (int32_t)(next(d) % 9);
    slice->height = 1 + next(d) % LONGEST;
    slice->width = 1 + next(d) % LONGEST;
    slice->channels = next(d) % 4 ? 1 : 3;
    slice->intensity = (int32_t)(next(d) % 8);
    slice->slope = next(d) % 4 ? 1.0 : number(d);
    slice->intercept = next(d) % 4 ? 0.0 : number(d);
    slice->low = number(d), slice->high = number(d);
    slice->nan_value = next(d) % 2 ? 0.0 : slice->nan_value;
    size_t row = pixel_size(slice->pixel_type) * slice->width * slice->channels, gap = next(d) % 3;
    if (next(d) % 2) {
        slice->row_stride = row + gap;
    }
    size_t step = slice->row_stride ? slice->row_stride : row;
    void *pixels = filled(d, step * (slice->height - 1) + row);
    slice->pixels = next(d) % 32 ? pixels : NULL;
    if (mostly(d, 0)) {
        slice->struct_size = next(d) % (uint32_t)(sizeof *slice + 1);
    }
    return pixels;
}

static void context_of(driver *d, medsegx_context *context) {
    medsegx_context_init(context, (uint32_t)sizeof *context);
    TOLD(medsegx_task_describe(next(d) % 40, context, &error));
    context->modality = context->organ % 10;
    if (next(d) % 8 == 0) {
        context->organ = (uint32_t)mostly(d, context->organ);
        context->task = (uint32_t)mostly(d, context->task);
    }
}

typedef struct {
    medsegx_prompt prompt;
    medsegx_result result;
    medsegx_point *points;
    float *mask, *logits;
    unsigned char *pixels;
} asked;

static void ask(driver *d, asked *a, const medsegx_slice *slice, unsigned logits_size) {
    memset(a, 0, sizeof *a);
    medsegx_prompt_init(&a->prompt, (uint32_t)sizeof a->prompt);
    medsegx_result_init(&a->result, (uint32_t)sizeof a->result);
    a->prompt.has_box = (int32_t)mostly(d, 1);
    for (int i = 0; i < 4; i++) {
        a->prompt.box[i] = next(d) % 8 ? (double)(next(d) % LONGEST) : number(d);
    }
    a->prompt.point_count = next(d) % 4 ? 0 : next(d) % 5;
    a->points = malloc((a->prompt.point_count + 1) * sizeof *a->points);
    for (size_t i = 0; a->points && i < a->prompt.point_count; i++) {
        a->points[i] = (medsegx_point){number(d), number(d), (int32_t)mostly(d, 1), 0};
    }
    a->prompt.points = a->points;
    if (next(d) % 8 == 0) {
        a->mask = filled(d, (size_t)logits_size * logits_size * sizeof *a->mask);
        a->prompt.mask = a->mask;
    }
    a->result.mask_size = (size_t)mostly(d, (int64_t)slice->height * slice->width);
    a->result.logits_count = (size_t)mostly(d, 0) ? (size_t)3 * logits_size * logits_size : 0;
    if (a->result.mask_size < 1u << 16) {
        a->pixels = malloc(a->result.mask_size + 1);
        a->result.mask = a->pixels;
    }
    if (a->result.logits_count) {
        a->logits = malloc(a->result.logits_count * sizeof *a->logits);
        a->result.logits = a->logits;
    }
}

static void answered(asked *a) {
    free(a->points);
    free(a->mask);
    free(a->pixels);
    free(a->logits);
}

static void prompt(driver *d, int whole) {
    medsegx_slice slice;
    medsegx_context context;
    medsegx_session *session = d->sessions[next(d) % OBJECTS];
    void *pixels = slice_of(d, &slice);
    context_of(d, &context);
    medsegx_model_info info;
    medsegx_model_info_init(&info, (uint32_t)sizeof info);
    unsigned side = 16;
    for (int i = 0; i < OBJECTS; i++) {
        if (d->models[i]) {
            TOLD(medsegx_model_describe(d->models[i], &info, &error));
            side = info.logits_size;
        }
    }
    medsegx_cancel *cancel = next(d) % 4 ? NULL : d->cancel;
    const medsegx_context *under = next(d) % 16 ? &context : NULL;
    if (whole) {
        asked one;
        ask(d, &one, &slice, side);
        TOLD(medsegx_segment_slice(session, &slice, under, &one.prompt, &one.result, cancel, &error));
        answered(&one);
    } else {
        TOLD(medsegx_session_set_slice(session, &slice, under, cancel, &error));
        asked several[4];
        medsegx_prompt prompts[4];
        medsegx_result results[4];
        size_t count = next(d) % 5;
        for (size_t i = 0; i < count; i++) {
            ask(d, &several[i], &slice, side);
            prompts[i] = several[i].prompt, results[i] = several[i].result;
        }
        TOLD(medsegx_session_prompt(session, prompts, sizeof *prompts, results, sizeof *results, count, cancel, &error));
        for (size_t i = 0; i < count; i++) {
            answered(&several[i]);
        }
    }
    free(pixels);
}

static void volume(driver *d) {
    medsegx_volume volume;
    medsegx_volume_init(&volume, (uint32_t)sizeof volume);
    volume.pixel_type = (int32_t)(next(d) % 9);
    size_t voxels = 1;
    for (int i = 0; i < 3; i++) {
        volume.dims[i] = 1 + next(d) % 6;
        voxels *= volume.dims[i];
    }
    volume.channels = next(d) % 4 ? 1 : 3;
    volume.axis = (uint32_t)mostly(d, next(d) % 3);
    volume.intensity = (int32_t)(next(d) % 8);
    volume.size = voxels * volume.channels * pixel_size(volume.pixel_type);
    volume.low = number(d), volume.high = number(d);
    void *data = filled(d, volume.size);
    volume.voxels = data;
    medsegx_target targets[TARGETS];
    medsegx_slice_box *boxes[TARGETS] = {NULL};
    size_t count = next(d) % (TARGETS + 1);
    memset(targets, 0, sizeof targets);
    for (size_t t = 0; t < count; t++) {
        medsegx_context context;
        context_of(d, &context);
        targets[t].label = (uint32_t)mostly(d, (int64_t)t + 1);
        targets[t].modality = context.modality, targets[t].body_part = context.body_part;
        targets[t].subregion = context.subregion, targets[t].organ = context.organ, targets[t].task = context.task;
        for (int i = 0; i < 3; i++) {
            targets[t].low[i] = mostly(d, 0), targets[t].high[i] = mostly(d, (int64_t)volume.dims[i] - 1);
        }
        if (next(d) % 2) {
            targets[t].box_count = next(d) % 4;
            boxes[t] = malloc((targets[t].box_count + 1) * sizeof *boxes[t]);
            for (size_t i = 0; boxes[t] && i < targets[t].box_count; i++) {
                boxes[t][i] = (medsegx_slice_box){mostly(d, next(d) % 6), {mostly(d, 0), mostly(d, 0)}, {mostly(d, 3), mostly(d, 3)}};
            }
            targets[t].boxes = boxes[t];
        }
    }
    medsegx_volume_result result;
    medsegx_volume_result_init(&result, (uint32_t)sizeof result);
    result.labels_count = mostly(d, 0) ? next(d) : voxels;
    uint16_t *labels = malloc(result.labels_count * sizeof *labels + 1);
    result.labels = labels;
    medsegx_outcome *outcomes = NULL;
    if (next(d) % 2) {
        result.outcome_size = (uint32_t)mostly(d, (int64_t)sizeof *outcomes) % 70000;
        result.outcomes_room = next(d) % 32;
        outcomes = malloc(result.outcomes_room * result.outcome_size + 1);
        result.outcomes = outcomes;
    }
    d->heard = 0;
    medsegx_session *session = d->sessions[next(d) % OBJECTS];
    TOLD(medsegx_segment_volume(session, &volume, targets, sizeof *targets, count, &result, next(d) % 4 ? progress : NULL, d,
                                next(d) % 2 ? d->cancel : NULL, &error));
    free(data);
    free(labels);
    free(outcomes);
    for (size_t t = 0; t < TARGETS; t++) {
        free(boxes[t]);
    }
}

static void tune(driver *d) {
    unsigned what = next(d) % 6;
    if (what == 0 || !d->tuning) {
        medsegx_tune_free(d->tuning);
        TOLD(medsegx_tune_new(d->weights, &d->tuning, &error));
    } else if (what < 3) {
        medsegx_slice slice;
        medsegx_context context;
        void *pixels = slice_of(d, &slice);
        context_of(d, &context);
        size_t count = (size_t)slice.height * slice.width, given = mostly(d, 0) ? next(d) : count;
        unsigned char *label = filled(d, given);
        for (size_t i = 0; i < given; i++) {
            label[i] = label[i] > 128 ? 1 : 0;
        }
        medsegx_session *session = d->sessions[next(d) % OBJECTS];
        TOLD(medsegx_tune_add_slice(d->tuning, session, &slice, next(d) % 16 ? &context : NULL, label, given, next(d) % 2,
                                    next(d), next(d) % 4 ? NULL : d->cancel, &error));
        free(label);
        free(pixels);
    } else if (what == 3) {
        medsegx_tune_options options;
        medsegx_tune_options_init(&options, (uint32_t)sizeof options);
        options.steps = next(d) % 3;
        options.batch = (uint32_t)mostly(d, 2);
        options.jitter = (uint32_t)mostly(d, 0);
        options.validate = (int32_t)mostly(d, MEDSEGX_VALIDATE_AUTO);
        options.rate = (float)(next(d) % 4 ? 0.001 : number(d));
        options.share = next(d) % 4 ? options.share : number(d);
        options.threads = 1;
        medsegx_tune_result result;
        medsegx_tune_result_init(&result, (uint32_t)sizeof result);
        d->heard = 0;
        TOLD(medsegx_tune_run(d->tuning, &options, &result, progress, d, next(d) % 2 ? d->cancel : NULL, &error));
    } else if (what == 4) {
        medsegx_model *tuned = NULL;
        TOLD(medsegx_tune_model(d->tuning, d->models[next(d) % OBJECTS], &tuned, &error));
        unsigned at = next(d) % OBJECTS;
        if (tuned) {
            medsegx_model_free(d->models[at]);
            d->models[at] = tuned;
        }
    } else {
        TOLD(medsegx_tune_write(d->tuning, d->tuned, "CT_Liver", (int32_t)(next(d) % 2), &error));
    }
}

static void names(driver *d) {
    static const char *const words[] = {"CT_Liver", "CT", "liver", "abdomen", "MR", "", "\xff", "livr"};
    medsegx_context_names asked_for;
    medsegx_context_names_init(&asked_for, (uint32_t)sizeof asked_for);
    const char **all[] = {&asked_for.task, &asked_for.modality, &asked_for.body_part, &asked_for.subregion, &asked_for.organ};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        unsigned which = next(d) % 16;
        *all[i] = which < 8 ? words[which] : NULL;
    }
    medsegx_context context;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    TOLD(medsegx_context_from_names(&asked_for, &context, &error));
}

static void cancel(driver *d) {
    switch (next(d) % 4) {
    case 0:
        medsegx_cancel_free(d->cancel);
        d->cancel = NULL;
        break;
    case 1:
        if (!d->cancel) {
            TOLD(medsegx_cancel_new(&d->cancel, &error));
        }
        break;
    default:
        medsegx_cancel_set(d->cancel, (int32_t)(next(d) % 2));
    }
    d->stop_after = next(d) % 8;
}

void drive_capi(const unsigned char *bytes, size_t size, const char *weights) {
    driver d = {.bytes = bytes, .left = size, .weights = weights};
    snprintf(d.tuned, sizeof d.tuned, "%s.tuned", weights);
    TOLD(medsegx_model_open(weights, NULL, &d.models[0], &error));
    TOLD(medsegx_session_new(d.models[0], NULL, &d.sessions[0], &error));
    while (d.left > 0) {
        switch (next(&d) % 12) {
        case 0: open_model(&d); break;
        case 1: open_session(&d); break;
        case 2: cancel(&d); break;
        case 3: names(&d); break;
        case 4:
        case 5: volume(&d); break;
        case 6:
        case 7: tune(&d); break;
        case 8:
        case 9: prompt(&d, 0); break;
        default: prompt(&d, 1);
        }
    }
    for (int i = 0; i < OBJECTS; i++) {
        /* Sessions outlive models, whichever goes first. */
        medsegx_model_free(d.models[i]);
    }
    for (int i = 0; i < OBJECTS; i++) {
        medsegx_session_free(d.sessions[i]);
    }
    medsegx_cancel_free(d.cancel);
    medsegx_tune_free(d.tuning);
    remove(d.tuned);
}
