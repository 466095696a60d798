/* What fails, one thing after another: the n-th large allocation, the n-th mapping, the n-th thread, the n-th read, for
 * n = 1, 2, 3, ... until nothing is left to fail. Each call must then return an error, write nothing and leak nothing.
 * This program's own malloc, mmap, pthread_create and pread64 stand before the system's, for the library too. Also counts
 * what calls in the acquisition loop allocate. Argument: the fixture's folder.
 *
 * Only allocations of LARGE bytes or more are failed: those that grow with images and weights. Rust's collections end the
 * process when a smaller one fails, and so does the library, as the header says. */
#define _GNU_SOURCE
#include "fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE = 64 << 10, SMALL = 4 << 10 };

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

enum kind { NOTHING, ALLOCATION, MAPPING, THREAD, READ_ERROR, READ_END, READ_SHORT, READ_INTERRUPTED };
static const char *const kinds[] = {"nothing",        "a large allocation", "a mapping",  "a thread",
                                    "a read, failed", "a read, at the end", "short reads", "interrupted reads"};

static int armed;          /* an enum kind */
static long countdown;     /* the fault comes when it reaches 0 */
static long bytes_held;    /* by malloc, in blocks of SMALL bytes and more */
static long bytes_small;   /* by malloc, in the others */
static long bytes_mapped;
static long allocations;

#define ADD(counter, n) __atomic_add_fetch(&(counter), (n), __ATOMIC_SEQ_CST)
#define GET(counter) __atomic_load_n(&(counter), __ATOMIC_SEQ_CST)
#define SET(counter, n) __atomic_store_n(&(counter), (n), __ATOMIC_SEQ_CST)

static int fails(enum kind kind) { return GET(armed) == (int)kind && ADD(countdown, -1) == 0; }

static void hold(long size, long sign) {
    if (size < SMALL) {
        ADD(bytes_small, sign * size);
    } else {
        ADD(bytes_held, sign * size);
    }
}

static void *counted(void *memory) {
    if (memory) {
        hold((long)malloc_usable_size(memory), 1);
        ADD(allocations, 1);
    }
    return memory;
}

static int refused(size_t size) {
    if (size >= LARGE && fails(ALLOCATION)) {
        errno = ENOMEM;
        return 1;
    }
    return 0;
}

void *malloc(size_t size) { return refused(size) ? NULL : counted(__libc_malloc(size)); }

void *calloc(size_t count, size_t size) { return refused(count * size) ? NULL : counted(__libc_calloc(count, size)); }

void *realloc(void *memory, size_t size) {
    if (refused(size)) {
        return NULL;
    }
    long before = memory ? (long)malloc_usable_size(memory) : 0;
    void *moved = __libc_realloc(memory, size);
    if (moved || size == 0) {
        hold(before, -1);
    }
    return counted(moved);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    *out = refused(size) ? NULL : counted(__libc_memalign(alignment, size));
    return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size) {
    return refused(size) ? NULL : counted(__libc_memalign(alignment, size));
}

void free(void *memory) {
    if (memory) {
        hold((long)malloc_usable_size(memory), -1);
    }
    __libc_free(memory);
}

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        abort();
    }
    return found;
}

void *mmap64(void *address, size_t size, int protection, int flags, int file, off64_t offset) {
    static void *(*real)(void *, size_t, int, int, int, off64_t);
    if (!real) {
        *(void **)&real = next("mmap64");
    }
    if (fails(MAPPING)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *memory = real(address, size, protection, flags, file, offset);
    if (memory != MAP_FAILED) {
        ADD(bytes_mapped, (long)size);
    }
    return memory;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    return mmap64(address, size, protection, flags, file, offset);
}

int munmap(void *address, size_t size) {
    static int (*real)(void *, size_t);
    if (!real) {
        *(void **)&real = next("munmap");
    }
    ADD(bytes_mapped, -(long)size);
    return real(address, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) {
        *(void **)&real = next("pthread_create");
    }
    return fails(THREAD) ? EAGAIN : real(thread, attributes, run, user);
}

ssize_t pread64(int file, void *buffer, size_t size, off64_t offset) {
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (!real) {
        *(void **)&real = next("pread64");
    }
    if (fails(READ_ERROR)) {
        errno = EIO;
        return -1;
    }
    if (fails(READ_END)) {
        return 0;
    }
    if (GET(armed) == READ_INTERRUPTED && ADD(countdown, -1) % 2 == 0) {
        errno = EINTR;
        return -1;
    }
    return real(file, buffer, GET(armed) == READ_SHORT && size > 1 ? size / 2 : size, offset);
}

static void arm(enum kind kind, long n) {
    SET(countdown, n);
    SET(armed, kind);
}

/* Whether the fault happened. */
static int disarm(void) {
    SET(armed, NOTHING);
    return GET(countdown) <= 0;
}

struct held {
    long large, small, mapped;
};

static struct held held(void) {
    struct held now = {GET(bytes_held), GET(bytes_small), GET(bytes_mapped)};
    return now;
}

/* Whether all has been given back since, to the byte: a model's threads have ended with it. */
static int given_back(struct held before) {
    struct held now = held();
    if (now.large == before.large && now.small == before.small && now.mapped == before.mapped) {
        return 1;
    }
    fprintf(stderr, "left: %ld bytes of large blocks, %ld of small ones, %ld of mappings\n", now.large - before.large,
            now.small - before.small, now.mapped - before.mapped);
    return 0;
}

static const char *folder;
static unsigned char *picture;
static unsigned char expected[SIDE * SIDE];
static medsegx_context context;
static medsegx_prompt prompt;

static medsegx_status segment(medsegx_session *session, unsigned char *mask, medsegx_error **error) {
    medsegx_slice slice = fixture_slice(picture);
    medsegx_result result = fixture_result(mask, SIDE * SIDE);
    medsegx_status status = medsegx_segment_slice(session, &slice, &context, &prompt, &result, NULL, error);
    CHECK(status == MEDSEGX_STATUS_OK || result.mask_count == 0);
    return status;
}

static medsegx_status open_model(medsegx_model **model, medsegx_error **error) {
    medsegx_model_options options = fixture_options();
    options.threads = 2;
    return medsegx_model_open(fixture_path(folder, "tiny.safetensors"), &options, model, error);
}

static int error_fits(enum kind kind, medsegx_error *error) {
    medsegx_status status = medsegx_error_status(error);
    switch (kind) {
    case ALLOCATION:
    case MAPPING:
        return status == MEDSEGX_STATUS_OUT_OF_MEMORY;
    case THREAD:
        return status == MEDSEGX_STATUS_DEVICE;
    default:
        return status == MEDSEGX_STATUS_IO && medsegx_error_source(error) != NULL;
    }
}

/* Opens a model, makes a session and segments with the n-th `kind` failing, for every n. */
static void model_and_session(enum kind kind) {
    static unsigned char mask[SIDE * SIDE];
    struct held before = held();
    long n = 0, survived = 0;
    for (int happened = 1; happened; ) {
        n++;
        medsegx_model *model = (medsegx_model *)&folder;
        medsegx_session *session = (medsegx_session *)&folder;
        medsegx_error *error = NULL;
        memset(mask, 0xa5, sizeof mask);
        arm(kind, n);
        medsegx_status status = open_model(&model, &error);
        if (status == MEDSEGX_STATUS_OK) {
            status = medsegx_session_new(model, NULL, &session, &error);
        } else {
            CHECK(model == NULL);
            session = NULL;
        }
        if (status == MEDSEGX_STATUS_OK) {
            status = segment(session, mask, &error);
        }
        happened = disarm();
        if (status == MEDSEGX_STATUS_OK) { /* nothing failed, or nothing that mattered */
            CHECK(memcmp(mask, expected, sizeof mask) == 0 && error == NULL);
            survived++;
        } else {
            CHECK(happened && error_fits(kind, error));
            for (size_t i = 0; i < sizeof mask; i++) {
                CHECK(mask[i] == 0xa5);
            }
        }
        medsegx_error_free(error);
        medsegx_session_free(session);
        medsegx_model_free(model);
    }
    printf("%s: each of %ld, %ld of them without harm\n", kinds[kind], n - 1, survived - 1);
    CHECK(given_back(before));
    CHECK(n > 1);
    CHECK(kind == THREAD || survived == 1); /* a thread that helps to load is done without */
}

/* Reads that give less than they could, or are interrupted, each of them: nothing is wrong. */
static void odd_reads(enum kind kind) {
    static unsigned char mask[SIDE * SIDE];
    medsegx_model *model = NULL;
    arm(kind, 1 << 30);
    CHECK(open_model(&model, NULL) == MEDSEGX_STATUS_OK);
    disarm();
    medsegx_session *session = fixture_session(model, SIDE, SIDE);
    CHECK(segment(session, mask, NULL) == MEDSEGX_STATUS_OK && memcmp(mask, expected, sizeof mask) == 0);
    medsegx_session_free(session);
    medsegx_model_free(model);
    printf("%s: all of them\n", kinds[kind]);
}

/* A volume, which is copied, and labels, which are made, with the n-th large allocation failing. */
static void volumes(void) {
    enum { W = 200, H = 180, D = 3 };
    int16_t *voxels = malloc(sizeof(int16_t) * W * H * D);
    uint16_t *labels = malloc(sizeof(uint16_t) * W * H * D);
    for (size_t i = 0; i < W * H * D; i++) {
        voxels[i] = (int16_t)((i * 7919) % 400) - 100;
    }
    medsegx_model *model = NULL;
    CHECK(open_model(&model, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session *session = fixture_session(model, H, W);
    medsegx_volume view;
    medsegx_volume_init(&view, (uint32_t)sizeof view);
    view.pixel_type = MEDSEGX_PIXEL_I16;
    view.voxels = voxels;
    view.size = sizeof(int16_t) * W * H * D;
    view.dims[0] = W;
    view.dims[1] = H;
    view.dims[2] = D;
    view.intensity = MEDSEGX_INTENSITY_PERCENTILE;
    medsegx_target target = {300, 2, 1, 4, 17, 59, {4, 3, 0}, {130, 125, D - 1}, NULL, 0};
    long n = 0;
    for (int happened = 1; happened; ) {
        n++;
        medsegx_volume_result result;
        medsegx_volume_result_init(&result, (uint32_t)sizeof result);
        result.labels = labels;
        result.labels_count = W * H * D;
        memset(labels, 0xa5, sizeof(uint16_t) * W * H * D);
        medsegx_error *error = NULL;
        struct held before = held();
        arm(ALLOCATION, n);
        medsegx_status status =
            medsegx_segment_volume(session, &view, &target, sizeof target, 1, &result, NULL, NULL, NULL, &error);
        happened = disarm();
        CHECK(status == (happened ? MEDSEGX_STATUS_OUT_OF_MEMORY : MEDSEGX_STATUS_OK));
        for (size_t i = 0; happened && i < W * H * D; i++) {
            CHECK(labels[i] == 0xa5a5);
        }
        medsegx_error_free(error);
        CHECK(given_back(before));
    }
    printf("a large allocation of a volume: each of %ld\n", n - 1);
    CHECK(n > 3);
    medsegx_session_free(session);
    medsegx_model_free(model);
    free(labels);
    free(voxels);
}

struct reader {
    const unsigned char *bytes;
    long calls, fail_at;
};

static int32_t hand_over(void *user, uint64_t offset, void *buffer, size_t size) {
    struct reader *reader = user;
    memcpy(buffer, reader->bytes + offset, size);
    return ++reader->calls == reader->fail_at ? -1 : 0;
}

static void callbacks(void) {
    size_t size = fixture_size(folder, "tiny.safetensors");
    unsigned char *bytes = fixture_read(folder, "tiny.safetensors", size);
    struct reader reader = {bytes, 0, 0};
    medsegx_model_options options = fixture_options();
    medsegx_status status = MEDSEGX_STATUS_IO;
    while (status != MEDSEGX_STATUS_OK) {
        reader.calls = 0;
        reader.fail_at++;
        medsegx_model *model = NULL;
        medsegx_error *error = NULL;
        struct held before = held();
        status = medsegx_model_open_callbacks(hand_over, &reader, size, &options, &model, &error);
        CHECK(status == (reader.calls < reader.fail_at ? MEDSEGX_STATUS_OK : MEDSEGX_STATUS_IO));
        CHECK((status == MEDSEGX_STATUS_OK) == (model != NULL));
        medsegx_error_free(error);
        medsegx_model_free(model);
        CHECK(given_back(before));
    }
    printf("a read callback: each of %ld\n", reader.fail_at - 1);
    CHECK(reader.fail_at > 1);
    free(bytes);
}

/* A session made for slices of a size allocates nothing for them. */
static void acquisition_loop(void) {
    enum { CALLS = 200 };
    static unsigned char mask[SIDE * SIDE];
    medsegx_model *model = NULL;
    CHECK(open_model(&model, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session *session = fixture_session(model, SIDE, SIDE);
    SET(allocations, 0);
    long mapped = GET(bytes_mapped);
    for (int i = 0; i < CALLS; i++) {
        if (segment(session, mask, NULL) != MEDSEGX_STATUS_OK) {
            CHECK(0);
        }
    }
    long found = GET(allocations);
    printf("%d calls: %ld allocations\n", CALLS, found);
    CHECK(found == 0 && GET(bytes_mapped) == mapped);
    medsegx_session_free(session);
    medsegx_model_free(model);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FIXTURE_FOLDER\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    folder = argv[1];
    picture = fixture_read(folder, "picture.u8", SIDE * SIDE * 3);
    fixture_case(folder, &context, &prompt);
    medsegx_model *model = NULL;
    CHECK(open_model(&model, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session *session = fixture_session(model, SIDE, SIDE);
    CHECK(segment(session, expected, NULL) == MEDSEGX_STATUS_OK);
    medsegx_session_free(session);
    medsegx_model_free(model);
    acquisition_loop();
    for (enum kind kind = ALLOCATION; kind <= READ_END; kind++) {
        model_and_session(kind);
    }
    odd_reads(READ_SHORT);
    odd_reads(READ_INTERRUPTED);
    volumes();
    callbacks();
    free(picture);
    printf("%s: %d failures\n", argv[0], failures);
    return failures ? 1 : 0;
}
