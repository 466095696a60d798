/* 32 threads on one shared model: sessions made and destroyed, cancels racing with runs. Every completed mask must be the
 * same. Argument: the fixture's folder. */
#include "fixture.h"

#include <pthread.h>

enum { THREADS = 32, ROUNDS = 3 };

static const medsegx_model *shared_model;
static const char *folder;
static const unsigned char *picture;
static unsigned char reference[SIDE * SIDE];
static medsegx_cancel *cancel;
static int wrong[THREADS];
static int completed[THREADS];

static void *work(void *argument) {
    int id = *(int *)argument;
    unsigned char *mask = malloc(SIDE * SIDE);
    for (int round = 0; round < ROUNDS; round++) {
        int racing = (id + round) % 4 == 0;
        if (racing) {
            medsegx_cancel_set(cancel, round % 2);
        }
        medsegx_status status = fixture_segment(shared_model, picture, mask, racing ? cancel : NULL);
        if (status == MEDSEGX_STATUS_OK) {
            completed[id]++;
            wrong[id] += memcmp(mask, reference, sizeof reference) != 0;
        } else if (status != MEDSEGX_STATUS_CANCELLED || !racing) {
            wrong[id]++;
        }
    }
    free(mask);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    medsegx_model *model = NULL;
    medsegx_model_options options;
    medsegx_model_options_init(&options, (uint32_t)sizeof options);
    options.device = MEDSEGX_DEVICE_CPU;
    CHECK(medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &options, &model, NULL) == MEDSEGX_STATUS_OK);
    CHECK(medsegx_cancel_new(&cancel, NULL) == MEDSEGX_STATUS_OK);
    unsigned char *pixels = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    picture = pixels;
    shared_model = model;
    CHECK(fixture_segment(model, pixels, reference, NULL) == MEDSEGX_STATUS_OK);
    pthread_t threads[THREADS];
    int ids[THREADS], all = 0;
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &ids[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(wrong[i] == 0);
        all += completed[i];
    }
    CHECK(all >= THREADS * ROUNDS / 2);
    printf("%d threads, %d completed slices, %d failures\n", THREADS, all, failures);
    medsegx_cancel_free(cancel);
    medsegx_model_free(model);
    free(pixels);
    return failures ? 1 : 0;
}
