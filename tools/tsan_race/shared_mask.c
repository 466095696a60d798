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
    medsegx_session *session = NULL;
    medsegx_context context;
    medsegx_prompt prompt;
    medsegx_result result;
    medsegx_context_init(&context, (uint32_t)sizeof context);
    context.modality = context.body_part = context.subregion = context.organ = context.task = 0;
    medsegx_prompt_init(&prompt, (uint32_t)sizeof prompt);
    prompt.has_box = 1;
    prompt.box[0] = prompt.box[1] = 30;
    prompt.box[2] = prompt.box[3] = 200;
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result_init(&result, (uint32_t)sizeof result);
    result.mask = mask;
    result.mask_size = sizeof mask;
    CHECK(medsegx_session_new(model, NULL, &session, NULL) == MEDSEGX_STATUS_OK);
    CHECK(medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session_free(session);
    return argument;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    medsegx_model *opened = NULL;
    medsegx_model_options options = fixture_options();
    CHECK(medsegx_model_open(fixture_path(argv[1], "tiny.safetensors"), &options, &opened, NULL) == MEDSEGX_STATUS_OK);
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
