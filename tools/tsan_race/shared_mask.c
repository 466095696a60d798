/* A host's mistake, which ThreadSanitizer has to report: one thread looks at a mask while another one's call of the library
 * writes it. Argument: the fixture's folder of tests/capi. */
#define _DEFAULT_SOURCE
#include "../../tests/capi/fixture.h"

#include <pthread.h>
#include <unistd.h>

static const medsegx_model *model;
static const unsigned char *picture;
static unsigned char mask[SIDE * SIDE];

/* A few pixels, often: what ThreadSanitizer no longer remembers the place of, it does not report. */
static void *look(void *argument) {
    unsigned sum = 0;
    for (int turn = 0; turn < 2000; turn++) {
        for (size_t i = 0; i < SIDE; i += 16) {
            sum += mask[SIDE * SIDE / 2 + i];
        }
        usleep(1000);
    }
    *(unsigned *)argument = sum;
    return NULL;
}

static void *segment(void *argument) {
    CHECK(fixture_segment(model, picture, mask, NULL) == MEDSEGX_STATUS_OK);
    return argument;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    medsegx_model *opened = fixture_model(argv[1]);
    picture = fixture_read(argv[1], "picture.u8", SIDE * SIDE * 3);
    model = opened;
    pthread_t writer, reader;
    unsigned sum;
    CHECK(pthread_create(&writer, NULL, segment, NULL) == 0);
    CHECK(pthread_create(&reader, NULL, look, &sum) == 0);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    medsegx_model_free(opened);
    free((void *)picture);
    return failures ? 1 : 0;
}
