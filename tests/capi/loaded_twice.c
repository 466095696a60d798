/* Two copies of the library in one process, as when two of a host's plugins bring their own: each works, also after the
 * other was closed. Arguments: the fixture's folder, the paths of two copies. */
#define _GNU_SOURCE
#include "fixture.h"

#include <dlfcn.h>

struct library {
    void *handle;
    medsegx_status (*open)(const char *, const medsegx_model_options *, medsegx_model **, medsegx_error **);
    medsegx_status (*new_session)(const medsegx_model *, const medsegx_session_options *, medsegx_session **,
                                  medsegx_error **);
    medsegx_status (*segment)(medsegx_session *, const medsegx_slice *, const medsegx_context *, const medsegx_prompt *,
                              medsegx_result *, const medsegx_cancel *, medsegx_error **);
    void (*free_session)(medsegx_session *);
    void (*free_model)(medsegx_model *);
    medsegx_model *model;
    medsegx_session *session;
};

static void *find(struct library *library, const char *name) {
    void *found = dlsym(library->handle, name);
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

static struct library load(const char *path, const char *folder) {
    struct library library = {0};
    library.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library.handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&library.open = find(&library, "medsegx_model_open");
    *(void **)&library.new_session = find(&library, "medsegx_session_new");
    *(void **)&library.segment = find(&library, "medsegx_segment_slice");
    *(void **)&library.free_session = find(&library, "medsegx_session_free");
    *(void **)&library.free_model = find(&library, "medsegx_model_free");
    medsegx_model_options options = fixture_options();
    CHECK(library.open(fixture_path(folder, "tiny.safetensors"), &options, &library.model, NULL) == MEDSEGX_STATUS_OK);
    CHECK(library.new_session(library.model, NULL, &library.session, NULL) == MEDSEGX_STATUS_OK);
    return library;
}

static void segment(struct library *library, const char *folder, unsigned char *mask) {
    unsigned char *picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    medsegx_context context;
    medsegx_prompt prompt;
    fixture_case(folder, &context, &prompt);
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result = fixture_result(mask, SIDE * SIDE);
    CHECK(library->segment(library->session, &slice, &context, &prompt, &result, NULL, NULL) == MEDSEGX_STATUS_OK);
    CHECK(result.pixels > 0);
    free(picture);
}

static void unload(struct library *library) {
    library->free_session(library->session);
    library->free_model(library->model);
    dlclose(library->handle);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER LIBRARY COPY\n", argv[0]);
        return 2;
    }
    static unsigned char masks[3][SIDE * SIDE];
    struct library one = load(argv[2], argv[1]), other = load(argv[3], argv[1]);
    CHECK(one.open != other.open);
    segment(&one, argv[1], masks[0]);
    segment(&other, argv[1], masks[1]);
    unload(&one);
    segment(&other, argv[1], masks[2]);
    unload(&other);
    CHECK(memcmp(masks[0], masks[1], sizeof masks[0]) == 0 && memcmp(masks[1], masks[2], sizeof masks[1]) == 0);
    printf("two copies in one process: %d failures\n", failures);
    return failures ? 1 : 0;
}
