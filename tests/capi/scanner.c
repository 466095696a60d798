/* A program like a scanner's: slices arrive one by one and each is segmented within its own call. One is cancelled half
 * way, one is corrupt, and the run goes on. Latency percentiles last. Arguments: the fixture's folder, how many slices. */
#define _POSIX_C_SOURCE 199309L
#include "fixture.h"

#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER SLICES\n", argv[0]);
        return 2;
    }
    int count = atoi(argv[2]);
    if (count < 4 || count > 100000) {
        fprintf(stderr, "SLICES: expected 4 to 100000, found %s\n", argv[2]);
        return 2;
    }
    medsegx_model_options options;
    medsegx_model_options_init(&options, (uint32_t)sizeof options);
    options.device = MEDSEGX_DEVICE_CPU;
    medsegx_model *model = NULL;
    medsegx_session *session = NULL;
    medsegx_cancel *cancel = NULL;
    medsegx_error *error = NULL;
    if (medsegx_model_open(fixture_path(argv[1], "tiny.safetensors"), &options, &model, &error) ||
        medsegx_session_new(model, NULL, &session, &error) || medsegx_cancel_new(&cancel, &error)) {
        fprintf(stderr, "%s\n", medsegx_error_message(error));
        return 1;
    }
    unsigned char *picture = fixture_read(argv[1], "picture.u8", SIDE * SIDE * 3);
    unsigned char *mask = malloc(SIDE * SIDE);
    double *latency = malloc((size_t)count * sizeof *latency);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(argv[1], &context, &prompt);
    int done = 0;
    for (int i = 0; i < count; i++) {
        medsegx_slice slice = fixture_slice(picture);
        medsegx_result result;
        medsegx_result_init(&result, (uint32_t)sizeof result);
        result.mask = mask;
        result.mask_size = SIDE * SIDE;
        picture[(size_t)i % (SIDE * SIDE)] ^= 0x3f; /* the next slice is another one */
        int to_cancel = i == count / 2, corrupt = i == count / 3;
        if (corrupt) {
            slice.pixels = NULL;
        }
        medsegx_cancel_set(cancel, to_cancel);
        double start = now();
        medsegx_status status = medsegx_segment_slice(session, &slice, &context, &prompt, &result, cancel, &error);
        if (status == MEDSEGX_STATUS_OK) {
            latency[done++] = now() - start;
        }
        CHECK(status == (corrupt ? MEDSEGX_STATUS_INVALID_ARGUMENT : to_cancel ? MEDSEGX_STATUS_CANCELLED : MEDSEGX_STATUS_OK));
        medsegx_error_free(error);
        error = NULL;
    }
    CHECK(done == count - 2);
    qsort(latency, (size_t)done, sizeof *latency, ascending);
    printf("%d slices: median %.2f ms, 95th percentile %.2f ms, slowest %.2f ms\n", done, latency[done / 2],
           latency[done * 95 / 100], latency[done - 1]);
    free(latency);
    free(mask);
    free(picture);
    medsegx_cancel_free(cancel);
    medsegx_session_free(session);
    medsegx_model_free(model);
    return failures ? 1 : 0;
}
