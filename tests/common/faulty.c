/* Stands before the C library's calls of one process, for files below FAULT_FOLDER: the FAULT_AT-th call of the kind
 * FAULT_CALL (write, fsync, open, read, mmap) fails with the number FAULT_ERRNO. For the kind "bytes", there is room for
 * FAULT_AT bytes and the disk is full then. Of the kinds "thread" and "memory", the latter from 64 KiB on, it is the
 * FAULT_AT-th of the process. A fault that happens leaves the file FAULT_MARK. Renames go past the C library, and so past
 * this. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long calls;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int is_below(const char *path) {
    const char *folder = setting("FAULT_FOLDER");
    size_t length = strlen(folder);
    return length > 0 && strncmp(path, folder, length) == 0 && path[length] == '/';
}

/* A file without a name, of O_TMPFILE, has one below its folder too. */
static int lies_below(int fd) {
    char link[64] = "/proc/self/fd/", path[4096], digits[16];
    int count = 0;
    size_t at = strlen(link);
    do {
        digits[count++] = (char)('0' + fd % 10);
    } while ((fd /= 10) > 0);
    while (count > 0) {
        link[at++] = digits[--count];
    }
    link[at] = 0;
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) {
        return 0;
    }
    path[length] = 0;
    return is_below(path) || strcmp(path, setting("FAULT_FOLDER")) == 0;
}

static int happens(void) {
    syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, setting("FAULT_MARK"), O_CREAT | O_WRONLY, 0600));
    errno = atoi(setting("FAULT_ERRNO"));
    return 1;
}

static int fails(const char *kind) {
    if (strcmp(setting("FAULT_CALL"), kind) != 0) {
        return 0;
    }
    return __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == atol(setting("FAULT_AT")) && happens();
}

/* How many of `count` bytes still find room; -1 for an error. */
static ssize_t room(int fd, size_t count) {
    int bytes = strcmp(setting("FAULT_CALL"), "bytes") == 0;
    if ((!bytes && strcmp(setting("FAULT_CALL"), "write") != 0) || !lies_below(fd)) {
        return (ssize_t)count;
    }
    if (!bytes) {
        return fails("write") ? -1 : (ssize_t)count;
    }
    long end = __atomic_add_fetch(&calls, (long)count, __ATOMIC_SEQ_CST), over = end - atol(setting("FAULT_AT"));
    if (over <= 0) {
        return (ssize_t)count;
    }
    if (over < (long)count) {
        return (ssize_t)count - over;
    }
    happens();
    return -1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t count) {
    ssize_t left = room(fd, count);
    return left < 0 ? left : NEXT(write)(fd, data, (size_t)left);
}

ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *place, size_t count, unsigned flags) {
    ssize_t left = room(to, count);
    return left < 0 ? left : NEXT(copy_file_range)(from, start, to, place, (size_t)left, flags);
}

int fsync(int fd) { return lies_below(fd) && fails("fsync") ? -1 : NEXT(fsync)(fd); }

#define OPENED(name)                                                                                                   \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        int writes = (flags & O_ACCMODE) != O_RDONLY && (is_below(path) || strcmp(path, setting("FAULT_FOLDER")) == 0); \
        return writes && fails("open") ? -1 : NEXT(name)(path, flags, mode);                                           \
    }
OPENED(open)
OPENED(open64)

#define READ(name, parameters, ...)                                                                                    \
    ssize_t name parameters { return lies_below(fd) && fails("read") ? -1 : NEXT(name)(__VA_ARGS__); }
READ(read, (int fd, void *data, size_t count), fd, data, count)
READ(pread, (int fd, void *data, size_t count, off_t at), fd, data, count, at)
READ(pread64, (int fd, void *data, size_t count, off64_t at), fd, data, count, at)

#define MAPPED(name, offset)                                                                                           \
    void *name(void *place, size_t length, int protection, int flags, int fd, offset at) {                             \
        int refused = fd >= 0 && lies_below(fd) && fails("mmap");                                                      \
        return refused ? MAP_FAILED : NEXT(name)(place, length, protection, flags, fd, at);                            \
    }
MAPPED(mmap, off_t)
MAPPED(mmap64, off64_t)

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *with) {
    return fails("thread") ? atoi(setting("FAULT_ERRNO")) : NEXT(pthread_create)(thread, attributes, start, with);
}

/* dlsym allocates: these go to the C library under its other names. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static int refused(size_t size) { return size >= 64 << 10 && fails("memory"); }

void *malloc(size_t size) { return refused(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return refused(count * size) ? NULL : __libc_calloc(count, size); }

void *realloc(void *memory, size_t size) { return refused(size) ? NULL : __libc_realloc(memory, size); }

int posix_memalign(void **out, size_t alignment, size_t size) {
    if (refused(size)) {
        return ENOMEM;
    }
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}
