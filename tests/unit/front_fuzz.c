/* Fuzzes the front's answer_hit with a URL, two records and the answer of a daemon.

   By hand:
       python packaging/front/constants.py /tmp/fuzz/constants.h
       clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -I/tmp/fuzz -Ipackaging/front \
           -o /tmp/fuzz/front tests/unit/front_fuzz.c
       /tmp/fuzz/front -max_total_time=600 /tmp/fuzz/corpus tests/unit/front_corpus
   With -DREPLAY it runs each file that is an argument once, and prints what each comes to: see
   test_front.py.

   An input is five parts, each ended by 0xFF: a byte of flags, the URL, the fields of a selection,
   those of a credential, and the daemon's answer. Records get a right fingerprint, or nothing
   would be found behind it, unless a flag says that the part is the whole record. */
#define _GNU_SOURCE
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static const uint8_t *daemons_answer, *answer_end;
static size_t piece;

static ssize_t recv_of_test(int connection, void *to, size_t room, int flags)
{
    size_t length = (size_t)(answer_end - daemons_answer);
    length = length < room ? length : room;
    length = length < piece ? length : piece;
    memcpy(to, daemons_answer, length);
    daemons_answer += length;
    return (void)connection, (void)flags, (ssize_t)length;
}

static int getsockopt_of_test(int connection, int level, int name, void *value, socklen_t *length)
{
    memset(value, 0, *length); /* a peer whose user ID is root's; and so is the fuzzer's */
    return (void)connection, (void)level, (void)name, 0;
}

#define recv recv_of_test
#define getsockopt getsockopt_of_test
#define connect(connection, address, length) ((void)(address), 0)
#define send(connection, data, length, flags) ((ssize_t)(length))
#define geteuid() ((uid_t)0)
#define poll(wanted, count, pause) ((void)(wanted), (void)(pause), 1)
#define FRONT_TEST
#include "front.c"

static struct timespec now(void)
{
    return (struct timespec){1800000000, 0};
}

static outcome last;
static char top[PATH];

static void write_file(const char *name, const char *head, const uint8_t *data, size_t length)
{
    static char path[PATH];
    FORMAT(path, "%s/ecr-py/%s", top, name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        return; /* a host that is too long for a name */
    if (write(file, head, *head ? 33 : 0) < 0 || write(file, data, length) < 0)
        abort();
    close(file);
}

static void prepare(void)
{
    static char cache[PATH], runtime[PATH], path[PATH], *variables[] = {cache, runtime, NULL};
    if (own_environ != NULL)
        return;
    const char *place = getenv("TMPDIR");
    if (!FORMAT(top, "%s/front-fuzz-XXXXXX", place != NULL ? place : "/tmp") || mkdtemp(top) == NULL)
        abort();
    FORMAT(cache, "XDG_CACHE_HOME=%s", top);
    FORMAT(runtime, "XDG_RUNTIME_DIR=%s", top);
    own_environ = variables;
    const char *folders[] = {"", "/selections", "/credentials", "/locks"};
    for (size_t n = 0; n < 4; n++) {
        FORMAT(path, "%s/ecr-py%s", top, folders[n]);
        if (mkdir(path, 0700) != 0)
            abort();
    }
    write_file("daemon.sock", "", (const uint8_t *)"", 0);
}

/* One more part: up to the next 0xFF, or to the end. */
static const uint8_t *part(const uint8_t **at, const uint8_t *end, size_t *length)
{
    const uint8_t *start = *at;
    const uint8_t *found = start < end ? memchr(start, 0xFF, (size_t)(end - start)) : NULL;
    *length = (size_t)((found != NULL ? found : end) - start);
    *at = found != NULL ? found + 1 : end;
    return start;
}

static void write_record(const char *name, const uint8_t *data, size_t length, bool whole)
{
    char seal[33];
    fingerprint((const char *)data, length, seal);
    write_file(name, whole ? "" : seal, data, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char url[3 * LONGEST_URL], host[LONGEST_URL + 1], here[LARGEST_RECORD], path[PATH];
    const uint8_t *end = data + size;
    size_t length, credential_length;
    const uint8_t *flag = part(&data, end, &length);
    int flags = length > 0 ? *flag : 0;
    piece = flags & 4 ? 1 : LARGEST_RECORD;
    prepare();
    const uint8_t *given = part(&data, end, &length);
    length = length < sizeof url ? length : sizeof url - 1;
    memcpy(url, given, length);
    const char *server_url = stripped(url, length);
    const uint8_t *selection = part(&data, end, &length);
    const uint8_t *credential = part(&data, end, &credential_length);
    daemons_answer = data;
    answer_end = end;
    last = UNUSUAL;
    if (server_url == NULL)
        return 0;
    if (plain_host(server_url, host) && context(here)) {
        char name[33];
        fingerprint(here, strlen(here), name);
        FORMAT(path, "selections/%s~%s", host, name);
        write_record(path, selection, length, flags & 1);
    }
    write_record("credentials/key", credential, credential_length, flags & 2);
    hit found;
    last = answer_hit(server_url, &found);
    if (last == ANSWER && strlen(found.document) > 2 * LARGEST_RECORD)
        abort();
    return 0;
}

#ifdef REPLAY
int main(int count, char **names)
{
    static uint8_t data[1 << 18];
    for (int n = 1; n < count; n++) {
        FILE *file = fopen(names[n], "rb");
        if (file == NULL)
            return 3;
        LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
        fclose(file);
        printf("%d\n", (int)last);
    }
    return 0;
}
#endif
