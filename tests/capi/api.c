/* The C ABI against golden logits and against itself. Argument: the fixture's folder. tune.c, nonsense.c and twice.c are
 * compiled with it. */
#define _POSIX_C_SOURCE 200809L
#include "fixture.h"

#include <fenv.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

int nonsense(const char *folder, const medsegx_model *model);
int tuning(const char *folder, const medsegx_model *model);
uint32_t abi_of_the_second_unit(void);

/* Rounding, and on x86 flushing to zero and trapping: what a host may rely on to stay. */
static unsigned arithmetic(void) {
#ifdef __SSE__
    return (unsigned)fegetround() ^ (_mm_getcsr() & 0xffc0u);
#else
    return (unsigned)fegetround();
#endif
}

static void segment_or_die(medsegx_session *session, const medsegx_slice *slice, const medsegx_context *context,
                           const medsegx_prompt *prompt, medsegx_result *result) {
    medsegx_error *error = NULL;
    if (medsegx_segment_slice(session, slice, context, prompt, result, NULL, &error) != MEDSEGX_STATUS_OK) {
        fprintf(stderr, "%s\n", medsegx_error_message(error));
        exit(1);
    }
}

static void golden(const char *folder, const medsegx_model *model) {
    unsigned char *picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    float *expected = fixture_read(folder, "logits.f32", LOGITS * sizeof(float));
    float *logits = malloc(LOGITS * sizeof(float));
    unsigned char *mask = malloc(SIDE * SIDE);
    medsegx_session *session = fixture_session(model, SIDE, SIDE);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result = fixture_result(mask, SIDE * SIDE);
    result.logits = logits;
    result.logits_count = LOGITS;
    unsigned before = arithmetic();
    segment_or_die(session, &slice, &context, &prompt, &result);
    CHECK(arithmetic() == before);
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

/* The same grey levels as every pixel type, in rows that lie apart, and through slope and intercept: the same logits. */
static void pixel_types(const char *folder, const medsegx_model *model) {
    enum { W = 37, H = 29, APART = 41 };
    static unsigned char bytes[H * APART];
    static int16_t shorts[H * APART];
    static uint16_t words[H * APART];
    static float floats[H * APART];
    for (size_t i = 0; i < H * APART; i++) {
        int level = (int)((i * 7919) % 256);
        int outside = i % APART >= W; /* between the rows is what nobody may look at */
        bytes[i] = (unsigned char)level;
        shorts[i] = (int16_t)(outside ? -32768 : level - 100);
        words[i] = (uint16_t)(outside ? 65535 : 4 * level);
        floats[i] = outside ? -1e30f : (float)level;
    }
    struct {
        const void *pixels;
        size_t size;
        double slope, intercept;
        int32_t type;
    } const forms[] = {{bytes, 1, 1, 0, MEDSEGX_PIXEL_U8},
                       {shorts, 2, 1, 100, MEDSEGX_PIXEL_I16},
                       {words, 2, 0.25, 0, MEDSEGX_PIXEL_U16},
                       {floats, 4, 1, 0, MEDSEGX_PIXEL_F32}};
    float *first = malloc(LOGITS * sizeof(float)), *logits = malloc(LOGITS * sizeof(float));
    medsegx_session *session = fixture_session(model, H, W);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    prompt.box[0] = prompt.box[1] = 4;
    prompt.box[2] = prompt.box[3] = 20;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        medsegx_slice slice;
        medsegx_slice_init(&slice, (uint32_t)sizeof slice);
        slice.pixel_type = forms[i].type;
        slice.pixels = forms[i].pixels;
        slice.row_stride = APART * forms[i].size;
        slice.height = H;
        slice.width = W;
        slice.intensity = MEDSEGX_INTENSITY_RAW;
        slice.slope = forms[i].slope;
        slice.intercept = forms[i].intercept;
        medsegx_result result = fixture_result(NULL, 0);
        result.logits = i == 0 ? first : logits;
        result.logits_count = LOGITS;
        segment_or_die(session, &slice, &context, &prompt, &result);
        CHECK(i == 0 || memcmp(first, logits, LOGITS * sizeof(float)) == 0);
    }
    medsegx_session_free(session);
    free(logits);
    free(first);
}

/* A box and a mask prompt count, points are refused: MedSegX was not trained with them. */
static void prompts(const char *folder, const medsegx_model *model) {
    unsigned char *picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    float *logits[2];
    medsegx_session_options options;
    medsegx_session_options_init(&options, (uint32_t)sizeof options);
    options.max_height = options.max_width = SIDE;
    options.max_points = 4;
    options.mask_prompts = 1;
    medsegx_session *session = NULL;
    CHECK(medsegx_session_new(model, &options, &session, NULL) == MEDSEGX_STATUS_OK);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    medsegx_slice slice = fixture_slice(picture);
    medsegx_point points[2] = {{100, 120, 1, 0}, {20, 30, 0, 0}};
    static float earlier[(SIDE / 4) * (SIDE / 4)];
    for (size_t i = 0; i < (SIDE / 4) * (SIDE / 4); i++) {
        earlier[i] = i % 64 < 32 ? 4.0f : -4.0f;
    }
    for (size_t i = 0; i < 2; i++) {
        logits[i] = malloc(LOGITS * sizeof(float));
        prompt.mask = i == 1 ? earlier : NULL;
        medsegx_result result = fixture_result(NULL, 0);
        result.logits = logits[i];
        result.logits_count = LOGITS;
        segment_or_die(session, &slice, &context, &prompt, &result);
        for (size_t j = 0; j < i; j++) {
            CHECK(fixture_distance(logits[i], logits[j], LOGITS) > 1e-6);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        free(logits[i]);
    }
    prompt.points = points;
    prompt.point_count = 2;
    medsegx_result refused = fixture_result(NULL, 0);
    medsegx_error *error = NULL;
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &refused, NULL, &error) == MEDSEGX_STATUS_BAD_PROMPT);
    CHECK(strstr(medsegx_error_message(error), "not trained with points") != NULL);
    medsegx_error_free(error);
    medsegx_session_free(session);
    free(picture);
}

/* A child after fork that uses its parent's model gets an error at once, and can free what it has. */
static void child_after_fork(const char *folder, medsegx_model *model) {
    unsigned char *picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    medsegx_session *session = fixture_session(model, SIDE, SIDE);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result = fixture_result(NULL, 0);
    segment_or_die(session, &slice, &context, &prompt, &result);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        medsegx_error *error = NULL;
        medsegx_status status = medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, &error);
        int good = status == MEDSEGX_STATUS_DEVICE && strstr(medsegx_error_message(error), "before fork") != NULL;
        medsegx_error_free(error);
        medsegx_session_free(session);
        medsegx_model_free(model);
        /* A child that ends by itself is searched for leaks, and finds what the threads of before the fork held. */
        if (good) {
            kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    segment_or_die(session, &slice, &context, &prompt, &result);
    medsegx_session_free(session);
    free(picture);
}

enum { W = 40, H = 30, D = 4 };

struct progress {
    medsegx_session *session;
    uint64_t calls, stop_at, total;
};

static int32_t hear(void *user, uint64_t done, uint64_t total) {
    struct progress *progress = user;
    progress->calls++;
    progress->total = total;
    CHECK(done <= total);
    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    medsegx_prompt prompt;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    medsegx_result result = fixture_result(NULL, 0);
    medsegx_status status = medsegx_segment_slice(progress->session, &slice, NULL, &prompt, &result, NULL, NULL);
    CHECK(status == MEDSEGX_STATUS_INVALID_ARGUMENT); /* the session is running */
    return progress->stop_at == progress->calls;
}

static medsegx_slice slice_of(const medsegx_volume *volume, const int16_t *voxels, size_t z) {
    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    slice.pixel_type = volume->pixel_type;
    slice.pixels = voxels + z * W * H;
    slice.height = H;
    slice.width = W;
    slice.intensity = volume->intensity;
    slice.low = volume->low;
    slice.high = volume->high;
    return slice;
}

/* A target on one slice gives the slice's own mask and numbers; progress and cancelling; outcomes of every slice. */
static void volume(const medsegx_model *model) {
    static int16_t voxels[W * H * D];
    static uint16_t labels[W * H * D];
    static unsigned char mask[W * H];
    for (size_t i = 0; i < W * H * D; i++) {
        voxels[i] = (int16_t)((i * 7919) % 400) - 100;
    }
    medsegx_session *session = fixture_session(model, H, W);
    medsegx_volume view;
    medsegx_volume_init(&view, (uint32_t)sizeof view);
    view.pixel_type = MEDSEGX_PIXEL_I16;
    view.voxels = voxels;
    view.size = sizeof voxels;
    view.dims[0] = W;
    view.dims[1] = H;
    view.dims[2] = D;
    view.intensity = MEDSEGX_INTENSITY_WINDOW;
    view.low = -100;
    view.high = 300;
    /* Both arrays have elements that are larger than this version knows. */
    struct {
        medsegx_target known;
        int64_t later;
    } targets[1] = {{{7, 2, 1, 4, 17, 59, {4, 3, 1}, {30, 25, 1}, NULL, 0}, -1}};
    struct {
        medsegx_outcome known;
        int64_t later;
    } outcomes[D];
    memset(outcomes, 0x5a, sizeof outcomes);
    medsegx_volume_result answer;
    medsegx_volume_result_init(&answer, (uint32_t)sizeof answer);
    answer.labels = labels;
    answer.labels_count = W * H * D;
    answer.outcomes = &outcomes[0].known;
    answer.outcome_size = (uint32_t)sizeof outcomes[0];
    answer.outcomes_room = D;
    struct progress progress = {session, 0, 0, 0};
#define RUN(cancel) \
    medsegx_segment_volume(session, &view, &targets[0].known, sizeof targets[0], 1, &answer, hear, &progress, cancel, NULL)
    CHECK(RUN(NULL) == MEDSEGX_STATUS_OK);
    CHECK(answer.outcomes_count == 1 && progress.calls == 1 && progress.total == 1);

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
    medsegx_slice slice = slice_of(&view, voxels, 1);
    medsegx_result result = fixture_result(mask, sizeof mask);
    segment_or_die(session, &slice, &context, &prompt, &result);
    size_t outside = 0, differing = 0;
    for (size_t i = 0; i < W * H; i++) {
        outside += labels[i] != 0 || labels[2 * W * H + i] != 0;
        differing += labels[W * H + i] != (mask[i] ? 7 : 0);
    }
    CHECK(outside == 0 && differing == 0);
    const medsegx_outcome *one = &outcomes[0].known;
    CHECK(one->target == 0 && one->slice == 1 && one->chosen == result.chosen && one->pixels == result.pixels);
    CHECK(one->mask_count == result.mask_count && one->first_token == result.first_token && one->continuity == -1);
    CHECK(memcmp(one->scores, result.scores, sizeof result.scores) == 0);
    CHECK(one->agreement == result.agreement && one->box_agreement == result.box_agreement);
    CHECK(one->stability == result.stability && outcomes[0].later == 0x5a5a5a5a5a5a5a5a);

    /* Percentiles of one slice, and of a volume that is this slice. */
    view.voxels = voxels + W * H;
    view.size = sizeof(int16_t) * W * H;
    view.dims[2] = 1;
    view.intensity = MEDSEGX_INTENSITY_PERCENTILE;
    targets[0].known.low[2] = targets[0].known.high[2] = 0;
    slice.intensity = MEDSEGX_INTENSITY_PERCENTILE;
    CHECK(RUN(NULL) == MEDSEGX_STATUS_OK);
    segment_or_die(session, &slice, &context, &prompt, &result);
    CHECK(one->pixels == result.pixels && memcmp(one->scores, result.scores, sizeof result.scores) == 0);
    view.voxels = voxels;
    view.size = sizeof voxels;
    view.dims[2] = D;
    view.intensity = MEDSEGX_INTENSITY_WINDOW;

    /* Every slice: each has its numbers, and its neighbours. */
    targets[0].known.high[2] = D - 1;
    progress.calls = 0;
    CHECK(RUN(NULL) == MEDSEGX_STATUS_OK);
    CHECK(answer.outcomes_count == D && progress.calls == D);
    for (size_t z = 0; z < D; z++) {
        size_t pixels = 0;
        for (size_t i = 0; i < W * H; i++) {
            pixels += labels[z * W * H + i] == 7;
        }
        CHECK(outcomes[z].known.slice == z && outcomes[z].known.pixels == pixels);
        CHECK(outcomes[z].known.continuity >= 0 && outcomes[z].known.continuity <= 1);
    }

    /* The same rectangle given for each slice, in any order and by any corners; and an element of version 1. */
    static uint16_t by_run[W * H * D];
    memcpy(by_run, labels, sizeof labels);
    medsegx_slice_box boxes[D];
    for (size_t z = 0; z < D; z++) {
        boxes[D - 1 - z] = (medsegx_slice_box){(int64_t)z, {30, 3}, {4, 25}};
    }
    medsegx_target each = {7, 2, 1, 4, 17, 59, {-9, -9, -9}, {-9, -9, -9}, boxes, D};
#define BOXES(target, size) medsegx_segment_volume(session, &view, target, size, 1, &answer, NULL, NULL, NULL, NULL)
    memset(labels, 0x77, sizeof labels);
    CHECK(BOXES(&each, sizeof each) == MEDSEGX_STATUS_OK && answer.outcomes_count == D);
    CHECK(memcmp(labels, by_run, sizeof labels) == 0);
    union {
        unsigned char bytes[72];
        int64_t alignment;
    } first;
    memcpy(first.bytes, &targets[0].known, sizeof first.bytes);
    memset(labels, 0x77, sizeof labels);
    CHECK(BOXES((const medsegx_target *)first.bytes, sizeof first.bytes) == MEDSEGX_STATUS_OK);
    CHECK(memcmp(labels, by_run, sizeof labels) == 0);

    /* A rectangle of its own on each of two slices: what the slices give alone, as the neighbours do not touch. */
    boxes[0] = (medsegx_slice_box){2, {10, 2}, {35, 20}};
    boxes[1] = (medsegx_slice_box){0, {4, 3}, {30, 25}};
    each.box_count = 2;
    CHECK(BOXES(&each, sizeof each) == MEDSEGX_STATUS_OK && answer.outcomes_count == 2);
    CHECK(outcomes[0].known.slice == 0 && outcomes[1].known.slice == 2);
    slice = slice_of(&view, voxels, 2);
    prompt.box[0] = 10;
    prompt.box[1] = 2;
    prompt.box[2] = 35;
    prompt.box[3] = 20;
    segment_or_die(session, &slice, &context, &prompt, &result);
    for (size_t i = 0, z = 2 * W * H; i < W * H; i++) {
        CHECK(labels[z + i] == (mask[i] ? 7 : 0) && labels[W * H + i] == 0);
    }

    /* Stopped by progress, by the flag, and going on afterwards; nothing is written meanwhile. */
    memset(labels, 0x77, sizeof labels);
    progress.calls = 0;
    progress.stop_at = 2;
    CHECK(RUN(NULL) == MEDSEGX_STATUS_CANCELLED && progress.calls == 2);
    medsegx_cancel *cancel = NULL;
    CHECK(medsegx_cancel_new(&cancel, NULL) == MEDSEGX_STATUS_OK);
    medsegx_cancel_set(cancel, 1);
    progress.stop_at = 0;
    CHECK(RUN(cancel) == MEDSEGX_STATUS_CANCELLED);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, cancel, NULL) == MEDSEGX_STATUS_CANCELLED);
    answer.outcomes_room = D - 1;
    CHECK(RUN(NULL) == MEDSEGX_STATUS_INVALID_ARGUMENT);
    for (size_t i = 0; i < W * H * D; i++) {
        CHECK(labels[i] == 0x7777);
    }
    medsegx_cancel_set(cancel, 0);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, cancel, NULL) == MEDSEGX_STATUS_OK);
    medsegx_cancel_free(cancel);
    medsegx_session_free(session);
}

struct reader {
    const unsigned char *bytes;
    size_t size;
    uint64_t expected_offset;
};

static int32_t hand_over(void *user, uint64_t offset, void *buffer, size_t size) {
    struct reader *reader = user;
    CHECK(offset == reader->expected_offset && offset + size <= reader->size);
    memcpy(buffer, reader->bytes + offset, size);
    reader->expected_offset += size;
    return 0;
}

struct log {
    int messages, warnings;
};

static void note(void *user, int32_t level, const char *message) {
    struct log *log = user;
    log->messages++;
    log->warnings += level == MEDSEGX_LOG_WARNING;
    CHECK(level == MEDSEGX_LOG_WARNING || level == MEDSEGX_LOG_INFORMATION);
    CHECK(strlen(message) > 0);
}

/* From memory and through callbacks, with a log and with portable instructions; a session outlives its model. */
static void ways_to_open(const char *folder) {
    struct reader reader = {NULL, fixture_size(folder, "tiny.safetensors"), 0};
    unsigned char *bytes = fixture_read(folder, "tiny.safetensors", reader.size);
    reader.bytes = bytes;
    struct log log = {0, 0};
    medsegx_model_options options = fixture_options();
    options.log = note;
    options.log_user = &log;
    const int32_t usual = options.instructions;
    options.instructions = MEDSEGX_INSTRUCTIONS_PORTABLE;
    medsegx_model *model = NULL;
    CHECK(medsegx_model_open_memory(bytes, reader.size, &options, &model, NULL) == MEDSEGX_STATUS_OK);
    CHECK(fixture_has_hash(folder, model));
    golden(folder, model);
    medsegx_model_free(model);
    CHECK(log.messages == 1 && log.warnings == 0);
    options.instructions = usual;
    CHECK(medsegx_model_open_callbacks(hand_over, &reader, reader.size, &options, &model, NULL) == MEDSEGX_STATUS_OK);
    CHECK(reader.expected_offset == reader.size && fixture_has_hash(folder, model));
    free(bytes);
    medsegx_session *session = fixture_session(model, SIDE, SIDE);
    medsegx_model_free(model);
    unsigned char *picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result = fixture_result(NULL, 0);
    segment_or_die(session, &slice, &context, &prompt, &result);
    CHECK(result.pixels > 0);
    medsegx_session_free(session);
    free(picture);
}

static void tree(void) {
    size_t count = medsegx_task_count(), liver = count;
    CHECK(count > 100 && medsegx_task_name(count) == NULL);
    CHECK(medsegx_modality_count() >= 10 && medsegx_modality_name(medsegx_modality_count()) == NULL);
    for (size_t i = 0; i < count; i++) {
        liver = strcmp(medsegx_task_name(i), "Liver") == 0 ? i : liver;
    }
    medsegx_context_names names;
    medsegx_context_names_init(&names, (uint32_t)sizeof names);
    names.task = "ct-liver";
    medsegx_context context, listed;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    medsegx_context_init(&listed, (uint32_t)sizeof listed);
    CHECK(medsegx_context_from_names(&names, &context, NULL) == MEDSEGX_STATUS_OK);
    CHECK(medsegx_task_describe(liver, &listed, NULL) == MEDSEGX_STATUS_OK);
    CHECK(strcmp(medsegx_modality_name(context.modality), "CT") == 0);
    listed.modality = context.modality;
    CHECK(memcmp(&listed, &context, sizeof context) == 0);
    CHECK(medsegx_context_describe(&context, &names, NULL) == MEDSEGX_STATUS_OK);
    CHECK(strcmp(names.modality, "CT") == 0 && strcmp(names.target, "Liver") == 0 && names.task == NULL);
    CHECK(medsegx_context_from_names(&names, &listed, NULL) == MEDSEGX_STATUS_OK);
    CHECK(memcmp(&listed, &context, sizeof context) == 0);
    context.organ = 100000;
    CHECK(medsegx_context_describe(&context, &names, NULL) == MEDSEGX_STATUS_OK && strcmp(names.organ, "?") == 0);
}

static void information(const medsegx_model *model) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", MEDSEGX_MAJOR, MEDSEGX_MINOR, MEDSEGX_PATCH);
    CHECK(strcmp(medsegx_version(), version) == 0);
    CHECK(medsegx_abi_version() == MEDSEGX_ABI_VERSION && abi_of_the_second_unit() == MEDSEGX_ABI_VERSION);
    CHECK(strstr(medsegx_build_info(), medsegx_version()) != NULL);
    CHECK(strstr(medsegx_build_info(), "not a medical device") != NULL);
    printf("%s\n", medsegx_build_info());
    for (int32_t status = MEDSEGX_STATUS_OK; status <= MEDSEGX_STATUS_DEVICE_LOST; status++) {
        CHECK(strcmp(medsegx_status_string(status), "unknown status") != 0);
    }
    CHECK(strcmp(medsegx_status_string(MEDSEGX_STATUS_DEVICE_LOST + 1), "unknown status") == 0);
    CHECK(strcmp(medsegx_status_string(-5), "unknown status") == 0);
    medsegx_model_info info;
    medsegx_model_info_init(&info, (uint32_t)sizeof info);
    CHECK(medsegx_model_describe(model, &info, NULL) == MEDSEGX_STATUS_OK);
    CHECK(info.kind == MEDSEGX_KIND_MEDSEGX && info.image_size == SIDE && info.needs_context == 1 && info.width == 128);
    CHECK(strcmp(medsegx_model_device(model), "cpu") == 0);
}

/* A program with a later header: zeros behind what the library knows by _init, untouched by an answer. A program cannot
 * have an earlier header than the first. */
static void later_header(const medsegx_model *model) {
    struct {
        medsegx_model_info info;
        unsigned char later[12];
    } larger;
    memset(&larger, 0xa5, sizeof larger);
    medsegx_model_info_init(&larger.info, (uint32_t)sizeof larger);
    for (size_t i = 0; i < sizeof larger.later; i++) {
        CHECK(larger.later[i] == 0);
        larger.later[i] = 0xa5;
    }
    CHECK(medsegx_model_describe(model, &larger.info, NULL) == MEDSEGX_STATUS_OK);
    CHECK(larger.info.struct_size == sizeof larger && larger.info.image_size == SIDE);
    for (size_t i = 0; i < sizeof larger.later; i++) {
        CHECK(larger.later[i] == 0xa5);
    }
    medsegx_model_info short_info;
    memset(&short_info, 0xa5, sizeof short_info);
    medsegx_model_info_init(&short_info, (uint32_t)sizeof short_info - 1);
    CHECK(short_info.struct_size == 0xa5a5a5a5);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    medsegx_model *model = fixture_model(argv[1]);
    information(model);
    later_header(model);
    tree();
    golden(argv[1], model);
    pixel_types(argv[1], model);
    prompts(argv[1], model);
    child_after_fork(argv[1], model);
    volume(model);
    ways_to_open(argv[1]);
    failures += tuning(argv[1], model);
    failures += nonsense(argv[1], model);
    medsegx_model_free(model);
    printf("%s: %d failures\n", argv[0], failures);
    return failures ? 1 : 0;
}
