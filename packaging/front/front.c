/* Answers cached hits of `docker-credential-ecr-py get`, and becomes the Python program for all else.

   It does what docker_credential_ecr_py/helper.py does, in a thirtieth of the time that an interpreter
   takes to start. It knows less than Python and never more: whatever is unusual, damaged, too long
   or about to expire is handed over, with standard input as it was and nothing written.

   The order is that of store/record.py, store/daemon_client.py and helper.py, and each part names
   the function that it mirrors. Names, limits and character sets are theirs: constants.h is
   generated from them (see constants.py). Memory is a few static buffers. No length that comes
   from a file or a socket is trusted, and only digits count as a time. */

#define _GNU_SOURCE         /* struct ucred */
#define _DARWIN_C_SOURCE    /* getpeereid */
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#define st_mtim st_mtimespec
#else
#include <sys/auxv.h>
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#include "constants.h"

enum { BUFFER = LARGEST_RECORD, PATH = 8192, MOST_FIELDS = 4096 };

/* Bytes that need not end with a NUL, as Python's `bytes`. Those that do are `const char *`. */
typedef struct {
    const char *at;
    size_t length;
} text;

/* What an attempt comes to: the next one is tried, there is an answer, or it takes Python. */
typedef enum { NOTHING, ANSWER, UNUSUAL } outcome;

/* ---- what Python has and C has not ---- */

static text text_of(const char *string)
{
    return (text){string, strlen(string)};
}

static bool equal(text one, text other)
{
    return one.length == other.length && memcmp(one.at, other.at, one.length) == 0;
}

static bool starts_with(text whole, text part)
{
    return whole.length >= part.length && memcmp(whole.at, part.at, part.length) == 0;
}

/* Whether every byte is one of a set: `not text.translate(None, SET)`. */
static bool consists_of(text found, const char *set)
{
    bool is_in_set[256] = {false};
    while (*set != '\0')
        is_in_set[(unsigned char)*set++] = true;
    for (size_t n = 0; n < found.length; n++)
        if (!is_in_set[(unsigned char)found.at[n]])
            return false;
    return true;
}

/* A buffer that is appended to. What does not fit sets `full`, and the buffer is of no use then. */
typedef struct {
    char *at;
    size_t length, size;
    bool full;
} builder;

#define BUILDER(name, bytes)       \
    static char name##_bytes[bytes]; \
    builder name = {name##_bytes, 0, sizeof name##_bytes, false}

static void add(builder *to, text more)
{
    if (to->full || more.length >= to->size - to->length) { /* room for a NUL behind it */
        to->full = true;
        return;
    }
    memcpy(to->at + to->length, more.at, more.length);
    to->length += more.length;
    to->at[to->length] = '\0';
}

static void add_string(builder *to, const char *more)
{
    add(to, text_of(more));
}

static void add_number(builder *to, long long number)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", number);
    add(to, (text){digits, (size_t)n});
}

static text built(const builder *from)
{
    return (text){from->at, from->length};
}

/* Reads a number of at most 18 digits, and nothing but digits. */
static bool number_in(text digits, long long *number)
{
    if (digits.length == 0 || digits.length > 18 || !consists_of(digits, "0123456789"))
        return false;
    *number = 0;
    for (size_t n = 0; n < digits.length; n++)
        *number = *number * 10 + (digits.at[n] - '0');
    return true;
}

#ifndef FRONT_TEST
extern char **environ;

static struct timespec now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time;
}
#else /* the test's own */
static char **environ_of_test;
static struct timespec now(void);
#define environ environ_of_test
#endif

/* A variable of the environment, or NULL: `environ.get`. */
static const char *variable(const char *name)
{
    size_t length = strlen(name);
    for (char **one = environ; *one != NULL; one++)
        if (strncmp(*one, name, length) == 0 && (*one)[length] == '=')
            return *one + length + 1;
    return NULL;
}

static bool is_set(const char *name)
{
    const char *value = variable(name);
    return value != NULL && *value != '\0';
}

/* ---- store/record.py ---- */

/* record._private */
static bool is_private(const struct stat *found, mode_t file_type)
{
    return (found->st_mode & S_IFMT) == file_type && found->st_uid == geteuid() &&
           (found->st_mode & 077) == 0;
}

/* record.is_private_folder */
static bool is_private_folder(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && is_private(&found, S_IFDIR);
}

/* record.plain_host; its length is 0 if it takes Python's parser */
static text plain_host(text server_url)
{
    text host = server_url, none = {"", 0}, scheme = text_of("https://");
    if (server_url.length > LONGEST_URL || !consists_of(server_url, URL_CHARACTERS))
        return none;
    if (starts_with(host, scheme))
        host = (text){host.at + scheme.length, host.length - scheme.length};
    const char *slash = memchr(host.at, '/', host.length);
    if (slash != NULL)
        host.length = (size_t)(slash - host.at);
    return consists_of(host, HOST_CHARACTERS) ? host : none;
}

/* record.cache_root; false if there is none */
static bool cache_root(builder *root)
{
    if (is_set("XDG_CACHE_HOME")) {
        add_string(root, variable("XDG_CACHE_HOME"));
    } else if (is_set("HOME")) {
        add_string(root, variable("HOME"));
        #ifdef __APPLE__
        add_string(root, CACHE_ON_MACOS);
#else
        add_string(root, CACHE_ON_LINUX);
#endif
    }
    bool is_absolute = root->length > 0 && root->at[0] == '/';
    add_string(root, FOLDER);
    return is_absolute && !root->full;
}

/* record.runtime_folder; false if there is none */
static bool runtime_folder(builder *folder)
{
    if (is_set("XDG_RUNTIME_DIR")) {
        add_string(folder, variable("XDG_RUNTIME_DIR"));
    } else {
        add_string(folder, RUNTIME);
        add_number(folder, geteuid());
        if (folder->full || !is_private_folder(folder->at))
            folder->length = 0;
    }
    if (folder->length == 0 || folder->at[0] != '/') {
        folder->length = 0;
        return cache_root(folder);
    }
    add_string(folder, FOLDER);
    return !folder->full;
}

/* record.context */
static void context(builder *here)
{
    static const char *const names[] = {CONTEXT}, *const secrets[] = {SECRETS};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        const char *value = variable(names[n]);
        if (value == NULL)
            continue;
        add_string(here, here->length ? "\n" : "");
        add_string(here, names[n]);
        add_string(here, "=");
        add_string(here, value);
    }
    for (size_t n = 0; n < sizeof secrets / sizeof *secrets; n++)
        if (is_set(secrets[n])) {
            add_string(here, here->length ? "\n" : "");
            add_string(here, secrets[n]);
        }
}

/* record.fingerprint: the bytes as one number, modulo 2**128 - EXCESS, as 32 hexadecimal digits.
   As 2**128 is EXCESS more than a multiple, what does not fit into 128 bits counts EXCESS times. */
static void fingerprint(text data, char digits[33])
{
    unsigned __int128 sum = 0;
    for (size_t n = 0; n < data.length; n++) {
        unsigned __int128 carried = (sum >> 120) * EXCESS;
        sum = (sum << 8 | (unsigned char)data.at[n]) + carried;
        if (sum < carried)
            sum += EXCESS;
    }
    if (sum >= (unsigned __int128)0 - EXCESS)
        sum += EXCESS;
    for (int n = 0; n < 32; n++)
        digits[n] = "0123456789abcdef"[sum >> (124 - 4 * n) & 15];
    digits[32] = '\0';
}

/* record.stamp; full for a number of more than 63 bits */
static void stamp(const char *path, builder *seen)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        add_string(seen, ABSENT);
        return;
    }
    if (found.st_mtim.tv_sec > 9000000000 || found.st_mtim.tv_sec < -9000000000)
        seen->full = true;
    else
        add_number(seen, found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec);
    add_string(seen, ".");
    add_number(seen, found.st_size);
    add_string(seen, ".");
    if (found.st_ino > LLONG_MAX)
        seen->full = true;
    add_number(seen, (long long)found.st_ino);
}

/* record.holds and record.fits, of the fields from `first` up to `end` */
static outcome holds(const text *fields, size_t first, size_t end)
{
    for (size_t n = first; n + 1 < end; n += 2) {
        char bytes[80];
        builder seen = {bytes, 0, sizeof bytes, false};
        stamp(fields[n].at, &seen); /* a NUL is behind each field */
        if (seen.full)
            return UNUSUAL;
        bool is_there = !equal(built(&seen), text_of(ABSENT));
        bool may_change = equal(fields[n + 1], text_of(PRESENT));
        if (!equal(built(&seen), fields[n + 1]) && !(may_change && is_there))
            return NOTHING;
    }
    return ANSWER;
}

/* bytes.split(b"\0"). There is a NUL behind the last field too, as `data` is in a larger buffer. */
static size_t split(text data, text fields[MOST_FIELDS])
{
    size_t count = 0;
    const char *end = data.at + data.length;
    for (const char *at = data.at; count < MOST_FIELDS; at += fields[count++].length + 1) {
        fields[count] = (text){at, strlen(at)};
        if (at + fields[count].length == end)
            return count + 1;
    }
    return 0; /* too many */
}

/* A record in memory, as record.read and record.fields_of return it */
typedef struct {
    char data[LARGEST_RECORD + 1];
    text fields[MOST_FIELDS];
    size_t count;
} record;

/* record.fields_of */
static outcome fields_of(record *into, size_t length, const char *kind)
{
    char wanted[33];
    into->data[length] = '\0';
    text seal = text_of(into->data);
    size_t start = seal.length < length ? seal.length + 1 : length;
    text body = {into->data + start, length - start};
    fingerprint(body, wanted);
    if (!equal(seal, text_of(wanted)))
        return NOTHING;
    into->count = split(body, into->fields);
    if (into->count == 0)
        return UNUSUAL;
    bool is_whole = into->count > DETAILS && equal(into->fields[KIND], text_of(kind));
    return is_whole ? ANSWER : NOTHING;
}

/* record.read. NONBLOCK: a FIFO in the place of a record must not make us wait. */
static outcome read_record(const builder *path, const char *kind, record *into)
{
    if (path->full)
        return UNUSUAL;
    int file = open(path->at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return NOTHING;
    struct stat found;
    ssize_t length = -1;
    if (fstat(file, &found) == 0 && is_private(&found, S_IFREG))
        length = read(file, into->data, LARGEST_RECORD);
    close(file);
    return length < 0 ? NOTHING : fields_of(into, (size_t)length, kind);
}

/* record._is_plain */
static bool is_plain(text json)
{
    text inner = {json.at + 1, json.length - 2};
    return json.length >= 2 && json.at[0] == '"' && json.at[json.length - 1] == '"' &&
           consists_of(inner, PLAIN_CHARACTERS);
}

/* record.selection_for */
static outcome selection_for(text root, text host, text here, record *selection)
{
    BUILDER(path, PATH);
    char name[33];
    fingerprint(here, name);
    add(&path, root);
    add_string(&path, "/" SELECTIONS);
    add(&path, host);
    add_string(&path, "~");
    add_string(&path, name);
    outcome found = read_record(&path, SELECTION, selection);
    if (found != ANSWER)
        return found;
    text *fields = selection->fields;
    if (!equal(fields[HOST], host) || !equal(fields[SELECTED_FOR], here))
        return NOTHING;
    found = holds(fields, SELECTION_CONDITIONS, selection->count);
    if (found != ANSWER)
        return found;
    return consists_of(fields[SELECTED_KEY], KEY_CHARACTERS) ? ANSWER : NOTHING;
}

/* What record.find returns: `document` is empty if the host has no credentials. */
typedef struct {
    text key, document;
    bool ageing;
} hit;

/* record.find and record.answer */
static outcome find(text root, text server_url, text host, hit *into)
{
    static record selection, credential;
    BUILDER(here, BUFFER);
    context(&here);
    if (here.full)
        return UNUSUAL;
    if (!is_private_folder(root.at))
        return NOTHING;
    outcome found = selection_for(root, host, built(&here), &selection);
    if (found != ANSWER)
        return found;
    text key = selection.fields[SELECTED_KEY];
    *into = (hit){key, {"", 0}, false};
    if (key.length == 0)
        return ANSWER;

    BUILDER(path, PATH);
    add(&path, root);
    add_string(&path, "/" CREDENTIALS);
    add(&path, key);
    found = read_record(&path, CREDENTIAL, &credential);
    if (found != ANSWER)
        return found;
    text *fields = credential.fields;
    if (credential.count <= SECRET || !equal(fields[KEY], key))
        return NOTHING;
    long long issued, renew_at, spent_at, time = now().tv_sec;
    if (!number_in(fields[ISSUED], &issued) || !number_in(fields[RENEW_AT], &renew_at) ||
        !number_in(fields[SPENT_AT], &spent_at))
        return UNUSUAL; /* Python's int takes more */
    if (time < issued || time >= spent_at)
        return NOTHING;
    if (!is_plain(fields[USERNAME]) || !is_plain(fields[SECRET]))
        return NOTHING;
    found = holds(fields, CONDITIONS, credential.count);
    if (found != ANSWER)
        return found;

    BUILDER(document, BUFFER + LONGEST_URL + 64);
    add_string(&document, "{\"ServerURL\":\"");
    add(&document, server_url);
    add_string(&document, "\",\"Username\":");
    add(&document, fields[USERNAME]);
    add_string(&document, ",\"Secret\":");
    add(&document, fields[SECRET]);
    add_string(&document, "}\n");
    *into = (hit){key, built(&document), time >= renew_at};
    return document.full ? UNUSUAL : ANSWER;
}

/* ---- store/daemon_client.py ---- */

static long long milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* daemon_client._peer: whether the process at the other end is this user's; its PID, if known */
static bool is_ours(int connection, long long *process)
{
    *process = 0;
#ifdef __linux__
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return false;
    *process = peer.pid;
    return length == sizeof peer && peer.uid == geteuid();
#else
    uid_t user;
    gid_t group;
    return getpeereid(connection, &user, &group) == 0 && user == geteuid();
#endif
}

/* daemon_client.connect; -1 if there is no daemon of ours */
static int connect_to(const builder *folder, long long *process)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    builder path = {address.sun_path, 0, sizeof address.sun_path, false};
    add(&path, built(folder));
    add_string(&path, SOCKET);
    struct stat found;
    if (path.full || stat(path.at, &found) != 0 || !is_private_folder(folder->at))
        return -1;
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connection < 0)
        return -1;
    /* Linux waits so long for room in the queue of a busy daemon, too. */
    struct timeval limit = {.tv_usec = FIRST_LOOK * 1000};
    if (fcntl(connection, F_SETFD, FD_CLOEXEC) == 0 &&
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
        connect(connection, (struct sockaddr *)&address, sizeof address) == 0 &&
        is_ours(connection, process))
        return connection;
    close(connection);
    return -1;
}

/* daemon_client._turn_of: whether a process is ready to run, and the processor time it has had */
static bool is_ready(long long process, long long *ticks)
{
    char path[40], line[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t length = read(file, line, sizeof line - 1);
    close(file);
    if (length <= 0)
        return false;
    line[length] = '\0';
    const char *after_name = strrchr(line, ')');
    long long user, kernel;
    char state;
    if (after_name == NULL ||
        sscanf(after_name + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld %lld", &state,
               &user, &kernel) != 3)
        return false;
    *ticks = user + kernel;
    return state == 'R';
}

/* daemon_client._receive, but Python is sooner asked to take over: whether there is more to read.
   While the daemon waits for a processor it is waited for: to start Python would make that worse. */
static bool arrives(int connection, long long process, long long start)
{
    struct pollfd wanted = {connection, POLLIN, 0};
    long long first = -1, ticks = 0, left = start + FIRST_LOOK - milliseconds();
    for (int pause = left > 0 ? (int)left : 0;; pause = LOOK_EVERY) {
        int ready = poll(&wanted, 1, pause);
        if (ready != 0)
            return ready > 0;
        bool waits = is_ready(process, &ticks);
        first = first < 0 ? ticks : first;
        if (!waits || ticks - first >= ENOUGH_TICKS || milliseconds() - start >= BUSY_LIMIT)
            return poll(&wanted, 1, 0) > 0; /* it may be this process that had to wait */
    }
}

/* daemon_client._ask, for a hit: the length of the answer, or 0 */
static size_t ask(const builder *folder, text request, char *answer)
{
    long long process, start = milliseconds();
    size_t length = 0;
    int connection = connect_to(folder, &process);
    if (connection < 0)
        return 0;
    bool sent = send(connection, request.at, request.length, MSG_NOSIGNAL) == (ssize_t)request.length;
    shutdown(connection, SHUT_WR);
    while (sent && length < BUFFER && arrives(connection, process, start)) {
        ssize_t more = recv(connection, answer + length, BUFFER - length, 0);
        length = more < 0 ? 0 : length + (size_t)more;
        if (more <= 0 || answer[length - 1] == '\n')
            break;
    }
    close(connection);
    return length;
}

/* daemon_client.hit and helper._answer_from_daemon. A credential that the client is to renew takes
   Python, so it asks with `hit` instead of `get`: that leaves the renewal to the next `get`. */
static outcome answer_from_daemon(text server_url, hit *into)
{
    static char answer[BUFFER + 1];
    static text fields[MOST_FIELDS];
    BUILDER(folder, PATH);
    BUILDER(here, BUFFER);
    BUILDER(request, LARGEST_REQUEST);
    if (!runtime_folder(&folder))
        return NOTHING;
    context(&here);
    add_string(&request, PROTOCOL " hit ");
    add(&request, server_url);
    add_string(&request, " ");
    for (size_t n = 0; n < here.length; n++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", (unsigned char)here.at[n]);
        add_string(&request, digits);
    }
    add_string(&request, "\n");
    if (here.full || request.full)
        return UNUSUAL;
    size_t length = ask(&folder, built(&request), answer);
    answer[length] = '\0';
    size_t count = split((text){answer, length}, fields);
    if (count < 2 || !equal(fields[0], text_of(KEPT_FRESH)))
        return NOTHING;
    text document = fields[count - 1], end = text_of("\"}\n");
    if (equal(document, text_of(NO_CREDENTIALS))) {
        *into = (hit){{"", 0}, {"", 0}, false};
        return holds(fields, 1, count - 1);
    }
    BUILDER(start, LONGEST_URL + 64);
    add_string(&start, "{\"ServerURL\":\"");
    add(&start, server_url);
    add_string(&start, "\",\"Username\":");
    if (start.full || !starts_with(document, built(&start)) || document.length < end.length ||
        memcmp(document.at + document.length - end.length, end.at, end.length) != 0)
        return NOTHING;
    *into = (hit){{"", 0}, document, false};
    return holds(fields, 1, count - 1);
}

/* ---- helper.py ---- */

/* helper._renew_in_background: whether a renewal was started in this minute. If not, Python
   starts one. The time is in the future if a renewal has asked for a longer pause. */
static bool is_being_renewed(text root, text key)
{
    BUILDER(path, PATH);
    add(&path, root);
    add_string(&path, "/" LOCKS);
    add(&path, key);
    struct stat found;
    if (path.full || stat(path.at, &found) != 0)
        return false;
    struct timespec time = now();
    long long seconds = (long long)time.tv_sec - found.st_mtim.tv_sec;
    bool later_in_second = time.tv_nsec >= found.st_mtim.tv_nsec;
    long long whole = later_in_second ? seconds : seconds - 1;
    return -LONGEST_PAUSE <= whole && whole < RENEWAL_PAUSE;
}

/* helper._answer_hit */
static outcome answer_hit(text server_url, hit *into)
{
    BUILDER(root, PATH);
    text host = plain_host(server_url);
    if (is_set("AWS_ECR_DISABLE_CACHE") || host.length == 0)
        return UNUSUAL;
    bool has_root = cache_root(&root);
    if (root.full)
        return UNUSUAL;
    outcome found = has_root ? find(built(&root), server_url, host, into) : NOTHING;
    if (found == NOTHING)
        return answer_from_daemon(server_url, into);
    if (found == ANSWER && into->ageing && !is_being_renewed(built(&root), into->key))
        return UNUSUAL;
    return found;
}

#ifndef FRONT_TEST

/* helper._end */
static _Noreturn void end(text answer, int code)
{
    signal(SIGPIPE, SIG_IGN); /* if the client has gone that is a failure, not a signal */
    while (answer.length > 0) {
        ssize_t written = write(STDOUT_FILENO, answer.at, answer.length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            _exit(1);
        answer = (text){answer.at + written, answer.length - (size_t)written};
    }
    _exit(code);
}

/* bytes.strip */
static text stripped(text given)
{
    while (given.length > 0 && strchr(" \t\n\r\v\f", given.at[0]) && given.at[0] != '\0')
        given = (text){given.at + 1, given.length - 1};
    while (given.length > 0 && strchr(" \t\n\r\v\f", given.at[given.length - 1]) &&
           given.at[given.length - 1] != '\0')
        given.length--;
    return given;
}

/* helper._read_input. False if there is more than that, and it has not been read to its end. */
static bool read_input(builder *given)
{
    while (given->length < given->size) {
        ssize_t more = read(STDIN_FILENO, given->at + given->length, given->size - given->length);
        if (more <= 0)
            return more == 0;
        given->length += (size_t)more;
    }
    return false;
}

/* The launcher's message for an installation that is not whole. */
static _Noreturn void report_missing(const char *missing, const char *beside)
{
    BUILDER(line, 2 * PATH);
    add_string(&line, "ecr-py: ");
    add_string(&line, missing);
    add_string(&line, " is not beside ");
    add_string(&line, beside);
    add_string(&line, ": install docker-credential-ecr-py again\n");
    signal(SIGPIPE, SIG_IGN);
    ssize_t written = write(STDERR_FILENO, line.at, line.length);
    (void)written; /* the exit code says it too */
    end(built(&line), 1);
}

/* This program's own path, without links: PATH is not searched. */
static void own_path(char path[PATH_MAX])
{
#ifdef __APPLE__
    char called[PATH_MAX];
    uint32_t size = sizeof called;
    if (_NSGetExecutablePath(called, &size) == 0 && realpath(called, path) != NULL)
        return;
#else
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    const char *called = (const char *)getauxval(AT_EXECFN); /* without /proc */
    if (length > 0 || (called != NULL && realpath(called, path) != NULL))
        return;
#endif
    report_missing("its own file", "this program");
}

/* What is executed: the interpreter, its options, the launcher and the arguments. */
typedef struct {
    char *words[64];
    size_t count;
} command;

/* The interpreter that the installer chose, from the head of `ecr-py`: see the launcher. */
static bool find_interpreter(const char *folder, command *python)
{
    static char head[PATH], resolved[PATH_MAX];
    BUILDER(path, PATH);
    add_string(&path, folder);
    add_string(&path, "/ecr-py");
    int file = open(path.at, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, head, sizeof head - 1);
    close(file);
    head[length > 0 ? length : 0] = '\0';
    char *next = head, *first = strsep(&next, "\n"), *second = strsep(&next, "\n");
    if (second == NULL || strncmp(first, "#!", 2) != 0)
        return false;
    if (strcmp(first, "#!/bin/sh") != 0) {
        for (char *word, *rest = first + 2; (word = strsep(&rest, " \t")) != NULL;)
            if (*word != '\0' && python->count < 16)
                python->words[python->count++] = word;
        return python->count > 0;
    }
    char *found = second, *last = NULL; /* the path is long or has spaces */
    if (strstr(second, "$(dirname") != NULL) { /* a venv that may be moved: beside ecr-py itself */
        if (realpath(path.at, resolved) == NULL || strlen(resolved) + 1 >= sizeof resolved)
            return false;
        strcpy(strrchr(resolved, '/') + 1, "python"); /* as long as "ecr-py" */
        python->words[python->count++] = resolved;
        return true;
    }
    while ((found = strstr(found, "exec")) != NULL && (found[4] == '\0' || found[5] != ' '))
        found++;
    if (found == NULL)
        return false;
    found += 6;
    for (char *at = found; (at = strstr(at, " \"$0\" ")) != NULL; at++)
        last = at;
    if (last == NULL)
        return false;
    *last = '\0';
    if (*found == '"' || *found == '\'')
        found++;
    if (last > found && (last[-1] == '"' || last[-1] == '\''))
        last[-1] = '\0';
    python->words[python->count++] = found;
    return true;
}

/* Standard input as it was: what was read of it, in a pipe that has room for that. */
static bool restore_input(text given)
{
    int ends[2];
    if (given.length == 0)
        return true;
    if (pipe(ends) != 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0 ||
        write(ends[1], given.at, given.length) != (ssize_t)given.length ||
        dup2(ends[0], STDIN_FILENO) < 0)
        return false;
    close(ends[0]);
    close(ends[1]);
    return true;
}

/* Runs the launcher's Python half, isolated as the launcher does it, with the same arguments. */
static _Noreturn void become_python(char **arguments, text given)
{
    static char self[PATH_MAX], folder[PATH_MAX];
    static command python;
    BUILDER(launcher, PATH);
    own_path(self);
    strcpy(folder, self);
    *strrchr(folder, '/') = '\0';
    add_string(&launcher, folder);
    add_string(&launcher, "/../" LAUNCHER);
    if (!find_interpreter(folder, &python))
        report_missing("the command ecr-py", self);
    if (access(launcher.at, R_OK) != 0)
        report_missing("../" LAUNCHER, self);
    char *options[] = {"-IS", "-X", "utf8", launcher.at};
    for (size_t n = 0; n < sizeof options / sizeof *options; n++)
        python.words[python.count++] = options[n];
    for (char **more = arguments + 1; *more != NULL && python.count < 63; more++)
        python.words[python.count++] = *more; /* so many are an error in any case */
    if (restore_input(given))
        execv(python.words[0], python.words);
    report_missing(python.words[0], self);
}

int main(int count, char **arguments)
{
    static char input[LONGEST_INPUT]; /* no more than any pipe has room for */
    builder given = {input, 0, sizeof input, false};
    hit found;
    outcome result = UNUSUAL;
    if (count == 3 && strcmp(arguments[1], "get") == 0)
        result = answer_hit(stripped(text_of(arguments[2])), &found);
    if (count == 2 && strcmp(arguments[1], "get") == 0 && !isatty(STDIN_FILENO) &&
        read_input(&given))
        result = answer_hit(stripped(built(&given)), &found);
    if (result == ANSWER)
        end(found.document.length ? found.document : text_of(NOT_FOUND), found.document.length ? 0 : 1);
    become_python(arguments, built(&given));
}
#endif
