/* Labelled slices to a tuned model and a tuned file, which are the same. */
#include "fixture.h"

enum { W = 64, H = 48, SLICES = 3, STEPS = 2, PIXELS = W * H };

static int32_t count(void *user, uint64_t done, uint64_t total) {
    CHECK(done >= 1 && done <= total);
    ++*(int *)user;
    return 0;
}

static int32_t end_at_once(void *user, uint64_t done, uint64_t total) {
    (void)user, (void)done, (void)total;
    return 1;
}

static medsegx_context context_of_case(void) {
    medsegx_context context;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    context.modality = 2;
    context.body_part = 1;
    context.subregion = 4;
    context.organ = 17;
    context.task = 59;
    return context;
}

/* Bright blocks on noise; the label is the block. */
static medsegx_slice labelled(int which, unsigned char *pixels, unsigned char *label) {
    for (int i = 0; i < PIXELS; i++) {
        int x = i % W, y = i / W;
        label[i] = x >= 10 + 4 * which && x < 40 + 2 * which && y >= 8 && y < 30 + 3 * which;
        pixels[i] = (unsigned char)((i * 7919 + which * 31) % 90 + (label[i] ? 120 : 0));
    }
    medsegx_slice slice;
    medsegx_slice_init(&slice, (uint32_t)sizeof slice);
    slice.pixels = pixels;
    slice.width = W;
    slice.height = H;
    slice.intensity = MEDSEGX_INTENSITY_RAW;
    return slice;
}

static size_t mask_of(const medsegx_model *model, unsigned char *mask) {
    static unsigned char pixels[PIXELS], label[PIXELS];
    medsegx_slice slice = labelled(1, pixels, label);
    medsegx_context context = context_of_case();
    medsegx_prompt prompt;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[0] = 14;
    prompt.box[1] = 8;
    prompt.box[2] = 41;
    prompt.box[3] = 32;
    medsegx_result result = fixture_result(mask, PIXELS);
    float *logits = malloc(LOGITS * sizeof(float));
    result.logits = logits;
    result.logits_count = LOGITS;
    medsegx_session *session = fixture_session(model, H, W);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session_free(session);
    size_t hash = 0;
    for (size_t i = 0; i < LOGITS; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        hash = hash * 31 + bits;
    }
    free(logits);
    return hash;
}

/* Whether a slice with this rule of intensity is told to be another than the model was tuned with. */
static int is_told(const medsegx_model *model, int32_t intensity) {
    static unsigned char pixels[PIXELS], label[PIXELS];
    int number = 0;
    while (medsegx_warning_name((uint32_t)number) && strcmp(medsegx_warning_name((uint32_t)number), "tuned-otherwise"))
        number++;
    CHECK(medsegx_warning_name((uint32_t)number) != NULL);
    medsegx_slice slice = labelled(1, pixels, label);
    slice.intensity = intensity;
    medsegx_context context = context_of_case();
    medsegx_prompt prompt;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[2] = prompt.box[3] = 20;
    medsegx_result result = fixture_result(NULL, 0);
    medsegx_session *session = fixture_session(model, H, W);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session_free(session);
    return (result.warnings >> number & 1) != 0;
}

int tuning(const char *folder, const medsegx_model *model) {
    static unsigned char pixels[PIXELS], label[PIXELS], mask[PIXELS];
    medsegx_context context = context_of_case();
    medsegx_tuning *tuning = NULL;
    medsegx_error *error = NULL;
    CHECK(medsegx_tune_new(fixture_path(folder, "tiny.safetensors"), &tuning, NULL) == MEDSEGX_STATUS_OK);

    medsegx_tune_options options;
    medsegx_tune_options_init(&options, (uint32_t)sizeof options);
    CHECK(options.steps == 50 && options.batch == 4 && options.seed == 2025);
    options.steps = STEPS;
    options.rate = 1e-3f;
    options.validate = MEDSEGX_VALIDATE_NONE;
    options.threads = fixture_options().threads;
    options.instructions = fixture_options().instructions;
    medsegx_tune_result result;
    medsegx_tune_result_init(&result, (uint32_t)sizeof result);
    medsegx_model *tuned = NULL;
#define RUN(progress, user, cancel) medsegx_tune_run(tuning, &options, &result, progress, user, cancel, &error)
#define EXPECT(call, status, words)                                                                                    \
    CHECK((call) == MEDSEGX_STATUS_##status);                                                                          \
    CHECK(error && strstr(medsegx_error_message(error), words));                                                       \
    medsegx_error_free(error);                                                                                         \
    error = NULL

    /* Nothing to tune on, and nothing tuned. */
    EXPECT(RUN(NULL, NULL, NULL), INVALID_ARGUMENT, "slices");
    EXPECT(medsegx_tune_model(tuning, model, &tuned, &error), INVALID_ARGUMENT, "medsegx_tune_run");
    medsegx_tuning *none = tuning;
    EXPECT(medsegx_tune_new("nowhere.safetensors", &none, &error), IO, "nowhere");
    CHECK(none == NULL);

    medsegx_session *session = fixture_session(model, H, W);
#define ADD(slice, size) medsegx_tune_add_slice(tuning, session, &slice, &context, label, size, 0, (uint32_t)i, NULL, &error)
    for (int i = 0; i < SLICES; i++) {
        medsegx_slice slice = labelled(i, pixels, label);
        EXPECT(ADD(slice, PIXELS - 1), INVALID_ARGUMENT, "label_size");
        CHECK(ADD(slice, PIXELS) == MEDSEGX_STATUS_OK);
        memset(label, 0, sizeof label);
        EXPECT(ADD(slice, PIXELS), BAD_PROMPT, "label");
    }
    medsegx_session_free(session);

    /* The flag gives a run up and leaves nothing; progress ends it with what there is. */
    medsegx_cancel *cancel = NULL;
    CHECK(medsegx_cancel_new(&cancel, NULL) == MEDSEGX_STATUS_OK);
    medsegx_cancel_set(cancel, 1);
    EXPECT(RUN(NULL, NULL, cancel), CANCELLED, "cancel");
    EXPECT(medsegx_tune_model(tuning, model, &tuned, &error), INVALID_ARGUMENT, "medsegx_tune_run");
    medsegx_cancel_free(cancel);
    CHECK(RUN(end_at_once, NULL, NULL) == MEDSEGX_STATUS_OK && result.stopped == 1 && result.steps == 1);
    options.share = 1.0;
    options.validate = MEDSEGX_VALIDATE_AUTO;
    EXPECT(RUN(NULL, NULL, NULL), INVALID_ARGUMENT, "validate");
    options.validate = MEDSEGX_VALIDATE_NONE;

    /* The encoder too: the loss falls, and neither memory nor a run in between changes a bit. */
    options.train = MEDSEGX_TRAIN_ALL;
    options.batch = 1; /* valgrind computes this too */
    double losses[2];
    for (int i = 0; i < 2; i++) {
        options.memory = i ? 1 : 0;
        CHECK(RUN(NULL, NULL, NULL) == MEDSEGX_STATUS_OK && result.last_loss < result.first_loss);
        losses[i] = result.last_loss;
    }
    CHECK(losses[0] == losses[1]);
    CHECK(medsegx_tune_model(tuning, model, &tuned, NULL) == MEDSEGX_STATUS_OK);
    size_t before = mask_of(model, mask), all = mask_of(tuned, mask);
    CHECK(before != all);
    medsegx_model_free(tuned);
    options.train = MEDSEGX_TRAIN_DECODER;
    options.batch = 4;
    options.memory = 0;

    int calls = 0;
    CHECK(RUN(count, &calls, NULL) == MEDSEGX_STATUS_OK);
    CHECK(calls == STEPS && result.steps == STEPS && result.stopped == 0 && result.held_out == MEDSEGX_HELD_OUT_NOTHING);
    CHECK(result.last_loss < result.first_loss && result.dice_ellipse > 0.5);

    /* The model over the shared base and the file on top of the base are the same, and not the base. */
    CHECK(medsegx_tune_model(tuning, model, &tuned, NULL) == MEDSEGX_STATUS_OK);
    char path[4096];
    snprintf(path, sizeof path, "%s", fixture_path(folder, "block.tuned.safetensors"));
    CHECK(medsegx_tune_write(tuning, path, "block", 1, NULL) == MEDSEGX_STATUS_OK);
    EXPECT(medsegx_tune_write(tuning, path, "block", 0, &error), BAD_FILE, "block.tuned.safetensors");
    medsegx_tune_free(tuning);
    medsegx_model_options with = fixture_options();
    with.tuned = path;
    medsegx_model *opened = NULL;
    CHECK(medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &with, &opened, NULL) == MEDSEGX_STATUS_OK);
    size_t base = mask_of(model, mask), shared = mask_of(tuned, mask), file = mask_of(opened, mask);
    CHECK(shared == file && shared != base);
    CHECK(fixture_has_hash(folder, tuned) && fixture_has_hash(folder, opened));
    const medsegx_model *both[] = {tuned, opened};
    for (int i = 0; i < 2; i++) {
        CHECK(is_told(both[i], MEDSEGX_INTENSITY_MINMAX) && !is_told(both[i], MEDSEGX_INTENSITY_RAW));
    }
    CHECK(!is_told(model, MEDSEGX_INTENSITY_MINMAX));
    printf("tuned: loss %.4f to %.4f\n", result.first_loss, result.last_loss);
    medsegx_model_free(opened);
    medsegx_model_free(tuned);
    medsegx_tune_free(NULL);
    return failures;
}
